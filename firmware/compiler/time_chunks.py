"""Sequences longer than an array has slots run in chunks of time.

The chunks are as few as the slots allow, and as equal as they can be: the first ones may be a time
step longer than the others, so 17 steps on 8 slots are 6 + 6 + 5. The first chunk starts the
neurons anew, each later one goes on from the membranes that the chunk before left in the array's
state memory. The driver divides the inputs and joins the outputs
(`quadfire.firmware.driver.sequences`).
"""

from collections.abc import Iterable
from itertools import pairwise

from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.remedy import array_with, remedies
from quadfire.firmware.errors import CompileError
from quadfire.firmware.tape.memory_layout import tiles_of
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["allocate_states", "chunks_of", "spans_of"]


def chunks_of(network: IntegerNetwork, config: ArrayConfig) -> int:
    """Number of chunks: the fewest that fit the slots, 1 where these suffice.

    Raises CompileError where the array keeps no membranes.
    """
    if network.steps <= config.slots:
        return 1
    if not config.state_words:
        raise CompileError(f"the network has {network.steps} time steps, the array only "
                           f"{config.slots} slots and no memory for membranes: "
                           + _longer(network, config))
    return -(-network.steps // config.slots)


def spans_of(steps: int, chunks: int) -> tuple[range, ...]:
    """The time steps of every chunk. Lengths differ by 1 at most, the longer chunks come first."""
    length, longer = divmod(steps, chunks)
    starts = [chunk * length + min(chunk, longer) for chunk in range(chunks + 1)]
    return tuple(range(*span) for span in pairwise(starts))


def allocate_states(network: IntegerNetwork, config: ArrayConfig, passes: Iterable[Pass]
                    ) -> dict[tuple[int, int], int]:
    """First state word of every (layer, first tile of a pass), one word per output and tile.

    Raises CompileError if the state memory is too small.
    """
    places, at = {}, 0
    for a_pass in passes:
        layer = network.layers[a_pass.layer]
        if layer.neuron is None or (a_pass.layer, a_pass.tile) in places:
            continue
        _, height, width = network.shapes[a_pass.layer]
        places[a_pass.layer, a_pass.tile] = at
        at += height * width * a_pass.tiles
    if at > config.state_words:
        raise CompileError(f"the membranes of its neurons need {_state_words(network, config)} "
                           f"state words, the array has {config.state_words}: "
                           + _longer(network, config))
    return places


def _state_words(network: IntegerNetwork, config: ArrayConfig) -> int:
    """State words that the membranes of a network take, one per output and tile."""
    return sum(height * width * tiles_of(channels, config) for (channels, height, width), layer
               in zip(network.shapes, network.layers, strict=True) if layer.neuron is not None)


def _longer(network: IntegerNetwork, config: ArrayConfig) -> str:
    """What helps a network of more time steps than slots."""
    return remedies(array_with(config, state_words=max(_state_words(network, config), 1)),
                    array_with(config, slots=network.steps),
                    f"at most {config.slots} time steps")
