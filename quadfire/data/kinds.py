"""What a file is, told by its first bytes, for the commands that expect another one."""

import json
import zipfile
from pathlib import Path

__all__ = ["told"]

_IMPORT = "`quadfire import FILE.py:FUNCTION --weights {path}` makes a network of it"

#: First bytes, what they begin, and which way leads here.
_BEGINNINGS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as NIR files are",
     "`quadfire import {path}` makes a network of it"),
    (b"\x93NUMPY", "an array of numpy (.npy)", "it can be an input"),
    (b"\x89PNG", "a picture", "it can be an input"),
    (b"\xff\xd8\xff", "a picture", "it can be an input"),
    (b"\x1f\x8b", "packed by gzip", "unpack it"),
    (b"#!AER-DAT", "a recording of events", "it belongs in a folder of --data"),
)


def told(path: Path) -> str:
    """What a file is and which way leads here, as ": it is ..."; "" where that is not known.

    It reads the first bytes, of an archive the names in it, of safetensors the names of tensors. An
    unreadable file is not known.
    """
    try:
        what, way = _what(path)
    except (OSError, ValueError, zipfile.BadZipFile, RecursionError, NotImplementedError):
        return ""
    return f": it is {what}: {way.format(path=path)}" if what else ""


def _what(path: Path) -> tuple[str, str]:
    """(what it is, which way leads here), both "" where that is not known."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        for first, what, way in _BEGINNINGS:
            if start.startswith(first):
                return what, way
        if start[:4] == b"PK\x03\x04":
            return _of_archive(path)
        if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
            return "a pickle, as torch.save wrote it long ago", _IMPORT
        if start.lstrip()[:1] in (b"{", b"["):
            return "a JSON text", "an array is named by --config"
        length = int.from_bytes(start[:8], "little")
        if 1 < length <= min(size - 8, 1 << 26) and start[8:9] == b"{":
            file.seek(8)
            return _of_tensors(json.loads(file.read(length)))
    return "", ""


def _of_archive(path: Path) -> tuple[str, str]:
    """What a zip file holds."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/data.pkl") for name in names):
        return "a file that torch.save wrote (.pt)", _IMPORT
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of arrays (.npz)", "it can be an input, or --data"
    return "a zip file", "unpack it"


def _of_tensors(head: object) -> tuple[str, str]:
    """What a file of safetensors holds, by its header."""
    about = head.get("__metadata__") if isinstance(head, dict) else None
    if not isinstance(head, dict) or isinstance(about, dict) and "quadfire" in about:
        return "", ""
    return "a state dict of tensors, without the network that they belong to", _IMPORT
