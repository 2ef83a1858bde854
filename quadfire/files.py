"""Files that are whole or not there: written under another name, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_writable", "whole_file", "write_text"]


def check_writable(path: str | Path) -> None:
    """Raise OSError, naming the file, unless it can be written. What is in it stays."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise type(error)(error.errno, f"{path} cannot be written: {error.strerror}") from error
    if new:
        path.unlink()


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Another name beside `path` to write to; it becomes `path` where the block ends well.

    The folder is made where it is missing. An error, of a full disk say, leaves what was at `path`
    before, and nothing else. OSError names `path`. What a link leads to is written; a device or a
    pipe, such as /dev/stdout, is written to as it is.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    place = path.resolve() if path.is_symlink() else path
    device = place.exists() and not place.is_file()
    part = place if device else place.with_name(f".{place.stem}.{os.getpid()}.part{place.suffix}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if not device:
            part.replace(place)
    except OSError as error:
        raise type(error)(error.errno, f"{path} cannot be written: {error.strerror or error}"
                          ) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":   # an OSError that safetensors has wrapped
            raise
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        if not device:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text, whole or not at all; see `whole_file`."""
    with whole_file(path) as part:
        part.write_text(text)
