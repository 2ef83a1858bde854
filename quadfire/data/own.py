"""Data of one's own: arrays in a .npz, or pictures or recordings in one folder a class.

What a file holds is read as it is asked for: `OwnData.read` takes indices of samples and returns
them, images uint8 [N, C, H, W], or frames [T, N, C, H, W], bool where they are spikes and float32
where they are counts of events.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quadfire.data.files import (
    LARGEST_UNPACKED,
    PICTURES,
    checked,
    missing,
    picture_size,
    read_arrays,
    read_picture,
)
from quadfire.data.framing import AS_FOUND, Framing
from quadfire.data.gestures import TRIALS, gestures
from quadfire.data.recorded import Recorded
from quadfire.data.recordings import RECORDINGS
from quadfire.data.spikes import spikes_above
from quadfire.data.split import SPLIT_SEED, fifth_of_each

__all__ = ["OWN_LAYOUT", "OwnData", "Size", "read_own", "size_for"]

OWN_LAYOUT = """\
  FILE.npz   x: images uint8 [N, ...], or frames of spikes 0/1 [T, N, ...]
             y: classes [N], integers from 0
             x_test, y_test: what to hold out; without them a fifth of each class
  or FOLDER/CLASS/*.png, *.jpg ...; or recordings of events, *.aedat, *.bin, *.npy, *.npz
  or FOLDER/train/CLASS/*.png ..., FOLDER/test/CLASS/*.png ..."""

#: Side of a picture, or (height, width).
Size = int | tuple[int, int] | None

#: Names of the folder that holds samples to be held out, in any case.
HELD_OUT = ("test", "val")

#: Samples and their classes.
Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """Data of one's own.

    | field | meaning |
    |---|---|
    | `shape` | (C, H, W) |
    | `labels` | int64 [N] |
    | `train`, `held_out` | indices into them; disjoint, and together all of them |
    | `read` | indices [n] -> uint8 [n, C, H, W], or frames [T, n, C, H, W] |
    | `steps` | frames of a sample, T; 0 for images |
    | `counts` | frames hold counts of events, not spikes |
    | `flat` | samples are vectors: their neighbours mean nothing |
    | `note` | how they have been split, for the user to read; or "" |
    """

    name: str
    shape: tuple[int, int, int]
    labels: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]
    steps: int = 0
    counts: bool = False
    flat: bool = False
    note: str = ""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class _InMemory:
    """Reads samples from an array; axis: the one of the samples."""

    samples: np.ndarray
    axis: int

    def __call__(self, index: np.ndarray) -> np.ndarray:
        return self.samples[index] if not self.axis else self.samples[:, index]


def read_own(path: str | Path, *, size: Size = None, steps: int = 10,
             framing: Framing = AS_FOUND) -> OwnData:
    """Data of one's own.

    | argument | meaning |
    |---|---|
    | `path` | a .npz (`_arrays`), or a folder of classes of pictures or recordings (`_folder`) |
    | `size` | side, or (height, width), to which pictures are resized and recordings made coarser |
    | `steps` | frames that a recording is cut into |
    | `framing` | how frames are made |

    Raises ValueError of one line that names the file.
    """
    path = Path(path).expanduser()
    if path.suffix == ".npz" and path.is_file():
        return _arrays(path, framing)
    if path.is_dir():
        return _folder(path, (size, size) if isinstance(size, int) else size, steps, framing)
    raise missing(path, "there is neither such a folder nor such a .npz", OWN_LAYOUT)


def size_for(shape: tuple[int, int, int]) -> tuple[int, int] | None:
    """(height, width) of the pictures that a network of the input shape (C, H, W) takes.

    Of a vector: that of a square grey picture, or None where its length is no square.
    """
    channels, height, width = shape
    if (height, width) != (1, 1):
        return height, width
    side = round(channels ** 0.5)
    return (side, side) if side * side == channels else None


def _split(path: Path, labels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, str]:
    """(train, held out, note). labels: of all samples, or of those to train on and held out."""
    if len(labels) == 2:
        cut = len(labels[0])
        return np.arange(cut), np.arange(cut, cut + len(labels[1])), ""
    train, held_out = fifth_of_each(labels[0])
    if not len(held_out):
        raise ValueError(f"{path}: every class has one sample: none is left to hold out")
    return train, held_out, (
        f"it brings no test set: {len(held_out):,} samples are held out, a fifth of each class by "
        f"seed {SPLIT_SEED}; {len(train):,} are left to train on")


def _in_memory(path: Path, parts: list[Part], *, flat: bool = False) -> OwnData:
    """Data of images uint8 [N, C, H, W] or frames bool [T, N, C, H, W].

    parts: all samples, or (to train on, held out).
    """
    axis = int(parts[0][0].ndim == 5)
    train, held_out, note = _split(path, [labels for _, labels in parts])
    samples, labels = parts[0]
    if len(parts) == 2:
        samples = np.concatenate([x for x, _ in parts], axis)
        labels = np.concatenate([y for _, y in parts])
    channels, height, width = samples.shape[-3:]
    return OwnData(name=_name(path), shape=(channels, height, width), labels=labels, train=train,
                   held_out=held_out, read=_InMemory(samples, axis), flat=flat, note=note,
                   steps=len(samples) if axis else 0)


def _name(path: Path) -> str:
    return f"own:{path.resolve().name}"


# Arrays ------------------------------------------------------------------------------------------


def _arrays(path: Path, framing: Framing) -> OwnData:
    """The data set in a .npz.

    | array | shape | meaning |
    |---|---|---|
    | `x` | [N, C, H, W], [N, H, W], [N, F] | images, uint8 0..255 |
    | | [T, N, C, H, W], [T, N, H, W], [T, N, F] | frames of spikes: 0 and 1, of any type |
    | `y` | [N] | classes 0, 1, ...; each of them occurs |
    | `x_test`, `y_test` | as `x`, `y` | what to hold out; absent: a fifth of each class |

    The length of `y` tells images from frames; where both fit, bool and floating point mean frames.
    F numbers are an image of side sqrt(F), or, if F is no square, of 1 x F. Frames of other numbers
    become spikes where they are above `framing.spikes_above`, if that is named.
    """
    arrays = read_arrays(path, ("x", "y", "x_test", "y_test"))
    with checked(path):
        if recorded := replace(framing, spikes_above=None).options:
            raise ValueError(f"holds no recordings of events: {recorded} is for them")
        if missing_names := {"x", "y"} - arrays.keys():
            raise ValueError(f"has no array {' and '.join(sorted(missing_names))}")
        if ("x_test" in arrays) != ("y_test" in arrays):
            raise ValueError("x_test and y_test must be there both, or neither of them")
        pairs = [(arrays["x"], arrays["y"])]
        if "x_test" in arrays:
            pairs.append((arrays["x_test"], arrays["y_test"]))
        for (_, labels), name in zip(pairs, ("y", "y_test"), strict=False):
            _check_labels(labels, name)
        classes = _class_count(pairs[0][1])
        parts = [_part(*pair, suffix, framing.spikes_above)
                 for pair, suffix in zip(pairs, ("", "_test"), strict=False)]
        if len(parts) == 2:
            _check_test(parts, classes)
        frames = parts[0][0].ndim == 5
        return _in_memory(path, parts, flat=arrays["x"].ndim == (3 if frames else 2))


def _check_labels(labels: np.ndarray, name: str) -> None:
    """Raises ValueError unless these are integers from 0, [N]."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape [N], not {labels.dtype} "
                         f"{list(labels.shape)}")
    if not len(labels):
        raise ValueError(f"{name} is empty")
    if labels.min() < 0:
        raise ValueError(f"{name} has the class {labels.min()}: classes count from 0")


def _class_count(labels: np.ndarray) -> int:
    """How many classes there are. Raises ValueError unless each of 0, 1, ... occurs."""
    classes = np.unique(labels)
    if len(classes) != int(classes[-1]) + 1:
        lacking = next(n for n, label in enumerate(classes.tolist()) if n != label)
        raise ValueError(f"y goes up to {classes[-1]}, and no sample is of class {lacking}: "
                         "number the classes from 0, without gaps")
    if len(classes) < 2:
        raise ValueError("y has a single class")
    return len(classes)


def _part(x: np.ndarray, y: np.ndarray, suffix: str, level: float | None) -> Part:
    """(images uint8 [N, C, H, W] or frames bool [T, N, C, H, W], labels int64 [N])."""
    name, count = f"x{suffix}", len(y) if y.ndim else 0
    as_images = 2 <= x.ndim <= 4 and len(x) == count
    as_frames = 3 <= x.ndim <= 5 and x.shape[1] == count
    if not count or not as_images and not as_frames or 0 in x.shape:
        raise ValueError(f"{name} of shape {list(x.shape)} has no axis of samples that goes with "
                         f"y{suffix} of shape {list(y.shape)}: images are [N, ...], frames "
                         "[T, N, ...]")
    if as_frames and (not as_images or x.dtype.kind in "bf"):
        if x.dtype.kind not in "biuf":
            raise ValueError(f"{name}: frames must be numbers, not {x.dtype}")
        frames = spikes_above(x, level, f"{name}: frames")
        return frames.reshape(*x.shape[:2], *_map_shape(x.shape[2:])), y.astype(np.int64)
    if level is not None:
        raise ValueError(f"{name} has images: --spikes-above is for frames")
    if x.dtype != np.uint8:
        raise ValueError(f"{name}: images must be uint8, 0..255, not {x.dtype}")
    return x.reshape(len(x), *_map_shape(x.shape[1:])), y.astype(np.int64)


def _map_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of one sample of shape [C, H, W], [H, W] or [F]."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    side = round(shape[0] ** 0.5)
    return (1, side, side) if side * side == shape[0] else (1, 1, shape[0])


def _check_test(parts: list[Part], classes: int) -> None:
    """Raises ValueError if what is held out is of another kind than what is trained on."""
    (x, _), (x_test, y_test) = parts
    if y_test.max() >= classes:
        raise ValueError(f"y_test has the class {y_test.max()}, y has 0..{classes - 1}")
    samples = 1 if x.ndim == 5 else 0                       # the axis whose length is free
    shapes = [array.shape[:samples] + array.shape[samples + 1:] for array in (x, x_test)]
    if x.dtype != x_test.dtype or shapes[0] != shapes[1]:
        raise ValueError(f"x is {x.dtype} {list(x.shape)} and x_test {x_test.dtype} "
                         f"{list(x_test.shape)}: samples must be of one kind")


# Folders -----------------------------------------------------------------------------------------


def _folder(folder: Path, size: tuple[int, int] | None, steps: int, framing: Framing) -> OwnData:
    """Pictures or recordings in FOLDER/CLASS/, or in FOLDER/train/CLASS/ and FOLDER/test/CLASS/.

    Classes are the folders, sorted by name. size: (height, width) to which pictures are resized and
    recordings made coarser; without it all pictures must have one size already. If all pictures are
    grey the images have one channel, else three. A folder of DVS Gesture is known by its lists.
    """
    if (folder / TRIALS[0]).is_file():
        found = gestures(folder)
        return _recorded(folder, found, size, steps, framing)
    inside = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    held_out = next((inside[name] for name in HELD_OUT if name in inside), None)
    tops = [folder]
    if held_out is not None and "train" in inside:
        tops = [inside["train"], held_out]
    names = sorted(path.name for path in tops[0].iterdir()
                   if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise missing(folder, f"there are {len(names)} folders of classes in {tops[0].name}/",
                      OWN_LAYOUT)
    for kinds in (PICTURES, RECORDINGS):
        found = [[(path, label) for label, name in enumerate(names)
                  for path in sorted((top / name).glob("*")) if path.suffix.lower() in kinds]
                 for top in tops]
        if any(found):
            break
    empty = {*range(len(names))} - {label for _, label in found[0]}
    if empty or not found[-1]:
        where = tops[0] / names[min(empty)] if empty else tops[-1]
        raise missing(folder, f"there are no pictures in {where}", OWN_LAYOUT)
    if found[0][0][0].suffix.lower() in PICTURES:
        if framing != AS_FOUND:
            raise ValueError(f"{folder}: holds pictures: {framing.options} is for frames")
        return _in_memory(folder, _pictures(folder, found, size))
    return _recorded(folder, [[(path, label, None) for path, label in part] for part in found],
                     size, steps, framing)


def _recorded(folder: Path, found: list[list[tuple[Path, int, tuple[int, int] | None]]],
              size: tuple[int, int] | None, steps: int, framing: Framing) -> OwnData:
    """Data of recordings, read when they are asked for."""
    every = [entry for part in found for entry in part]
    labels = [np.array([label for _, label, _ in part], np.int64) for part in found]
    train, held_out, note = _split(folder, labels)
    read = Recorded([(path, span) for path, _, span in every], steps, size, framing)
    height, width = read.size
    return OwnData(name=_name(folder), shape=(2, height, width), labels=np.concatenate(labels),
                   train=train, held_out=held_out, read=read, steps=steps, note=note,
                   counts=framing.spikes_above is None)


def _pictures(folder: Path, found: list[list[tuple[Path, int]]], size: tuple[int, int] | None
              ) -> list[Part]:
    """Images uint8 [N, C, H, W] and labels of each list. All sizes are known before one is read."""
    shapes = {path: picture_size(path) for part in found for path, _ in part}
    first = next(iter(shapes))
    for path, shape in shapes.items():
        if size is None and shape[1:] != shapes[first][1:]:
            raise ValueError(f"{path}: has {shape[2]} x {shape[1]} pixels, {first.name} has "
                             f"{shapes[first][2]} x {shapes[first][1]}: name one size (--size)")
    channels = max(shape[0] for shape in shapes.values())
    height, width = size or shapes[first][1:]
    if len(shapes) * channels * height * width > LARGEST_UNPACKED:
        raise ValueError(f"{folder}: {len(shapes):,} pictures of {width} x {height} are more than "
                         f"{LARGEST_UNPACKED:,} bytes: name a smaller size (--size)")
    from PIL import Image

    parts = []
    for part in found:
        images = np.empty((len(part), channels, height, width), np.uint8)
        for image, (path, _) in zip(images, part, strict=True):
            picture = read_picture(path, "L" if channels == 1 else "RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            image[:] = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
        parts.append((images, np.array([label for _, label in part], np.int64)))
    return parts
