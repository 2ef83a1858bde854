"""Files of data sets, read with every size checked before memory is taken for it.

| function | reads |
|---|---|
| `read_bytes` | a whole file |
| `read_unpacked` | a whole file, or what is inside of a .gz |
| `read_arrays` | arrays of a .npz |
| `read_npy` | the array of a .npy |
| `read_picture` | a picture, 8 bits a channel |
| `grey_of` | the grey of a picture, 16 bits brought to 8 |

A file that is missing, damaged, cut short or larger than its own size allows raises a ValueError of
one line that begins with its path.
"""

import gzip
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["LARGEST_UNPACKED", "MOST_PIXELS", "PICTURES", "check_depth", "checked", "grey_of",
           "missing", "open_picture", "picture_size", "read_arrays", "read_bytes", "read_npy",
           "read_picture", "read_unpacked"]

#: What a compressed file may unpack to, in bytes.
LARGEST_UNPACKED = 1 << 32

#: Deflate packs at most 258 bytes into two bits, so that nothing honest shrinks by more.
_DEFLATE_RATIO = 1032

#: The largest picture, in pixels; Pillow warns above 89 million.
MOST_PIXELS = 1 << 26

#: Endings of picture files.
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: What the libraries raise for damaged files.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, SyntaxError,
            RuntimeError, OverflowError, struct.error, zlib.error, zipfile.BadZipFile)


@contextmanager
def checked(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes a ValueError of one line that names the file."""
    try:
        yield
    except _DAMAGED as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        told = " ".join(told.split()) or type(error).__name__
        if told.startswith(f"{path}: "):
            raise ValueError(told) from None
        raise ValueError(f"{path}: {told}") from None


def missing(folder: Path, what: str, layout: str, hint: str = "") -> ValueError:
    """The error for files that are not there: what was looked for, and how it should lie."""
    return ValueError(f"{folder}: {what}\nExpected:\n{layout}{hint and chr(10) + hint}")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file."""
    with checked(path):
        return path.read_bytes()


def read_unpacked(path: Path) -> bytes:
    """The bytes of a file, unpacked if they are gzip's, up to LARGEST_UNPACKED."""
    raw = read_bytes(path)
    if raw[:2] != b"\x1f\x8b":
        return raw
    pieces, size = [], 0
    with checked(path), gzip.open(path) as file:
        while piece := file.read(1 << 20):      # a read takes as much memory as it asks for
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST_UNPACKED:
                raise ValueError(f"unpacks to more than {LARGEST_UNPACKED:,} bytes")
    return b"".join(pieces)


# Arrays ------------------------------------------------------------------------------------------


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those of the arrays called `names` that a .npz holds. Other arrays in it are not read."""
    with checked(path), zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        return {name: _read_array(archive, members[f"{name}.npy"], path) for name in names
                if f"{name}.npy" in members}


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array. Its header, its size in the archive and the size of the file must agree."""
    largest = path.stat().st_size
    if info.compress_type != zipfile.ZIP_STORED:
        largest = min(LARGEST_UNPACKED, _DEFLATE_RATIO * largest)
    if info.file_size > largest:
        raise ValueError(f"{info.filename} claims {info.file_size:,} bytes, at most {largest:,} "
                         "can be in it")
    with archive.open(info) as file:
        return _plain_array(file, info.file_size, info.filename)


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy, plain or structured."""
    with checked(path), path.open("rb") as file:
        return _plain_array(file, path.stat().st_size, "it")


def _plain_array(file: IO[bytes], length: int, name: str) -> np.ndarray:
    """The array of a .npy of `length` bytes, which its header must agree with."""
    shape, fortran_order, dtype = _array_header(file, name)
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != length - file.tell():
        raise ValueError(f"{name} claims {size:,} bytes, an array {list(shape)} of {dtype}, and "
                         f"has {length - file.tell():,}")
    raw = file.read(size)
    if len(raw) != size:
        raise ValueError(f"{name} is cut short")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran_order else "C")


def _array_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, Fortran order, dtype) at the beginning of a .npy. Pickled objects are refused."""
    version = np.lib.format.read_magic(file)
    readers: dict[Any, Any] = {(1, 0): np.lib.format.read_array_header_1_0,
                               (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name} has version {version} of the format .npy, not 1.0 or 2.0")
    shape, fortran_order, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects: reading them runs what is in them")
    return shape, fortran_order, dtype


# Pictures ----------------------------------------------------------------------------------------


@contextmanager
def open_picture(path: Path) -> Iterator["Image.Image"]:
    """A picture of at most MOST_PIXELS, of which nothing but the header has been read."""
    try:
        from PIL import Image
    except ImportError:
        raise ValueError("pictures are read through Pillow: pip install pillow") from None
    with checked(path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                picture = Image.open(path)
        except Image.DecompressionBombError:
            raise ValueError(f"has more than {MOST_PIXELS:,} pixels") from None
        except Image.UnidentifiedImageError:
            raise ValueError("is no picture, or is damaged") from None
        with picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"has {width} x {height} pixels, more than {MOST_PIXELS:,}")
            check_depth(picture)
            yield picture


def check_depth(picture: "Image.Image") -> None:
    """Raises ValueError for pixels of 32 bits. A PNG has 16 at most, whatever its mode is."""
    if picture.mode == "F" or picture.mode == "I" and picture.format != "PNG":
        what = "floating-point numbers" if picture.mode == "F" else "more than 16 bits"
        raise ValueError(f"has pixels of 32 bits (mode {picture.mode}), {what}, and nothing says "
                         "which value is white: save it with 8 or 16 bits")


def _is_deep(picture: "Image.Image") -> bool:
    """Whether its grey has 16 bits."""
    return picture.mode.startswith("I")


def grey_of(picture: "Image.Image") -> np.ndarray:
    """The grey of a picture, uint8 [H, W]: of colours their luminance.

    16 bits become 8 by round(x / 257), so that black stays black and white stays white.
    """
    check_depth(picture)
    if _is_deep(picture):
        levels = (np.asarray(picture).astype(np.uint32) + 128) // 257
        return levels.astype(np.uint8)
    return np.asarray(picture.convert("L"), np.uint8)


def picture_size(path: Path) -> tuple[int, int, int]:
    """(C, H, W) of a picture, from its header: C is 1 for grey and 3 for colours."""
    with open_picture(path) as picture:
        grey = picture.mode in ("1", "L", "LA") or _is_deep(picture)
        return 1 if grey else 3, picture.height, picture.width


def read_picture(path: Path, mode: str = "RGB") -> "Image.Image":
    """A picture in memory, 8 bits a channel. mode: "RGB", or "L" for grey.

    16 bits of grey become 8, see `grey_of`. Transparency is dropped; of several frames the first is
    read.
    """
    with open_picture(path) as picture:
        if mode == "L" or _is_deep(picture):
            from PIL import Image

            return Image.fromarray(grey_of(picture)).convert(mode)
        return picture.convert(mode)
