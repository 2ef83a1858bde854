"""Wheel and sdist, built and tried as a user would: `python -m tests.package.try_wheel`.

In fresh environments, with the wheel installed where its user may not write (root may anywhere: so
nothing in there may have changed afterwards):

1. the requirements alone, as on a board: no PyTorch, no Amaranth; the command, the driver and the
   compiler work, beside a `models.py` of the user's own;
2. with the extra `sim`: the array is generated, compiled into the user's cache folder, and answers.

Needs the network for pip. Prints what it saw; any other outcome is an error.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from quadfire import __version__
from quadfire.paths import CHECKOUT

assert CHECKOUT is not None

#: What a user's project might hold: half of all PyTorch projects have a models.py.
_MODELS = "raise SystemExit('the wrong models was imported')\n"

_DRIVER = """
import sys
import numpy as np
from quadfire.firmware import Accelerator, compile
import quadfire
network = quadfire.load(sys.argv[1])
program = quadfire.compile(network, quadfire.read_config("tiny"))
assert not {"torch", "amaranth"} & set(sys.modules), "too much was imported"
print("compiled for", program.config)
"""


def run(*command: object, cwd: Path, home: Path) -> str:
    """What a command prints."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    """File -> (size, time of its last change), of all files in a folder."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns)
            for path in folder.rglob("*") if path.is_file()}


def environment(folder: Path, wheel: Path, extra: str) -> tuple[Path, list[str]]:
    """(its python, the distributions in it) of an environment with the wheel, read-only."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    constraints = CHECKOUT / "constraints.txt"
    subprocess.run([*pip, "install", "--quiet", "-c", constraints, f"{wheel}{extra}"], check=True)
    listed = subprocess.run([*pip, "list", "--format", "freeze"], check=True, text=True,
                            capture_output=True).stdout.split()
    names = sorted({line.partition("==")[0].lower() for line in listed} - {"pip", "setuptools"})
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222 | 0o444 | (0o111 if path.is_dir() else 0))
    return python, names


def try_wheel(work: Path) -> None:
    """Build both, look into them, and try the wheel; raises SystemExit where something is wrong."""
    dist = work / "dist"
    subprocess.run([sys.executable, "-m", "build", "--outdir", dist, CHECKOUT], check=True,
                   stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert __version__ in wheel.name and __version__ in sdist.name
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        files = set(archive.namelist())
    assert tops == {"quadfire", f"quadfire-{__version__}.dist-info"}, tops
    for needed in ("firmware/c/quadfire.c", "firmware/c/quadfire.h", "firmware/zynq/quadfire.tcl",
                   "rtl/fpga/baselines/bench.json", "sim/verilator/cpp/harness.cpp",
                   "models/pretrained/mnist5k-784-128-10-int8.safetensors"):
        assert f"quadfire/{needed}" in files, needed
    print(f"{wheel.name}: {len(files)} files, {wheel.stat().st_size >> 10} KiB; {sdist.name}")

    home = work / "home"
    home.mkdir()
    home.chmod(0o777)
    (home / "models.py").write_text(_MODELS)
    (home / "drive.py").write_text(_DRIVER)
    network = home / "net.safetensors"
    shutil.copy(CHECKOUT / "firmware" / "driver" / "golden.safetensors", network)

    python, names = environment(work / "board", wheel, "")
    assert not {"torch", "amaranth", "pytest"} & set(names), names
    before = contents(work / "board")
    print(f"requirements alone: {len(names)} packages ({', '.join(names)})")
    packages = next((work / "board" / "lib").glob("python*")) / "site-packages"
    assert not {"rtl", "models", "firmware", "sim", "tests"} & {p.name for p in packages.iterdir()}
    command = python.with_name("quadfire")
    assert "simulate" in run(command, "--help", cwd=home, home=home)
    assert "serial:PORT" in run(command, "devices", cwd=home, home=home)
    assert "dense" in run(command, "compile", network, "-c", "tiny", cwd=home, home=home)
    print(run(python, "drive.py", network, cwd=home, home=home).strip())

    assert contents(work / "board") == before, "something was written beside the code"

    python, names = environment(work / "simulation", wheel, "[sim]")
    before = contents(work / "simulation")
    assert "torch" not in names, names
    print(f"with the extra sim: {len(names)} packages")
    command = python.with_name("quadfire")
    print(run(command, "selftest", "--device", "sim", "-c", "tiny", cwd=home, home=home).strip())
    cache = home / ".cache" / "quadfire"
    assert any(cache.glob("verilated/*/libcore.so")), "nothing in the user's cache folder"
    assert contents(work / "simulation") == before, "something was written beside the code"
    print("the array was compiled into the user's cache folder; the installation is as it was")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        work = Path(name)
        work.chmod(0o755)
        try:
            try_wheel(work)
        finally:        # what is read-only can be removed again
            for path in [work, *work.rglob("*")]:
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o755)
