"""What a network is run on: checked, and read from files."""

import zipfile
from pathlib import Path

import numpy as np

from quadfire.models.integer import IntegerNetwork

__all__ = ["checked", "read_inputs"]


def checked(network: IntegerNetwork, inputs: np.ndarray) -> np.ndarray:
    """Inputs as uint8, of the shapes of `Accelerator.run`. Raises ValueError that says what is
    wrong with them."""
    inputs = np.asarray(inputs)
    bits = network.input_bits
    ahead = ("N",) if bits else (network.steps, "N")
    shapes = [(*ahead, network.inputs)]
    if network.input_shape[1:] != (1, 1):
        shapes.insert(0, (*ahead, *network.input_shape))
    if inputs.dtype != np.bool_ and inputs.dtype.kind not in "iu":
        raise ValueError(f"inputs must be integers or bool, not {inputs.dtype.name}")
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
    """Inputs of files: one .npy or .npz, or grey pictures. Raises ValueError, OSError."""
    if all(path.suffix.lower() in (".npy", ".npz") for path in paths):
        if len(paths) > 1:
            raise ValueError("give one .npy or .npz file, or any number of pictures")
        return _array(paths[0])
    if not 0 < network.input_bits <= 8:
        raise ValueError("the network takes spikes, not pixels: give them as .npy or .npz")
    return np.concatenate([_picture(path, network) for path in paths])


def _array(path: Path) -> np.ndarray:
    """The array of an .npy file, or the first of an .npz file."""
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.lib.npyio.NpzFile):
            with data:
                data = data[data.files[0]]
    except (ValueError, EOFError, IndexError, zipfile.BadZipFile):
        data = None
    if not isinstance(data, np.ndarray):
        raise ValueError(f"{path}: not an .npy or .npz file of plain numbers")
    return data


def _picture(path: Path, network: IntegerNetwork) -> np.ndarray:
    """A grey picture as one row of pixels.

    It must have the height and width of the network's input; where that is a vector of a square
    number of pixels it must be square.
    """
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"), np.uint8)
    channels, height, width = network.input_shape
    side = round(network.inputs ** 0.5)
    if (height, width) == (1, 1) and side ** 2 == channels:
        channels, height, width = 1, side, side
    size = f"{pixels.shape[1]} x {pixels.shape[0]}"
    if (height, width) == (1, 1):       # a vector
        if pixels.size != channels:
            raise ValueError(f"{path}: the picture is {size}, but the network takes {channels} "
                             "pixels")
    elif channels > 1:
        raise ValueError(f"{path}: a grey picture has one channel, the network takes {channels}: "
                         "give its inputs as .npy or .npz")
    elif pixels.shape != (height, width):
        raise ValueError(f"{path}: the picture is {size}, but the network takes {width} x {height}")
    return (pixels.reshape(1, -1) >> (8 - network.input_bits)).astype(np.uint8)
