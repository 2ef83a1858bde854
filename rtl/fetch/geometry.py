"""Geometry of a pass in plain integers: sites, windows, word addresses, and what leaves when.

This is what PASS and SOURCE (`quadfire.rtl.contract.tape`) mean. The models of the raster and the
word reader, the cycle model, the compiler and the tests all ask here. It takes numpy, no Amaranth.

Sites count in raster order, p = y width + x. With kernel taps, an event at site p adds tap (ky, kx)
to the output q = p + 1 - kx + (1 - ky) width. So output q is complete after site q + 1 + width, and
leaves with the shifts of the site after that.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Windows", "along", "emitted", "ends", "leaves", "left_before", "sites", "starts",
           "window_inside", "windows", "word_offsets"]

#: An output leaves width + 2 sites after its own position: at the site behind the one that
#: completes it.
_BEHIND = 2


def sites(fields: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of every site of a PASS, in order. A flush adds one site behind the last row."""
    width = fields["width"] + 1
    y, x = np.divmod(np.arange(width * (fields["height"] + 1) + fields["flush"]), width)
    return x, y


def leaves(position: np.ndarray, *, width: int, stride: int, x_low: int, x_high: int, y_low: int,
           y_high: int) -> np.ndarray:
    """Whether the sums at linear positions y width + x are outputs.

    Outputs lie at x_low <= x <= x_high and y_low <= y <= y_high, in steps of the stride.
    """
    y, x = np.divmod(position, width)
    return ((x >= x_low) & (x <= x_high) & ((x - x_low) % stride == 0)
            & (y >= y_low) & (y <= y_high) & ((y - y_low) % stride == 0))


def left_before(row: int, width: int) -> np.ndarray:
    """Linear positions whose sums have left the last bank when a row of sites begins."""
    return np.arange(max((row - 1) * width - _BEHIND, 0))


def emitted(fields: Mapping[str, int]) -> np.ndarray:
    """Whether an output leaves, at every site of a PASS. Without kernel taps none leaves early."""
    width = fields["width"] + 1
    site = np.arange(width * (fields["height"] + 1) + fields["flush"])
    if not fields["taps"]:
        return np.zeros(len(site), bool)
    position = site - width - _BEHIND + fields["row"] * width
    return leaves(position, width=width, stride=1 << fields["stride"],
                  **{name: fields[name] for name in ("x_low", "x_high", "y_low", "y_high")})


def starts(fields: Mapping[str, int], source: int) -> np.ndarray:
    """Whether a source starts the sums of every slot, at every site.

    The first source does so, with `join` at the first site alone.
    """
    site = np.arange((fields["width"] + 1) * (fields["height"] + 1) + fields["flush"])
    return (site == 0 if fields["join"] else site >= 0) & (source == 0)


def ends(fields: Mapping[str, int]) -> np.ndarray:
    """Whether an output, or the pass, is complete after each site.

    Without kernel taps and `join` every site is an output; otherwise only the pass ends.
    """
    count = (fields["width"] + 1) * (fields["height"] + 1) + fields["flush"]
    each = not (fields["taps"] or fields["join"])
    return np.full(count, each) | (np.arange(count) == count - 1)


def along(first: np.ndarray, window: int, length: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows along one axis: (whether each counts, whether each of its pixels does).

    A window counts if it lies within the map and `pad` pixels around it. Of a window that counts,
    the pixels within the map do.

    | argument | meaning                               |
    |----------|---------------------------------------|
    | `first`  | first pixel of every window [windows] |
    | `window` | pixels of a window                    |
    | `length` | pixels of the map                     |
    | `pad`    | padding of a pooling                  |
    """
    counts = (first >= -pad) & (first + window <= length + pad)
    pixel = first[:, None] + np.arange(window)
    return counts, counts[:, None] & (pixel >= 0) & (pixel < length)


class Windows(NamedTuple):
    """The window of one source at every site.

    | field     | shape                  | meaning                                       |
    |-----------|------------------------|-----------------------------------------------|
    | `x`, `y`  | [sites]                | first pixel                                   |
    | `address` | [sites]                | spike word of slot 0 and word 0 of that pixel |
    | `blank`   | [sites]                | the window leaves the map and its padding     |
    | `inside`  | [sites, rows, columns] | the pixel is read; all others hold no spike   |
    """

    x: np.ndarray
    y: np.ndarray
    address: np.ndarray
    blank: np.ndarray
    inside: np.ndarray


def windows(fields: Mapping[str, int], source: Mapping[str, int]) -> Windows:
    """The windows of a SOURCE of a PASS. The signed fields x0 and y0 may come as their 11 bits."""
    x, y = sites(fields)
    x0, y0 = ((source[name] + 1024) % 2048 - 1024 for name in ("x0", "y0"))
    first_x, first_y = x0 + x * source["step_x"], y0 + y * source["step_y"]
    columns_count, columns = along(first_x, source["window_width"] + 1, source["map_width"],
                                   source["pad"])
    rows_count, rows = along(first_y, source["window_height"] + 1, source["map_height"],
                             source["pad"])
    return Windows(x=first_x, y=first_y,
                   address=source["base"] + x * source["x_stride"] + y * source["y_stride"],
                   blank=~(columns_count & rows_count),
                   inside=rows[:, :, None] & columns[:, None, :])


def window_inside(run: Mapping[str, int]) -> np.ndarray:
    """Whether each pixel of a run's window is read [rows, columns], as in `Windows.inside`."""
    column = run["x"] + np.arange(run["window_width"] + 1)
    row = (run["y"] + np.arange(run["window_height"] + 1))[:, None]
    return ((row >= 0) & (row < run["map_height"]) & (column >= 0) & (column < run["map_width"])
            & (not run["blank"]))


def word_offsets(source: Mapping[str, int], slots: int) -> np.ndarray:
    """Spike words from a window's address to each word read [slots, words, rows, columns].

    This is also the order in which they are read, the last axis fastest.
    """
    slot, word, row, column = np.ix_(*(np.arange(count) for count in (
        slots, source["words"] + 1, source["window_height"] + 1, source["window_width"] + 1)))
    return (slot * source["slot_stride"] + word + row * source["window_y_stride"]
            + column * source["window_x_stride"])
