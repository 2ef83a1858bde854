"""Inputs of a network: checked, and read from files.

A file is checked before it is unpacked, so a wrong or hostile one costs no memory: the sizes that
an .npy header or a picture announces are compared with the file, the network and a limit.
"""

import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from quadfire.models.integer import IntegerNetwork

__all__ = ["MOST_BYTES", "checked", "read_inputs"]

#: Largest array that is unpacked from an .npz file.
MOST_BYTES = 1 << 30


def checked(network: IntegerNetwork, inputs: np.ndarray) -> np.ndarray:
    """Inputs as uint8, of a shape that `Accelerator.run` takes.

    Raises ValueError that says what is wrong with their type, shape or range.
    """
    inputs = np.asarray(inputs)
    bits = network.input_bits
    ahead = ("N",) if bits else (network.steps, "N")
    shapes = [(*ahead, *network.input_shape), (*ahead, network.inputs)]
    if network.input_shape[1:] == (1, 1):
        shapes.reverse()
    if inputs.dtype != np.bool_ and inputs.dtype.kind not in "iu":
        hint = ""
        if inputs.dtype.kind == "f":
            hint = (f": pixels are 0..{(1 << bits) - 1} as integers (uint8)" if bits else
                    ": spikes are 0 or 1 as integers (uint8)")
        raise ValueError(f"inputs must be integers or bool, not {inputs.dtype.name}{hint}")
    if not any(inputs.ndim == len(shape) and all(
            want in ("N", have) for want, have in zip(shape, inputs.shape, strict=True))
            for shape in shapes):
        raise ValueError(f"inputs must have shape [{', '.join(map(str, shapes[0]))}] "
                         f"({'pixels' if bits else 'spikes'}), not {list(inputs.shape)}")
    top = (1 << bits) - 1 if bits else 1
    if inputs.size and (inputs.min() < 0 or inputs.max() > top):
        raise ValueError(f"inputs must lie in 0..{top}, not {inputs.min()}..{inputs.max()}")
    return inputs.astype(np.uint8)


def read_inputs(paths: list[Path], network: IntegerNetwork) -> np.ndarray:
    """Inputs from files: one .npy or .npz file, or grey pictures. Raises ValueError, OSError."""
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file")
        if path.is_dir():
            raise ValueError(f"{path}: inputs are .npy, .npz or a picture, not a folder")
    if all(path.suffix.lower() in (".npy", ".npz") for path in paths):
        if len(paths) > 1:
            raise ValueError("give one .npy or .npz file, or any number of pictures")
        return _array(paths[0])
    if not 0 < network.input_bits <= 8:
        raise ValueError("the network takes spikes, not pixels: give them as .npy or .npz")
    return np.concatenate([_picture(path, network) for path in paths])


# Arrays ------------------------------------------------------------------------------------------

def _array(path: Path) -> np.ndarray:
    """The array of an .npy file, or the first one of an .npz file."""
    problem = "not an .npy or .npz file of plain numbers"
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _plain_array(file, path.stat().st_size)
        with zipfile.ZipFile(path) as archive:
            first = next(iter(archive.infolist()), None)
            if first is None:
                raise ValueError(problem)
            if first.file_size > MOST_BYTES:
                raise _Oversize(f"{first.filename} unpacks to {_size(first.file_size)}, more than "
                                f"{_size(MOST_BYTES)}: give fewer inputs at a time, or an .npy "
                                "file")
            with archive.open(first) as file:
                return _plain_array(file, first.file_size)
    except _Oversize as error:
        problem = str(error)
    except MemoryError:
        problem = "there is not enough memory to read it"
    except (ValueError, TypeError, EOFError, RuntimeError, NotImplementedError, SyntaxError,
            zipfile.BadZipFile, zlib.error, OverflowError):
        pass
    raise ValueError(f"{path}: {problem}")


class _Oversize(ValueError):
    """A file that announces more than it holds, or more than anybody wants."""


def _size(count: int) -> str:
    """A number of bytes for a message."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} TiB"


def _plain_array(file: IO[bytes], size: int) -> np.ndarray:
    """The array of an .npy file of `size` bytes; ValueError unless it holds plain numbers."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version}")
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.names is not None or any(length < 0 for length in shape):
        raise ValueError("not plain numbers")
    wanted, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if wanted > there:
        raise _Oversize(f"its header announces {_size(wanted)}, but it holds {_size(there)}")
    data = np.frombuffer(file.read(wanted), dtype)
    return data.reshape(shape, order="F" if fortran else "C")


# Pictures ----------------------------------------------------------------------------------------

def _picture(path: Path, network: IntegerNetwork) -> np.ndarray:
    """A grey picture as one row of pixels.

    It must have the height and width of the network's input. Where the input is a vector of a
    square number of pixels, the picture must be square.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                _check_size(path, picture.size, network)
                pixels = _grey(path, picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{path}: the picture is far larger than {network.inputs} pixels, what "
                         "the network takes") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: inputs are .npy, .npz or a picture") from None
    except (SyntaxError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: the picture is damaged: {error}") from None
    return (pixels.reshape(1, -1) >> (8 - network.input_bits)).astype(np.uint8)


def _check_size(path: Path, size: tuple[int, int], network: IntegerNetwork) -> None:
    """Raise ValueError unless a picture of size (width, height) is an input of the network."""
    channels, height, width = network.input_shape
    side = round(network.inputs ** 0.5)
    if (height, width) == (1, 1) and side ** 2 == channels:
        channels, height, width = 1, side, side
    text = f"the picture is {size[0]} x {size[1]}"
    if (height, width) == (1, 1):       # a vector
        if size[0] * size[1] != channels:
            raise ValueError(f"{path}: {text}, but the network takes {channels} pixels")
    elif channels > 1:
        raise ValueError(f"{path}: a grey picture has one channel, the network takes {channels}: "
                         "give its inputs as .npy or .npz")
    elif size != (width, height):
        raise ValueError(f"{path}: {text}, but the network takes {width} x {height}")


def _grey(path: Path, picture) -> np.ndarray:
    """The pixels of a picture as uint8: of 16 bits the upper 8, of colours their luminance."""
    if picture.mode.startswith("I"):
        pixels = np.asarray(picture).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ValueError(f"{path}: its pixels have more than 16 bits: use a picture of 8 or 16")
        return (pixels >> 8).astype(np.uint8)
    if picture.mode == "F":
        raise ValueError(f"{path}: its pixels are floating-point numbers: use a picture of 8 or "
                         "16 bits")
    return np.asarray(picture.convert("L"), np.uint8)
