"""DVS Gesture: which part of which recording is a sample, and which are held out.

    trials_to_train.txt, trials_to_test.txt     names of recordings, one a line
    user01_fluorescent.aedat                    a recording, AEDAT 3.1
    user01_fluorescent_labels.csv               class,startTime_usec,endTime_usec; classes from 1
"""

from pathlib import Path

from quadfire.data.files import checked, read_bytes

__all__ = ["TRIALS", "gestures"]

#: The lists of the recordings to train on and held out.
TRIALS = ("trials_to_train.txt", "trials_to_test.txt")

#: Gestures of the data set.
CLASSES = 11

#: A file, its class, and the (first, last) microsecond of the sample in it.
Sample = tuple[Path, int, tuple[int, int] | None]


def gestures(folder: Path) -> list[list[Sample]]:
    """The samples to train on, and those held out. Raises ValueError that names a wrong file."""
    parts = []
    for name in TRIALS:
        lines = _text(folder / name).split()
        if not lines:
            raise ValueError(f"{folder / name}: names no recording")
        parts.append([sample for line in lines for sample in _samples(folder, folder / name, line)])
    return parts


def _text(path: Path) -> str:
    with checked(path):
        return read_bytes(path).decode("utf-8-sig")


def _samples(folder: Path, trials: Path, line: str) -> list[Sample]:
    """The samples of a recording."""
    if Path(line).name != line or not line.endswith(".aedat"):
        raise ValueError(f"{trials}: {line!r} is not the name of a recording (.aedat)")
    recording = folder / line
    labels = folder / f"{line.removesuffix('.aedat')}_labels.csv"
    samples: list[Sample] = []
    for number, row in enumerate(_text(labels).split("\n")[1:], 2):
        if not (row := row.strip()):
            continue
        try:
            label, first, last = (int(value) for value in row.split(","))
        except ValueError:
            raise ValueError(f"{labels}: line {number} is not class,first,last: {row!r}") from None
        if not 1 <= label <= CLASSES or not 0 <= first < last:
            raise ValueError(f"{labels}: line {number} has class {label}, {first}..{last}: classes "
                             f"are 1..{CLASSES}, times go up")
        samples.append((recording, label - 1, (first, last)))
    if not samples:
        raise ValueError(f"{labels}: names no gesture")
    return samples
