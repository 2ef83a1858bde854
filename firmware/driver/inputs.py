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

from quadfire.data.files import grey_of
from quadfire.data.framing import AS_FOUND, Framing
from quadfire.data.kinds import told
from quadfire.data.own import OwnData, read_own, size_for
from quadfire.data.spikes import SPIKES_REMEDY, check_spikes
from quadfire.models.integer import IntegerNetwork

__all__ = ["MOST_BYTES", "checked", "checked_values", "plane_inputs", "read_data", "read_inputs"]

#: Largest array that is unpacked from an .npz file.
MOST_BYTES = 1 << 30


def checked(network: IntegerNetwork, inputs: np.ndarray) -> np.ndarray:
    """Inputs as uint8, of a shape that `Accelerator.run` takes.

    Raises ValueError that says what is wrong with their type, shape or range.
    """
    inputs = np.asarray(inputs)
    bits, counts = network.input_bits, network.count_bits
    ahead = ("N",) if bits else (network.steps, "N")
    shapes = [(*ahead, *network.input_shape), (*ahead, network.inputs)]
    if network.input_shape[1:] == (1, 1):
        shapes.reverse()
    _check_type(inputs, bits, counts)
    if not any(inputs.ndim == len(shape) and all(
            want in ("N", have) for want, have in zip(shape, inputs.shape, strict=True))
            for shape in shapes):
        raise ValueError(f"inputs must have shape [{', '.join(map(str, shapes[0]))}] "
                         f"({_kind(network)}), not {list(inputs.shape)}")
    return checked_values(inputs, bits, counts)


def _kind(network: IntegerNetwork) -> str:
    """What the network takes, in a word."""
    return "pixels" if network.input_bits else "counts" if network.count_bits else "spikes"


def _check_type(inputs: np.ndarray, bits: int, counts: int) -> None:
    """Raises ValueError unless these are integers or bool; counts may be of any type."""
    if inputs.dtype != np.bool_ and inputs.dtype.kind not in ("iuf" if counts else "iu"):
        hint = ""
        if inputs.dtype.kind == "f":
            hint = (f": pixels are 0..{(1 << bits) - 1} as integers (uint8)" if bits else
                    ": spikes are 0 or 1 as integers (uint8)")
        raise ValueError(f"inputs must be integers or bool, not {inputs.dtype.name}{hint}")


def checked_values(inputs: np.ndarray, bits: int, counts: int = 0) -> np.ndarray:
    """Inputs of any shape as uint8: pixels of `bits` bits, counts of `counts` bits, or spikes.

    Raises ValueError that says what is wrong with their type or range.
    """
    _check_type(inputs, bits, counts)
    top = (1 << max(bits, counts, 1)) - 1
    if counts:
        _check_counts(inputs, top)
    if inputs.size and (inputs.min() < 0 or inputs.max() > top):
        hint = "" if bits else f": {SPIKES_REMEDY}"
        raise ValueError(f"inputs must lie in 0..{top}, not {inputs.min()}..{inputs.max()}{hint}")
    return inputs.astype(np.uint8)


def _check_counts(inputs: np.ndarray, top: int) -> None:
    """Raise ValueError unless all are whole numbers in 0..top, of any type."""
    wrong = ~((inputs >= 0) & (inputs <= top) & (inputs == np.floor(inputs)))
    if count := int(wrong.sum()):
        raise ValueError(f"counts must be whole numbers in 0..{top}, and {count:,} of "
                         f"{inputs.size:,} are not (such as {inputs[wrong][0]:g}): clip them, or "
                         "import the network with an example that holds the largest count")


def plane_inputs(network: IntegerNetwork, inputs: np.ndarray) -> np.ndarray:
    """Checked inputs as the layers read them: of counts, their bit planes, lowest bit first.

    Counts [T, N, C, H, W], or flat, become spikes [T, N, bits C, H, W]. Others stay what they are.
    """
    if not network.count_bits:
        return inputs
    maps = inputs.reshape(*inputs.shape[:2], *network.input_shape)
    return np.concatenate([maps >> bit & 1 for bit in range(network.count_bits)], axis=2)


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
        array = _array(paths[0])
        if not network.input_bits and not network.count_bits and array.dtype.kind == "f":
            array = check_spikes(array, f"{paths[0]}: frames")
        return array
    if not 0 < network.input_bits <= 8:
        raise ValueError(f"the network takes {_kind(network)}, not pixels: give them as .npy or "
                         ".npz")
    return np.concatenate([_picture(path, network) for path in paths])


def read_data(path: Path, network: IntegerNetwork, count: int, framing: Framing = AS_FOUND
              ) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, classes int64 [n]) of `count` held-out samples of one's own, or of all of fewer.

    They are spread evenly over what is held out, and made as in training: see `read_own`. Pixels
    lose their lower bits where the network takes fewer than 8. Raises ValueError of one line that
    names the file.
    """
    data = read_own(path, size=size_for(network.input_shape), steps=network.steps, framing=framing)
    _check_kind(path, data, network)
    held_out = data.held_out
    index = held_out[np.linspace(0, len(held_out) - 1, min(count, len(held_out))).astype(np.int64)]
    samples = data.read(index)
    if data.steps:
        if not network.count_bits:
            samples = check_spikes(samples, f"{path}: frames")
        shape = (*samples.shape[:2], *network.input_shape)
    else:
        samples = samples >> (8 - network.input_bits)
        shape = (len(samples), *network.input_shape)
    try:
        return checked(network, samples.reshape(shape)), data.labels[index]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_kind(path: Path, data: OwnData, network: IntegerNetwork) -> None:
    """Raises ValueError unless the network takes such samples: kind, steps and shape."""
    if bool(data.steps) == bool(network.input_bits):
        raise ValueError(f"{path}: holds {'frames' if data.steps else 'images'}, and the network "
                         f"takes {_kind(network)}")
    if data.steps not in (0, network.steps):
        raise ValueError(f"{path}: has frames of {data.steps} time steps, the network "
                         f"{network.steps}")
    flat = network.input_shape[1:] == (1, 1) and math.prod(data.shape) == network.inputs
    if data.shape != network.input_shape and not flat:
        raise ValueError(f"{path}: its samples are {' x '.join(map(str, data.shape))}, but the "
                         f"network takes {' x '.join(map(str, network.input_shape))}")


# Arrays ------------------------------------------------------------------------------------------

def _array(path: Path) -> np.ndarray:
    """The array of an .npy file, or the first one of an .npz file."""
    problem = f"not an .npy or .npz file of plain numbers{_other(path)}"
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


def _other(path: Path) -> str:
    """What a file is that is no input."""
    what = told(path)
    return "" if "can be an input" in what else what


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

    if other := _other(path):       # some of which Pillow takes for pictures
        raise ValueError(f"{path}: inputs are .npy, .npz or a picture{other}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                _check_size(path, picture.size, network)
                pixels = grey_of(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{path}: the picture is far larger than {network.inputs} pixels, what "
                         "the network takes") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: inputs are .npy, .npz or a picture{_other(path)}") from None
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: {error}") from None
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
