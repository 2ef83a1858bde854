"""Data of one's own: arrays in a .npz, or pictures in one folder a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quadfire.models.datasets.base import (
    SPLIT_SEED,
    Dataset,
    ImageDataset,
    TensorSamples,
    missing,
    stratified_split,
)
from quadfire.models.datasets.files import (
    LARGEST_UNPACKED,
    PICTURES,
    checked,
    picture_size,
    read_arrays,
    read_picture,
)

__all__ = ["OWN_LAYOUT", "FrameSamples", "own", "own_arrays", "own_pictures"]

OWN_LAYOUT = """\
  FILE.npz   x: images uint8 [N, ...], or frames of spikes 0/1 [T, N, ...]
             y: classes [N], integers from 0
             x_test, y_test: what to hold out; without them a fifth of each class
  or FOLDER/CLASS/*.png, *.jpg ...
  or FOLDER/train/CLASS/*.png ..., FOLDER/test/CLASS/*.png ..."""

#: Side of a picture, or (height, width).
Size = int | tuple[int, int] | None

#: Names of the folder that holds pictures to be held out.
HELD_OUT = ("test", "val")


@dataclass(frozen=True)
class FrameSamples:
    """Frames of spikes in memory: bool [T, count, C, H, W], labels int64 [count]."""

    frames: Tensor
    labels: Tensor
    seeded = False

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.frames[:, index].float(), self.labels[index]


def own(path: str | Path, *, size: Size = None) -> Dataset | ImageDataset:
    """Data of one's own: a .npz (`own_arrays`), or a folder of pictures (`own_pictures`)."""
    path = Path(path).expanduser()
    if path.suffix == ".npz" and path.is_file():
        return own_arrays(path)
    if path.is_dir():
        return own_pictures(path, size=size)
    raise missing(path, "there is neither such a folder nor such a .npz", OWN_LAYOUT)


def _note(train: Sequence[int] | Tensor, held_out: Sequence[int] | Tensor) -> str:
    """How the samples have been split, for the user to read."""
    return (f"it brings no test set: {len(held_out):,} samples are held out, a fifth of each class "
            f"by seed {SPLIT_SEED}; {len(train):,} are left to train on")


def _split(labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """(train, held out): of each class a fifth, at least one of two or more, is held out."""
    held = [max(round(0.2 * count), int(count > 1)) for count in np.bincount(labels).tolist()]
    return stratified_split(labels, held)


def _name(path: Path) -> str:
    return f"own:{path.resolve().name}"


def _dataset(path: Path, parts: list[tuple[np.ndarray, np.ndarray]], *, flat: bool = False
             ) -> Dataset | ImageDataset:
    """A data set of images uint8 [N, C, H, W]. parts: all samples, or (to train on, held out)."""
    images, labels = (torch.from_numpy(np.concatenate(arrays)) for arrays in
                      zip(*parts, strict=True))
    note, classes = "", int(labels.max()) + 1
    if len(parts) == 2:
        cut = len(parts[0][1])
        train, held_out = torch.arange(cut), torch.arange(cut, len(labels))
    else:
        train, held_out = _split(labels.numpy())
        note = _note(train, held_out)
        if not len(held_out):
            raise ValueError(f"{path}: every class has one sample: none is left to hold out")
    channels, height, width = images.shape[1:]
    if channels == 1 and height == width:
        return Dataset(name=_name(path), side=height, classes=classes, images=images.flatten(1),
                       labels=labels, train=train, held_out=held_out, flat=flat, note=note)
    train_samples, held_out_samples = (TensorSamples(images[index], labels[index])
                                       for index in (train, held_out))
    return ImageDataset(name=_name(path), shape=(channels, height, width), classes=classes,
                        train_samples=train_samples, held_out_samples=held_out_samples, flat=flat,
                        note=note)


# Arrays ------------------------------------------------------------------------------------------


def own_arrays(path: Path) -> Dataset | ImageDataset:
    """The data set in a .npz.

    | array | shape | meaning |
    |---|---|---|
    | `x` | [N, C, H, W], [N, H, W], [N, F] | images, uint8 0..255 |
    | | [T, N, C, H, W], [T, N, H, W], [T, N, F] | frames of spikes: bool, or integers 0 and 1 |
    | `y` | [N] | classes 0, 1, ...; each of them occurs |
    | `x_test`, `y_test` | as `x`, `y` | what to hold out; absent: a fifth of each class |

    The length of `y` tells images from frames; where both fit, bool means frames. F numbers are an
    image of side sqrt(F), or, if F is no square, of 1 x F. The result is a Dataset for square grey
    images and an ImageDataset for all else. Raises ValueError of one line that names the file.
    """
    arrays = read_arrays(path, ("x", "y", "x_test", "y_test"))
    with checked(path):
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
        parts = [_part(*pair, suffix) for pair, suffix in zip(pairs, ("", "_test"), strict=False)]
        if len(parts) == 2:
            _check_test(parts, classes)
        if parts[0][0].dtype == bool:
            return _frame_dataset(path, parts, classes, flat=arrays["x"].ndim == 3)
        return _dataset(path, parts, flat=arrays["x"].ndim == 2)


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


def _part(x: np.ndarray, y: np.ndarray, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [N, C, H, W] or frames bool [T, N, C, H, W], labels int64 [N])."""
    name, count = f"x{suffix}", len(y) if y.ndim else 0
    as_images = 2 <= x.ndim <= 4 and len(x) == count
    as_frames = 3 <= x.ndim <= 5 and x.shape[1] == count
    if not count or not as_images and not as_frames or 0 in x.shape:
        raise ValueError(f"{name} of shape {list(x.shape)} has no axis of samples that goes with "
                         f"y{suffix} of shape {list(y.shape)}: images are [N, ...], frames "
                         "[T, N, ...]")
    if as_frames and (not as_images or x.dtype == bool):
        if x.dtype.kind not in "biu" or x.dtype != bool and (x.min() < 0 or x.max() > 1):
            raise ValueError(f"{name}: frames must be 0 or 1, bool or integers, not {x.dtype} "
                             f"{x.min()}..{x.max()}")
        frames = x.astype(bool).reshape(*x.shape[:2], *_map_shape(x.shape[2:]))
        return frames, y.astype(np.int64)
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


def _check_test(parts: list[tuple[np.ndarray, np.ndarray]], classes: int) -> None:
    """Raises ValueError if what is held out is of another kind than what is trained on."""
    (x, _), (x_test, y_test) = parts
    if y_test.max() >= classes:
        raise ValueError(f"y_test has the class {y_test.max()}, y has 0..{classes - 1}")
    samples = 1 if x.dtype == bool else 0                   # the axis whose length is free
    shapes = [array.shape[:samples] + array.shape[samples + 1:] for array in (x, x_test)]
    if x.dtype != x_test.dtype or shapes[0] != shapes[1]:
        raise ValueError(f"x is {x.dtype} {list(x.shape)} and x_test {x_test.dtype} "
                         f"{list(x_test.shape)}: samples must be of one kind")


def _frame_dataset(path: Path, parts: list[tuple[np.ndarray, np.ndarray]],
                   classes: int, *, flat: bool) -> ImageDataset:
    """A data set of frames bool [T, N, C, H, W]."""
    samples = [FrameSamples(torch.from_numpy(frames), torch.from_numpy(labels))
               for frames, labels in parts]
    note = ""
    if len(samples) == 1:
        every, (train, held_out) = samples[0], _split(parts[0][1])
        note = _note(train, held_out)
        samples = [FrameSamples(every.frames[:, index], every.labels[index])
                   for index in (train, held_out)]
    steps, _, channels, height, width = parts[0][0].shape
    return ImageDataset(name=_name(path), shape=(channels, height, width), classes=classes,
                        train_samples=samples[0], held_out_samples=samples[1], steps=steps,
                        flat=flat, note=note)


# Pictures ----------------------------------------------------------------------------------------


def own_pictures(folder: Path, *, size: Size = None) -> Dataset | ImageDataset:
    """The pictures in FOLDER/CLASS/, or in FOLDER/train/CLASS/ and FOLDER/test/CLASS/ (or val/).

    Classes are the folders, sorted by name. size: side, or (height, width), to which pictures are
    resized; without it all of them must have one size already. If all pictures are grey the images
    have one channel, else three. Raises ValueError of one line that names the picture which is
    damaged or too large.
    """
    held_out = next((folder / name for name in HELD_OUT if (folder / name).is_dir()), None)
    tops = [folder]
    if held_out is not None and (folder / "train").is_dir():
        tops = [folder / "train", held_out]
    names = sorted(path.name for path in tops[0].iterdir()
                   if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise missing(folder, f"there are {len(names)} folders of classes in {tops[0].name}/",
                      OWN_LAYOUT)
    found = [[(path, label) for label, name in enumerate(names)
              for path in sorted((top / name).glob("*")) if path.suffix.lower() in PICTURES]
             for top in tops]
    empty = {*range(len(names))} - {label for _, label in found[0]}
    if empty or not found[-1]:
        where = tops[0] / names[min(empty)] if empty else tops[-1]
        raise missing(folder, f"there are no pictures in {where}", OWN_LAYOUT)
    return _dataset(folder, _read_all(folder, found, size))


def _read_all(folder: Path, found: list[list[tuple[Path, int]]], size: Size
              ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images uint8 [N, C, H, W] and labels of each list. All sizes are known before one is read."""
    shapes = {path: picture_size(path) for part in found for path, _ in part}
    first = next(iter(shapes))
    for path, shape in shapes.items():
        if size is None and shape[1:] != shapes[first][1:]:
            raise ValueError(f"{path}: has {shape[2]} x {shape[1]} pixels, {first.name} has "
                             f"{shapes[first][2]} x {shapes[first][1]}: name one size (--size)")
    channels = max(shape[0] for shape in shapes.values())
    height, width = shapes[first][1:] if size is None else \
        (size, size) if isinstance(size, int) else size
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
