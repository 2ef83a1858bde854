"""The arrows between the rooms run one way: the contracts in pyproject.toml, by import-linter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quadfire.paths import CHECKOUT

assert CHECKOUT is not None


def lint(folder: Path) -> subprocess.CompletedProcess:
    """`lint-imports` in a folder that holds the package and pyproject.toml."""
    return subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"],
                          cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, text=True,
                          capture_output=True, check=False)


@pytest.mark.fast
def test_the_contracts_hold():
    done = lint(CHECKOUT)
    assert done.returncode == 0 and " 0 broken" in done.stdout, done.stdout


@pytest.mark.parametrize(("file", "line"), [
    ("rtl/core.py", "import quadfire.firmware.tape.packets"),
    ("rtl/contract/tape.py", "import numpy"),
    ("firmware/compiler/compile.py", "import torch"),
    ("firmware/transports/axi.py", "import quadfire.firmware.driver.outputs")])
def test_an_arrow_the_wrong_way_is_found(tmp_path, file, line):
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for room in ("quadfire", "rtl", "models", "firmware", "sim"):
        shutil.copytree(CHECKOUT / room, tmp_path / room, symlinks=True,
                        ignore=shutil.ignore_patterns("__pycache__", "pretrained", "images"))
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1 and " 1 broken" in done.stdout, done.stdout


@pytest.mark.fast
def test_product_code_reads_no_tests():
    for room in ("quadfire", "rtl", "models", "firmware", "sim"):
        for path in (CHECKOUT / room).rglob("*.py"):
            text = path.read_text()
            assert "import tests" not in text and "from tests" not in text, path
            assert 'Path("tests' not in text and '/ "tests"' not in text, path
