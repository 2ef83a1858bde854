"""Segments: how passes that use maps of the host are divided into rows of sites.

The host sends the rows that a segment reads, the pass runs over them, and the host fetches what
it made. A layer has a workspace in the spike memory for that: one or two input buffers, then the
outputs of a segment.
"""

from bisect import bisect_left
from collections.abc import Sequence

from quadfire.firmware.compiler.allocation import region_of
from quadfire.firmware.compiler.passes import Pass
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["Segmentation"]


class Segmentation:
    """Sizes of segments while the host keeps the maps `on_host`."""

    def __init__(self, network: IntegerNetwork, config: ArrayConfig, on_host: set[int]):
        self.network, self.config, self.on_host = network, config, on_host

    def uses_host(self, a_pass: Pass) -> bool:
        """Whether the pass reads or writes a map of the host."""
        return a_pass.layer in self.on_host or any(source.map in self.on_host
                                                   for source in a_pass.sources)

    def words(self, a_pass: Pass) -> int:
        """Spike words of one time step of an output, with the tiles of this pass alone."""
        return -(-a_pass.tiles // self.config.tiles_per_word)

    def rows(self, segment: Pass) -> dict[int, range]:
        """Rows of the host's maps that a segment reads."""
        found: dict[int, range] = {}
        for source in segment.sources:
            if source.map in self.on_host:
                rows = source.pixel_rows(segment.height + (1 if segment.flush else 0))
                if rows:
                    other = found.get(source.map, rows)
                    rows = range(min(rows.start, other.start), max(rows.stop, other.stop))
                    found[source.map] = rows
        return found

    def row_words(self, source: int) -> int:
        """Spike words of a row of a map."""
        _, height, _ = self.network.shape_of(source)
        return region_of(self.network, source, self.config).size // height

    def segments(self, a_pass: Pass, height: int) -> list[Pass]:
        """The pass in segments of at most `height` rows. A dense pass is never divided."""
        if a_pass.dense or height >= a_pass.height:
            return [a_pass]
        return [a_pass.segment(first, min(first + height, a_pass.height))
                for first in range(0, a_pass.height, height)]

    def sizes(self, segments: list[Pass]) -> tuple[int, int]:
        """(most spike words of the host's maps that a segment reads, most that it writes)."""
        reads = max(sum(len(rows) * self.row_words(source)
                        for source, rows in self.rows(segment).items()) for segment in segments)
        if segments[0].layer not in self.on_host or not segments[0].drain:
            return reads, 0
        return reads, max(segment.outputs for segment in segments) * self.network.steps * \
            self.words(segments[0])

    def least(self, passes: Sequence[Pass]) -> int:
        """Spike words that these passes need in segments of one row; 0 if they need none."""
        return max((sum(self.sizes(self.segments(run, 1)))
                    for a_pass in passes if self.uses_host(a_pass)
                    for run in map(a_pass.for_output, range(a_pass.runs))), default=0)

    def divide(self, a_pass: Pass, space: int) -> tuple[list[Pass], int, int]:
        """(segments, words of an input buffer, number of buffers) of a pass in `space` words.

        Two buffers where they fit, so that one is loaded while a segment runs from the other.
        """
        for buffers in (2, 1):
            def too_large(height: int, buffers=buffers) -> bool:
                reads, writes = self.sizes(self.segments(a_pass, height))
                return buffers * reads + writes > space

            if height := bisect_left(range(1, a_pass.height + 1), True, key=too_large):
                segments = self.segments(a_pass, height)
                return segments, self.sizes(segments)[0], buffers
        raise AssertionError("the workspace was allocated with room for a segment")
