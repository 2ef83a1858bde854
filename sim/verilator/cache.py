"""What is built once: folders whose name is a hash of everything that decides their content.

    ROOT/verilog/<hash>/         a core or an AXI shell, as `quadfire.rtl` generated it
    ROOT/verilated/<hash>/       a shared library with a harness, for quadfire.sim.verilator.core
    ROOT/cocotb/<hash>/          a simulator executable, for quadfire.sim.cocotb.run
    ROOT/runtime/<hash>/         objects of Verilator's own C++ files, shared by all of the above

A build fills the hidden folder `.<hash>.partial` and renames it when all is done, so a folder
appears whole or not at all. Its `manifest.json` lists the size of every file: a folder in which a
file is missing or has another size is built anew. The lock `.<hash>.lock` lets a second process
wait for the first. What a killed build left behind is removed by the next build beside it. Any of
these folders may be deleted at any time while nothing is built.
"""

import contextlib
import errno
import hashlib
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from quadfire.arguments import PlainConsole
from quadfire.paths import cache_folder
from quadfire.sim.verilator import toolchain

__all__ = ["ROOT", "cached", "forget"]

ROOT = cache_folder()

_MANIFEST = "manifest.json"


def cached(kind: str, content: Sequence[object], build: Callable[[Path], None],
           message: str = "") -> Path:
    """The folder ROOT/kind/<hash of content>, filled by `build(folder)` if it is not complete.

    | argument | meaning |
    |---|---|
    | `content` | everything that decides what the folder holds; the toolchain is added |
    | `build` | writes the files into the folder that it is given |
    | `message` | what is shown while it is built |

    Raises ToolchainError where the disk is full or the folder cannot be written, and passes on what
    `build` raises.
    """
    text = "\0".join([toolchain.verilator().identity, *map(repr, content)])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = ROOT / kind / key
    if not _complete(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(_lock(target.parent, key)):
                if not _complete(target):
                    _sweep(target.parent, key)
                    _fill(target, build, message)
        except OSError as error:
            raise _advice(error, target) from error
    return target


def forget(folder: Path) -> None:
    """Remove a folder that `cached` gave, and its lock."""
    lock = _lock(folder.parent, folder.name)
    with FileLock(lock):
        shutil.rmtree(folder)
        lock.unlink()


def _lock(parent: Path, key: str) -> Path:
    return parent / f".{key}.lock"


def _complete(folder: Path) -> bool:
    """Whether every file is there in its full size."""
    try:
        sizes = json.loads((folder / _MANIFEST).read_text())
        return isinstance(sizes, dict) and bool(sizes) and all(
            (folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _fill(target: Path, build: Callable[[Path], None], message: str) -> None:
    """Build the folder under another name, then rename it."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _terminable(), _progress(message):
            partial.mkdir()     # readable by others, as the umask has it
            build(partial)
            sizes = {str(path.relative_to(partial)): path.stat().st_size
                     for path in sorted(partial.rglob("*")) if path.is_file()}
            (partial / _MANIFEST).write_text(json.dumps(sizes, indent=1) + "\n")
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(parent: Path, key: str) -> None:
    """Remove partial folders of builds that were killed: their locks are free."""
    for partial in parent.glob(".*.*"):
        owner = partial.name.split(".")[1]
        if owner != key and partial.is_dir():
            with contextlib.suppress(OSError), FileLock(_lock(parent, owner), timeout=0):
                shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that a build removes its folder and ends its compilers."""
    if (threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL):
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _progress(message: str) -> contextlib.AbstractContextManager:
    """A spinner on a terminal, one line in a log, nothing without a message."""
    console = PlainConsole(stderr=True)
    if message and not console.is_terminal:
        console.print(f"{message} …", highlight=False, soft_wrap=True)
    return console.status(f"{message} …") if message else contextlib.nullcontext()


def _advice(error: OSError, target: Path) -> toolchain.ToolchainError:
    """One line that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"no space is left for {target.parent}: free some"
    else:
        text = (f"cannot write {error.filename or target}, {error.strerror or error}: "
                "make it writable")
    return toolchain.ToolchainError(f"{text}, or name another folder in QUADFIRE_CACHE")
