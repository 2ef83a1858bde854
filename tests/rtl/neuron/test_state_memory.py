"""State memory: a sequence in chunks gives the spikes of the whole sequence."""

import numpy as np
import pytest

from quadfire.firmware.tape.packets import decode
from quadfire.models.integer.random_network import random_neuron
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import Answer, Fault
from quadfire.sim.verilator.core import VerilatedTransport

from tests.rtl.core.layer_definition import Branch, LayerDefinition, expected
from tests.rtl.core.passes import tape

CONFIG = preset("tiny-conv")


@pytest.fixture(scope="module")
def transport():
    with VerilatedTransport(CONFIG, idle=0.1, backpressure=0.2, seed=3) as device:
        yield device


def spikes_of(layer: LayerDefinition) -> np.ndarray:
    """[H, W, steps, outputs] by the definition."""
    return expected(layer.branches[0].sums(layer.stride), layer, CONFIG)[0]


def run(transport, layer: LayerDefinition, **fields) -> np.ndarray:
    """The same by the core."""
    written = tape(layer, CONFIG, **fields)
    answers = [decode(words) for words in transport.exchange(written.packets, written.answers)]
    bits = np.unpackbits(np.concatenate([answer.payload for answer in answers[:-1]]).view(np.uint8),
                         bitorder="little")
    shape = spikes_of(layer).shape
    return bits.reshape(*shape[:3], -1)[..., :shape[3]]


def layers(seed: int, steps: int, kernel: int, tiles: int = 1
           ) -> tuple[LayerDefinition, list[LayerDefinition]]:
    """A layer, and the same for every part of its time steps."""
    rng = np.random.default_rng(seed)
    outputs, channels = tiles * CONFIG.lanes, int(rng.integers(1, 20))
    spikes = (rng.random((steps, channels, 3, 5)) < 0.4).astype(np.uint8)
    weight = rng.integers(-30, 30, (outputs, channels, kernel, kernel))
    neuron = random_neuron(rng, CONFIG)
    shift, bias = rng.integers(0, 3, outputs), rng.integers(-200, 200, outputs)

    def part(first: int, last: int) -> LayerDefinition:
        branch = Branch(spikes=spikes[first:last], weight=weight, padding=kernel // 2)
        return LayerDefinition(branches=[branch], neuron=neuron, bias=bias, shift=shift,
                               steps=last - first)

    return part(0, steps), [part(0, 1), part(1, steps - 2), part(steps - 2, steps)]


@pytest.mark.parametrize("tiles", [0, 1, 4], ids=["taps", "tile", "tiles"])
@pytest.mark.parametrize("seed", range(5))
def test_a_sequence_in_parts_is_the_whole_sequence(transport, seed, tiles):
    whole, parts = layers(seed, 6, 1 if tiles else 3, max(tiles, 1))
    state = seed * 7 % (CONFIG.state_words - 15 * max(tiles, 1) + 1)
    got = [run(transport, layer, taps=not tiles, state=state, load=int(index > 0), store=1)
           for index, layer in enumerate(parts)]
    assert np.array_equal(np.concatenate(got, axis=2), spikes_of(whole))


def test_states_lie_side_by_side(transport):
    (first, first_parts), (second, second_parts) = (layers(seed, 5, 1) for seed in (20, 21))
    got: list[list[np.ndarray]] = [[], []]
    for index in range(3):
        for which, parts in enumerate((first_parts, second_parts)):
            got[which].append(run(transport, parts[index], taps=False, state=15 * which,
                                  load=int(index > 0), store=1))
    for spikes, layer in zip(got, (first, second), strict=True):
        assert np.array_equal(np.concatenate(spikes, axis=2), spikes_of(layer))


def test_without_load_a_sequence_starts_anew(transport):
    _, parts = layers(3, 6, 1)
    run(transport, parts[0], taps=False, state=0, store=1)
    assert np.array_equal(run(transport, parts[1], taps=False), spikes_of(parts[1]))


def test_a_place_there_is_not_is_refused(transport):
    written = tape(layers(1, 4, 1)[1][0], CONFIG, taps=False, state=CONFIG.state_words, store=1)
    answer, = transport.exchange(written.packets, written.answers)
    assert decode(answer).opcode == Answer.ERROR
    assert decode(answer).payload[0] == Fault.ARGUMENT
    transport.reset()
