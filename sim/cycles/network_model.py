"""Cycle model of networks: how long the array takes over every pass, from the spikes that it reads.

`quadfire.sim.cycles.pass_model` knows a single pass. Here the passes of a compiled network are given the words of the
maps that they read; those that read the same words in the same way, as the tiles of a layer do, are
computed once.
"""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from quadfire.firmware.tape.memory_layout import pack_map, planes_of
from quadfire.firmware.tape.packets import unpack
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.passes import Axis, Pass, readings_of
from quadfire.firmware.compiler.schedule import Run
from quadfire.firmware.compiler.time_chunks import part_inputs, part_steps
from quadfire.models.integer import INPUT, IdentityBranch, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS, PASS_WORDS, SOURCE, SOURCE_WORDS, Emit
from quadfire.sim.cycles.pass_model import CLASSES, PassCycles, fetches, pass_cycles

__all__ = ["CLASSES", "PassCycles", "maps_of", "predict", "synaptic_operations"]

#: What a pass has of its own but what does not change how long it takes.
_PLACES = {"output_base", "output_stride", "column", "parameters", "tile", "weights", "site_rows",
           "state"}


def maps_of(program: Program, inputs: np.ndarray, spikes: Sequence[np.ndarray], image: int
            ) -> dict[int, np.ndarray]:
    """The maps [slots, C, H, W] of one image: of the input (bit planes) and of every layer.

    inputs: as `Accelerator.run` takes them. spikes: per layer [steps, images, C, H, W], or
    [steps, images, C] of maps of one pixel.
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
    """Maps as words of the spike memory, uint64 [words, parts], packed when first asked for."""

    def __init__(self, maps: dict[int, np.ndarray], config: ArrayConfig):
        self.maps, self.config = maps, config
        self.packed: dict[int, np.ndarray] = {}

    def rows(self, source: int, rows: range) -> np.ndarray:
        """The words of some rows of pixels."""
        if source not in self.packed:
            parts = pack_map(self.maps[source], self.config).reshape(-1, self.config.stream_words)
            if self.config.stream_words > 1:
                parts = np.ascontiguousarray(parts, "<u4").view("<u8")
            self.packed[source] = parts.astype(np.uint64)
        words = self.packed[source]
        per_row = len(words) // self.maps[source].shape[2]
        return words[rows.start * per_row:rows.stop * per_row]


def _memory(item: Pass, words: _Words, row_words: dict[int, int]
            ) -> tuple[np.ndarray, dict[int, int]]:
    """What a pass reads, and the base that every map has in it (modulo 2^16)."""
    parts, bases, at = [], {}, 0
    for source in {source.map for source in item.sources}:
        spans = [s.pixel_rows(item.height + item.flush) for s in item.sources if s.map == source]
        spans = [span for span in spans if span] or [range(1)]
        rows = range(min(span.start for span in spans), max(span.stop for span in spans))
        bases[source] = at - rows.start * row_words[source]
        parts.append(words.rows(source, rows))
        at += len(parts[-1])
    return np.concatenate(parts), bases


def _tables(payload: np.ndarray) -> tuple[dict[str, int], list[dict[str, int]]]:
    """The fields of a PASS and of its sources."""
    sources = payload[PASS_WORDS:].reshape(-1, SOURCE_WORDS)
    return unpack(PASS, payload[:PASS_WORDS]), [unpack(SOURCE, words) for words in sources]


def predict(program: Program, inputs: np.ndarray, spikes: Sequence[np.ndarray], *,
            probe: bool = False) -> np.ndarray:
    """Cycles [images, passes, class of CLASSES] from inputs and spikes of the network.

    Arguments as in `maps_of`. A pass in segments, or with a run for every output, is their sum.
    """
    parts, pixels = program.parts, program.inner.input_bits > 0
    inputs = part_inputs(inputs, parts, pixels)
    spikes = [part_steps(fired, parts) for fired in spikes]
    images = inputs.shape[0 if pixels else 1]
    result = np.zeros((images, len(program.passes), len(CLASSES)), np.int64)
    for image in range(images):
        maps = maps_of(program, inputs, spikes, image)
        for number, cycles in run_cycles(program, maps, probe=probe):
            result[image, number] += astuple(cycles)
    return result.reshape(-1, parts, *result.shape[1:]).sum(axis=1)


def run_cycles(program: Program, maps: dict[int, np.ndarray], *, probe: bool = False
               ) -> list[tuple[int, PassCycles]]:
    """(number of the pass, cycles) of every run of one image, in order."""
    network, config = program.inner, program.config
    words = _Words(maps, config)
    row_words = {source: program.row_words(source) for source in maps}
    known: dict[tuple, PassCycles] = {}
    result = []
    for step in program.steps:
        if not isinstance(step, Run):
            continue
        item = step.item
        emit = Emit.MEMBRANES if probe else \
            Emit.LOGITS if network.layers[item.layer].neuron is None else Emit.NONE
        memory, bases = _memory(item, words, row_words)
        fields, sources = _tables(program._pass_words(step, bases, emit))
        key = (item.layer, *(tuple(value for name, value in table.items() if name not in _PLACES)
                             for table in (fields, *sources)))
        if key not in known:
            known[key] = pass_cycles(config, fields, fetches(fields, sources, memory))
        result.append((step.number, known[key]))
    return result


# Operations --------------------------------------------------------------------------------------

def _uses(axis: Axis) -> np.ndarray:
    """How many pairs of an output and a tap read every pooled pixel."""
    index = axis.stride * np.arange(axis.outputs)[:, None] + np.arange(axis.kernel) - axis.padding
    inside = index[(index >= 0) & (index < axis.pooled)]
    return np.bincount(inside, minlength=axis.pooled)


def _pooled(spikes: np.ndarray, axis: int, about: Axis, any_: bool) -> np.ndarray:
    """Sums, or OR, of spikes over the windows along one axis."""
    pad = [(0, 0)] * spikes.ndim
    pad[axis] = (about.pool_padding, about.pool_padding)
    padded = np.moveaxis(np.pad(spikes, pad), axis, 0)
    last = about.pool_stride * (about.pooled - 1) + 1
    parts = [padded[first:first + last:about.pool_stride] for first in range(about.window)]
    return np.moveaxis(np.maximum.reduce(parts) if any_ else sum(parts), 0, axis)   # type: ignore


def synaptic_operations(network: IntegerNetwork, inputs: np.ndarray, spikes: Sequence[np.ndarray]
                        ) -> np.ndarray:
    """Additions that the events of a run call for, per layer, over all images: int64 [layers].

    An event (a spike, or a set bit of a pixel) adds as many weights as there are outputs that it
    reaches; where events fall outside of all kernels they count for nothing.
    """
    images = inputs.shape[0 if network.input_bits else 1]
    if bits := network.input_bits:
        given = planes_of(inputs.reshape(-1, *network.input_shape), bits).swapaxes(0, 1)
    else:
        given = inputs.reshape(-1, images, *network.input_shape)
    maps = {INPUT: given} | {layer: fired.reshape(-1, images, *network.shapes[layer])
                             for layer, fired in enumerate(spikes)}
    totals = np.zeros(len(network.layers), np.int64)
    for index, layer in enumerate(network.layers):
        for reading in readings_of(network, index):
            events = maps[reading.map].astype(np.int64).sum(axis=(0, 1)) \
                if not reading.any else maps[reading.map].astype(np.int64)
            if reading.any:
                for axis, about in ((3, reading.y), (4, reading.x)):
                    events = _pooled(events, axis, about, True)
                events = events.sum(axis=(0, 1))
            else:
                for axis, about in ((1, reading.y), (2, reading.x)):
                    events = _pooled(events, axis, about, False)
            reached = np.einsum("cyx,y,x->c", events, _uses(reading.y), _uses(reading.x))
            outputs = 1 if isinstance(layer.branches[reading.number], IdentityBranch) else \
                layer.outputs
            totals[index] += reading.gain * outputs * int(reached.sum())
    return totals
