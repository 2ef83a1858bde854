"""The cycle model of a network: the cycles of every pass, from the spikes of its layers.

`quadfire.sim.cycles.pass_model` models a single pass. Here every pass of a compiled network gets
the words of the maps that it reads. Passes that read the same words in the same way, as the tiles
of a layer do, are computed once.

The model holds where the answers of a pass leave at once. An array without `pipelined` sends a word
in 33 cycles, for its checksum: there a pass that answers with more words than the core has room for
(logits or membranes of more than four tiles) waits, and its counter `output_wait` tells how long.
"""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from quadfire.firmware.compiler.pass_payload import emit_of, pass_payload
from quadfire.firmware.compiler.passes import Axis, Pass, branch_geometries
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.schedule import Run
from quadfire.firmware.driver.inputs import checked, plane_inputs
from quadfire.firmware.driver.sequences import divide
from quadfire.firmware.tape.memory_layout import pack_map, planes_of
from quadfire.firmware.tape.packets import unpack
from quadfire.models.integer import INPUT, IdentityBranch, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS, PASS_WORDS, SOURCE, SOURCE_WORDS
from quadfire.sim.cycles.pass_model import CLASSES, PassCycles, fetches, pass_cycles

__all__ = ["CLASSES", "PassCycles", "maps_of", "predict", "synaptic_operations"]

#: Fields of PASS and SOURCE that do not change how long a pass takes.
_PLACES = {"output_base", "output_stride", "column", "parameters", "tile", "weights", "site_rows",
           "state"}


def maps_of(program: Program, inputs: np.ndarray, spikes: Sequence[np.ndarray], image: int
            ) -> dict[int, np.ndarray]:
    """{INPUT or number of a layer: its map [slots, C, H, W]} of one image.

    | argument | meaning |
    |---|---|
    | `program` | of one chunk of time |
    | `inputs` | as `plane_inputs` makes them; pixels become bit planes |
    | `spikes` | by layer, [steps, images, C, H, W], or [steps, images, C] for maps of one pixel |
    """
    network = program.inner
    if bits := network.input_bits:
        maps = {INPUT: planes_of(inputs[image].reshape(network.input_shape), bits)}
    else:
        maps = {INPUT: inputs[:, image].reshape(-1, *network.input_shape)}
    for layer, fired in enumerate(spikes):
        maps[layer] = fired[:, image].reshape(-1, *network.shapes[layer])
    return maps


class _Words:
    """Maps as words of the spike memory, packed when they are first asked for."""

    def __init__(self, maps: dict[int, np.ndarray], config: ArrayConfig):
        self.maps, self.config = maps, config
        self.packed: dict[int, np.ndarray] = {}

    def rows(self, source: int, rows: range) -> np.ndarray:
        """The words of some rows of pixels, uint64 [words, numbers per word]."""
        if source not in self.packed:
            words = pack_map(self.maps[source], self.config).reshape(-1, self.config.stream_words)
            if self.config.stream_words > 1:
                words = np.ascontiguousarray(words, "<u4").view("<u8")
            self.packed[source] = words.astype(np.uint64)
        words = self.packed[source]
        per_row = len(words) // self.maps[source].shape[2]
        return words[rows.start * per_row:rows.stop * per_row]


def _memory(a_pass: Pass, words: _Words, row_words: dict[int, int]
            ) -> tuple[np.ndarray, dict[int, int]]:
    """(the words that a pass reads, {map: its base address in them, modulo 2^16})."""
    spans, bases, at = [], {}, 0
    for source in {source.map for source in a_pass.sources}:
        read = [s.pixel_rows(a_pass.height + a_pass.flush) for s in a_pass.sources
                if s.map == source]
        read = [rows for rows in read if rows] or [range(1)]
        rows = range(min(rows.start for rows in read), max(rows.stop for rows in read))
        bases[source] = at - rows.start * row_words[source]
        spans.append(words.rows(source, rows))
        at += len(spans[-1])
    return np.concatenate(spans), bases


def _tables(payload: np.ndarray) -> tuple[dict[str, int], list[dict[str, int]]]:
    """(fields of a PASS, fields of each of its sources), from the words of its packet."""
    sources = payload[PASS_WORDS:].reshape(-1, SOURCE_WORDS)
    return unpack(PASS, payload[:PASS_WORDS]), [unpack(SOURCE, words) for words in sources]


def predict(program: Program, inputs: np.ndarray, spikes: Sequence[np.ndarray], *,
            probe: bool = False) -> np.ndarray:
    """The cycles of every pass, int64 [images, passes, classes of CLASSES].

    inputs: as `Accelerator.run` takes them, and checked as it checks them. spikes: see `maps_of`.
    probe: every membrane is read. A pass that runs several times for an image, for its segments or
    outputs, has the sum of its runs.
    """
    inputs = plane_inputs(program.network, checked(program.network, inputs))
    images = inputs.shape[0 if program.inner.input_bits else 1]
    result = np.zeros((images, len(program.passes), len(CLASSES)), np.int64)
    for chunk, (span, given) in enumerate(zip(program.spans, divide(inputs, program), strict=True)):
        part = program.of_chunk(chunk)
        fired = [layer[span.start:span.stop] for layer in spikes]
        for image in range(images):
            maps = maps_of(part, given, fired, image)
            for number, cycles in run_cycles(part, maps, probe=probe):
                result[image, number] += astuple(cycles)
    return result


def run_cycles(program: Program, maps: dict[int, np.ndarray], *, probe: bool = False
               ) -> list[tuple[int, PassCycles]]:
    """(number of the pass, cycles) of every run of one image, in order."""
    network, config = program.inner, program.config
    words = _Words(maps, config)
    row_words = {source: program.row_words(source) for source in maps}
    known: dict[tuple, PassCycles] = {}
    result = []
    for run in program.actions:
        if not isinstance(run, Run):
            continue
        a_pass = run.a_pass
        emit = emit_of(network, a_pass.layer, probe=probe)
        memory, bases = _memory(a_pass, words, row_words)
        fields, sources = _tables(pass_payload(program, run, bases, emit))
        key = (a_pass.layer, *(tuple(value for name, value in table.items() if name not in _PLACES)
                             for table in (fields, *sources)))
        if key not in known:
            known[key] = pass_cycles(config, fields, fetches(fields, sources, memory))
        result.append((run.number, known[key]))
    return result


# Operations --------------------------------------------------------------------------------------

def _uses(axis: Axis) -> np.ndarray:
    """How many pairs of an output and a kernel tap read each pooled pixel of an axis."""
    index = axis.stride * np.arange(axis.outputs)[:, None] + np.arange(axis.kernel) - axis.padding
    inside = index[(index >= 0) & (index < axis.pooled)]
    return np.bincount(inside, minlength=axis.pooled)


def _pooled(spikes: np.ndarray, axis: int, about: Axis, combine: np.ufunc) -> np.ndarray:
    """Spikes of the windows along one axis, combined."""
    pad = [(0, 0)] * spikes.ndim
    pad[axis] = (about.pool_padding, about.pool_padding)
    padded = np.moveaxis(np.pad(spikes, pad), axis, 0)
    last = about.pool_stride * (about.pooled - 1) + 1
    windows = [padded[first:first + last:about.pool_stride] for first in range(about.window)]
    return np.moveaxis(combine.reduce(windows), 0, axis)


def synaptic_operations(network: IntegerNetwork, inputs: np.ndarray, spikes: Sequence[np.ndarray]
                        ) -> np.ndarray:
    """Additions that the events of all images call for, by layer: int64 [layers].

    An event is a spike, or a set bit of a pixel. It adds one weight for every output that it
    reaches, so an event outside of all kernels adds none. inputs, spikes: see `predict`.
    """
    inputs = plane_inputs(network, inputs)
    images = inputs.shape[0 if network.input_bits else 1]
    if bits := network.input_bits:
        given = planes_of(inputs.reshape(-1, *network.input_shape), bits).swapaxes(0, 1)
    else:
        given = inputs.reshape(-1, images, *network.planes_shape)
    maps = {INPUT: given} | {layer: fired.reshape(-1, images, *network.shapes[layer])
                             for layer, fired in enumerate(spikes)}
    totals = np.zeros(len(network.layers), np.int64)
    for index, layer in enumerate(network.layers):
        for branch in branch_geometries(network, index):
            events = maps[branch.map].astype(np.int64)     # slots, images, channels, y, x
            if not branch.max_pool:     # sums may be taken in any order
                events = events.sum(axis=(0, 1), keepdims=True)
            for axis, about in ((3, branch.y), (4, branch.x)):
                events = _pooled(events, axis, about, np.maximum if branch.max_pool else np.add)
            reached = np.einsum("cyx,y,x->c", events.sum(axis=(0, 1)), _uses(branch.y),
                                _uses(branch.x))
            outputs = 1 if isinstance(layer.branches[branch.number], IdentityBranch) else \
                layer.outputs
            totals[index] += branch.gain * outputs * int(reached.sum())
    return totals
