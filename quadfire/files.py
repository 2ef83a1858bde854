"""Files that are whole or not there: written under another name, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["whole_file"]


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Another name beside `path` to write to; it becomes `path` where the block ends well.

    The folder is made where it is missing. An error, of a full disk say, leaves what was at `path`
    before, and nothing else. OSError names `path`.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise type(error)(error.errno, f"{path} cannot be written: {error.strerror or error}"
                          ) from error
    finally:
        part.unlink(missing_ok=True)
