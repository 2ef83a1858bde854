"""Cycle model: how long the array takes over a pass, to the cycle, from the spikes that it reads.

Word k of a map is fetched in cycle f_k, its first event starts in cycle p_k, and with n_k the
larger of 1 and its number of spikes

    f_k = f_(k-1) + 1, later where 8 words are on the way already
    p_k = max(f_k + 5, p_(k-1) + n_(k-1))         (words without a spike are dropped, and take no p)
    X   = max(p_last + n_last + 4, f_last + 5)    (the last event is done, the reader has stopped)

A pass that ends there takes X cycles. One that drains makes `scans` scans of every tile,
`scan_period` cycles apart, and waits for the last to come through:

    X + 1 + (scans * tiles - 1) * scan_period + settle

So with words that hold a spike at least every 8 cycles, events cost one cycle each.
"""

import heapq
from dataclasses import astuple, dataclass, fields

import numpy as np

from firmware.program import Program
from models.integer import IntegerNetwork
from rtl.config import ArrayConfig
from rtl.events import DEPTH
from rtl.sequencer import emitting_cycles, settle_cycles
from rtl.tape import Emit

__all__ = ["CLASSES", "PassCycles", "pass_cycles", "predict", "read_cycles",
           "synaptic_operations", "word_counts"]

#: Cycles from the fetch of a word to its first event, and from its last event to the array.
_FETCH, _GIVE = 5, 3


@dataclass(frozen=True)
class PassCycles:
    """Cycles of a pass by class, named as the counters of the device."""

    busy: int
    events: int
    nulls: int
    drains: int
    starved: int


#: Names of the columns of `predict`.
CLASSES = tuple(field.name for field in fields(PassCycles))


def word_counts(spikes: np.ndarray, word_bits: int) -> np.ndarray:
    """Number of spikes in every word, [slots, words], of a map [slots, channels]."""
    slots, channels = spikes.shape
    words = -(-channels // word_bits)
    padded = np.zeros((slots, words * word_bits), np.int64)
    padded[:, :channels] = spikes
    return padded.reshape(slots, words, word_bits).sum(axis=2)


def read_cycles(counts: np.ndarray) -> tuple[int, int, int]:
    """(X, events, nulls) of reading a map with so many spikes in its words [slots, words]."""
    on_the_way: list[int] = []      # cycles in which a fetched word makes room again
    fetch, ready, nulls = 0, 0, 0
    for slot in counts:
        seen = False
        for index, ones in enumerate(slot.tolist()):
            fetch += 1
            if len(on_the_way) == DEPTH:
                fetch = max(fetch, heapq.heappop(on_the_way))
            end = index == len(slot) - 1
            if ones or (end and not seen):
                seen = True
                nulls += not ones
                start = max(fetch + _FETCH, ready)
                ready = start + max(ones, 1)
                heapq.heappush(on_the_way, start + 1)
            else:
                heapq.heappush(on_the_way, fetch + _FETCH)
    return max(ready + _GIVE + 1, fetch + _FETCH), int(counts.sum()), nulls


def pass_cycles(config: ArrayConfig, counts: np.ndarray, *, scans: int, tiles: int, drain: bool,
                emit: Emit, steps: int) -> PassCycles:
    """Cycles of one pass: `scans` scans of each of `tiles` tiles after reading the map."""
    read, events, nulls = read_cycles(counts)
    starved, drains = read - events - nulls, 0
    if drain:
        emitting = {Emit.NONE: 0, Emit.LOGITS: 1, Emit.MEMBRANES: steps}[emit]
        drains = tiles * ((scans - emitting) * config.scan_period
                          + emitting * emitting_cycles(config))
        if not emitting:
            drains += 1 - config.scan_period + settle_cycles(config)
    return PassCycles(busy=read + drains, events=events, nulls=nulls, drains=drains,
                      starved=starved)


def _map_of(program: Program, layer: int, image: int, inputs: np.ndarray,
            spikes: list[np.ndarray]) -> np.ndarray:
    """The map [slots, channels] that a layer reads; bit planes most significant first."""
    if layer:
        return spikes[layer - 1][:, image]
    if bits := program.network.input_bits:
        return inputs[image][None] >> np.arange(bits - 1, -1, -1)[:, None] & 1
    return inputs[:, image]


def predict(program: Program, inputs: np.ndarray, spikes: list[np.ndarray], *, probe: bool = False
            ) -> np.ndarray:
    """Cycles [images, passes, class of CLASSES] from inputs and spikes of the network.

    inputs: as `Accelerator.run` takes them. spikes: per layer [steps, images, outputs], as
    `models.reference.run` gives them.
    """
    network, config = program.network, program.config
    images = inputs.shape[0 if network.input_bits else 1]
    result = np.zeros((images, len(program.passes), len(CLASSES)), np.int64)
    for image in range(images):
        for index, item in enumerate(program.passes):
            source = _map_of(program, item.layer, image, inputs, spikes)
            part = source[:, item.first:item.first + item.inputs]
            planes = item.layer == 0 and network.input_bits > 0
            emit = (Emit.MEMBRANES if probe else Emit.NONE
                    if network.layers[item.layer].neuron else Emit.LOGITS)
            cycles = pass_cycles(
                config, word_counts(part, config.word_bits),
                scans=len(source) + (network.steps - 1 if planes else 0), tiles=item.tiles,
                drain=item.drain, emit=emit, steps=network.steps)
            result[image, index] = astuple(cycles)
    return result




def synaptic_operations(network: IntegerNetwork, inputs: np.ndarray, spikes: list[np.ndarray]
                        ) -> int:
    """Additions that the events of a run call for: spikes, or set bits of pixels, times fan-out."""
    bits = np.unpackbits(np.ascontiguousarray(inputs, np.uint8)) if network.input_bits else inputs
    active = [int(bits.sum()), *(int(layer.sum()) for layer in spikes)]
    return sum(n * layer.outputs for n, layer in zip(active, network.layers, strict=False))
