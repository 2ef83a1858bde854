"""The README is true: its commands run, its Python runs."""

import re
import shlex
import subprocess
import sys

import pytest

from quadfire.models.datasets import mnist5k
from quadfire.paths import CHECKOUT as ROOT

TEXT = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    \.venv/bin/python (-m .*?)(?:\s+#.*)?$", TEXT, re.MULTILINE)


def test_it_shows_commands():
    assert len(COMMANDS) >= 5
    assert "make demo" in TEXT and "make test" in TEXT


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, tmp_path):
    arguments = [str(tmp_path) if argument == "build/" else argument
                 for argument in shlex.split(command)]
    if "demo" in arguments:
        arguments += ["-o", str(tmp_path)]
    result = subprocess.run([sys.executable, *arguments], cwd=ROOT, text=True, capture_output=True,
                            check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z0-9-]+)`?", TEXT)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_python_runs():
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    labels = mnist5k().held_out_set[1].numpy()
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    result = names["result"]
    assert (result.outputs.argmax(axis=1) == labels[::50]).mean() >= 0.8
    assert result.spikes[0].shape == (4, 20, 128)
