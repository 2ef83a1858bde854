"""A compiled network: its passes, the actions of an image, and where everything lies."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quadfire.firmware.compiler.allocation import Memory, region_of
from quadfire.firmware.compiler.network_id import document_id
from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.report import LayerReport
from quadfire.firmware.compiler.schedule import Action
from quadfire.firmware.compiler.time_chunks import spans_of
from quadfire.firmware.compiler.weights import pass_weights
from quadfire.firmware.tape.memory_layout import pack_parameters
from quadfire.firmware.tape.writer import Block
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, Opcode

__all__ = ["Program"]

#: Changes whenever the document behind `Program.network_id` does.
_ID_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Program:
    """A network compiled for one configuration. `quadfire.firmware.compile` makes it.

    | field | meaning |
    |---|---|
    | network | as it was given |
    | inner | as the array computes it: the input may be a vector, counts are bit planes, and the |
    |  | steps are those of chunk 0 |
    | config | the array |
    | passes | all of them, in order |
    | memory | the spike memory |
    | actions | what happens for one image (or chunk) |
    | layers | a report of every layer |
    | idle_biases | of every layer: the bias of unused lanes |
    | chunks | chunks of time, see `quadfire.firmware.compiler.time_chunks` |
    | states | {(layer, first tile of a pass): first state word}, if there is more than one chunk |
    | shorter | the program of the later chunks, if these are a step shorter than the first |

    `quadfire.firmware.driver.session` makes the tapes that load and run it.
    """

    network: IntegerNetwork
    inner: IntegerNetwork
    config: ArrayConfig
    passes: tuple[Pass, ...]
    memory: Memory
    actions: tuple[Action, ...]
    layers: tuple[LayerReport, ...]
    idle_biases: tuple[int, ...]
    chunks: int
    states: dict[tuple[int, int], int]
    shorter: "Program | None" = None

    def report(self) -> tuple[LayerReport, ...]:
        """What became of every layer, in order."""
        return self.layers

    @cached_property
    def network_id(self) -> int:
        """32 bits, never 0, that name network and layout; a device keeps them while loaded."""
        return document_id(self.id_document())

    def id_document(self) -> dict[str, Any]:
        """What `network_id` depends on: all that is written into the device, and how it is used."""
        document = {
            "format": _ID_FORMAT, "configuration": self.config.hash, "steps": self.inner.steps,
            "input_bits": self.inner.input_bits, "chunks": self.chunks, "states": self.states,
            "memory": self.memory, "passes": self.passes,
            "blocks": [[block for block in self._blocks(a_pass)] for a_pass in self.passes]}
        if self.shorter is not None:        # else the steps are those of a chunk, times the chunks
            document["network_steps"] = self.network.steps
        return document

    # Chunks of time ------------------------------------------------------------------------------

    @cached_property
    def spans(self) -> tuple[range, ...]:
        """The time steps of every chunk."""
        return spans_of(self.network.steps, self.chunks)

    def of_chunk(self, chunk: int) -> "Program":
        """The program that computes a chunk. Only its steps, and what hangs on them, differ."""
        if self.shorter is None or len(self.spans[chunk]) == self.inner.steps:
            return self
        return self.shorter

    # What is written into the device -------------------------------------------------------------

    def weights(self, a_pass: Pass) -> Iterator[Block]:
        """Weights of a pass, one block per bank and group that it uses."""
        layer, config = self.inner.layers[a_pass.layer], self.config
        words = pass_weights(layer, a_pass, config)
        for bank in range(0 if a_pass.kernel_taps else config.banks - a_pass.tiles, config.banks):
            for group in range(config.groups):
                yield Block(Opcode.WEIGHTS, a_pass.weights, words[bank, group], bank, group)

    def parameters(self, a_pass: Pass) -> Iterator[Block]:
        """Parameters of a pass, per group: those of the layer, then those of its tiles."""
        layer, config = self.inner.layers[a_pass.layer], self.config
        values = dict.fromkeys(NEURON_WORDS, 0) | (
            {"flags": 4} if layer.neuron is None else layer.neuron.words())
        head = np.array(list(values.values()), np.int64).astype(np.uint32)
        span = slice(a_pass.tile * config.lanes, (a_pass.tile + a_pass.tiles) * config.lanes)
        words = pack_parameters(layer.bias[span], layer.shift[span],
                                self.idle_biases[a_pass.layer], config)
        for group in range(config.groups):
            if a_pass.tile == 0 or a_pass.loads_parameters:
                yield Block(Opcode.PARAMETERS, a_pass.parameters, head, group=group)
            yield Block(Opcode.PARAMETERS, a_pass.tile_parameters, words[:, group].ravel(),
                        group=group)

    def _blocks(self, a_pass: Pass) -> Iterator[Block]:
        """Everything that is written for a pass. Passes of a chain share their parameters."""
        if not a_pass.accumulate:
            yield from self.parameters(a_pass)
        yield from self.weights(a_pass)

    def resident_blocks(self) -> Iterator[list[Block]]:
        """Of every pass what is written once, when the network is loaded."""
        for a_pass in self.passes:
            blocks: list[Block] = []
            if not (a_pass.loads_parameters or a_pass.accumulate):
                blocks += self.parameters(a_pass)
            if not a_pass.streamed:
                blocks += self.weights(a_pass)
            yield blocks

    @cached_property
    def streamed_blocks(self) -> list[list[Block]]:
        """Of every pass what is written before it runs."""
        return [[*(self.parameters(a_pass) if a_pass.loads_parameters else ()),
                 *(self.weights(a_pass) if a_pass.streamed else ())] for a_pass in self.passes]

    # Sizes ---------------------------------------------------------------------------------------

    @property
    def input_words(self) -> int:
        """Stream words of an image that are sent where the input lies on the chip."""
        parts = map(self.of_chunk, range(self.chunks))
        return sum(region.size for part in parts
                   for region in part.memory.inputs[:1]) * self.config.stream_words

    def row_words(self, source: int) -> int:
        """Spike words of a row of pixels of a map."""
        return region_of(self.inner, source, self.config).size // self.inner.shape_of(source)[1]
