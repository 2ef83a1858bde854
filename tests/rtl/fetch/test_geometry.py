"""Geometry of a pass, against cases worked out by hand and against the definition of a kernel."""

import numpy as np
import pytest

from quadfire.rtl.fetch import geometry

pytestmark = pytest.mark.fast

#: Sites 3 x 2 without kernel taps, or with.
TILES = {"taps": 0, "join": 0, "width": 2, "height": 1, "flush": 0, "row": 0, "stride": 0,
         "x_low": 0, "x_high": 0, "y_low": 0, "y_high": 0}

#: A map of 3 x 2 pixels, two words a pixel, read pixel by pixel from the upper left.
SOURCE = {"base": 100, "slot_stride": 50, "words": 1, "pad": 0, "x_stride": 2, "y_stride": 6,
          "window_x_stride": 2, "window_y_stride": 6, "x0": 0, "y0": 0, "window_width": 0,
          "window_height": 0, "map_width": 3, "map_height": 2, "step_x": 1, "step_y": 1}


def test_sites_come_in_raster_order_and_a_flush_adds_one():
    x, y = geometry.sites(TILES)
    assert (list(x), list(y)) == ([0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1])
    x, y = geometry.sites(TILES | {"flush": 1})
    assert (x[-1], y[-1], len(x)) == (0, 2, 7)


def test_which_runs_start_sums_and_which_end_an_output():
    assert geometry.starts(TILES, 0).all() and not geometry.starts(TILES, 1).any()
    assert geometry.ends(TILES).all()
    joined = TILES | {"join": 1}
    assert list(np.flatnonzero(geometry.starts(joined, 0))) == [0]
    assert list(np.flatnonzero(geometry.ends(joined))) == [5]
    assert list(np.flatnonzero(geometry.ends(TILES | {"taps": 1, "flush": 1}))) == [6]


def test_words_lie_where_the_strides_say():
    windows = geometry.windows(TILES, SOURCE)
    assert list(windows.address) == [100, 102, 104, 106, 108, 110]
    assert not windows.blank.any() and windows.inside.all()
    assert geometry.word_offsets(SOURCE, 2).ravel().tolist() == [0, 1, 50, 51]
    window = SOURCE | {"window_width": 1, "window_height": 1, "words": 0}
    assert geometry.word_offsets(window, 1).ravel().tolist() == [0, 2, 6, 8]


def test_a_window_counts_up_to_its_padding_and_its_pixels_within_the_map():
    first = np.array([-2, -1, 0, 2, 3])
    counts, pixels = geometry.along(first, window=2, length=4, pad=1)
    assert counts.tolist() == [False, True, True, True, True]
    assert pixels.tolist() == [[False, False], [False, True], [True, True], [True, True],
                               [True, False]]
    counts, pixels = geometry.along(first, window=2, length=4, pad=0)
    assert counts.tolist() == [False, False, True, True, False]
    assert not pixels[~counts].any()
    windows = geometry.windows(TILES, SOURCE | {"x0": 2047, "y0": 1})       # 11 bits of -1
    assert windows.x.tolist() == [-1, 0, 1] * 2 and windows.y.tolist() == [1] * 3 + [2] * 3
    assert windows.blank.tolist() == [True, False, False, True, True, True]


@pytest.mark.parametrize(("stride", "low"), [(0, 0), (0, 2), (1, 0), (1, 1), (2, 1)])
def test_an_output_leaves_two_sites_and_a_row_behind_its_own(stride, low):
    """At least where the last tap of its kernel, at the lower right, has been added before."""
    width, rows, step = 7, 6, 1 << stride
    fields = TILES | {"taps": 1, "flush": 1, "width": width - 1, "height": rows - 1,
                      "stride": stride, "x_low": low, "x_high": width - 2, "y_low": low,
                      "y_high": rows - 2}
    wanted = [(y, x) for y in range(low, rows - 1, step) for x in range(low, width - 1, step)]
    site = np.flatnonzero(geometry.emitted(fields))
    assert site.tolist() == [y * width + x + width + 2 for y, x in wanted]
    left = [geometry.leaves(geometry.left_before(row, width), width=width, stride=step, x_low=low,
                            x_high=width - 2, y_low=low, y_high=rows - 2).sum()
            for row in range(rows)]
    assert left == [(site < row * width).sum() for row in range(rows)]


def test_segments_of_a_pass_emit_what_the_whole_pass_does():
    whole = TILES | {"taps": 1, "flush": 1, "width": 4, "height": 5, "x_high": 3, "y_high": 4}
    first = whole | {"height": 2, "flush": 0}
    second = whole | {"height": 2, "row": 3}
    assert np.array_equal(geometry.emitted(whole),
                          np.concatenate([geometry.emitted(first), geometry.emitted(second)]))


def test_without_kernel_taps_no_output_leaves_early():
    assert not geometry.emitted(TILES).any()
