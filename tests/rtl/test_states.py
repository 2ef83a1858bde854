"""Membranes that are kept: a sequence in parts gives the spikes of the whole sequence."""

import numpy as np
import pytest

from firmware.packets import decode
from models.random_network import random_neuron
from rtl.config import preset
from rtl.tape import Answer, Fault
from sim.verilated import VerilatedTransport

from .passes import Layer, Part, expected, tape

CONFIG = preset("tiny-conv")


@pytest.fixture(scope="module")
def transport():
    with VerilatedTransport(CONFIG, idle=0.1, backpressure=0.2, seed=3) as device:
        yield device


def run(transport, layer: Layer, **fields) -> np.ndarray:
    """Spikes [H, W, steps, lanes] by the core."""
    packets, answers = tape(layer, CONFIG, **fields)
    payloads = [decode(words).payload for words in transport.exchange(packets, answers + 1)]
    bits = np.unpackbits(np.concatenate(payloads[:-1]).astype("<u4").view(np.uint8),
                         bitorder="little")
    return bits.reshape(*expected(layer, CONFIG).shape[:3], -1)[..., :CONFIG.lanes]


def layers(seed: int, steps: int, kernel: int) -> tuple[Layer, list[Layer]]:
    """A layer, and the same for every part of its time steps."""
    rng = np.random.default_rng(seed)
    lanes, channels = CONFIG.lanes, int(rng.integers(1, 20))
    spikes = (rng.random((steps, channels, 3, 5)) < 0.4).astype(np.uint8)
    weight = rng.integers(-30, 30, (lanes, channels, kernel, kernel))
    neuron = random_neuron(rng, CONFIG)
    shift, bias = rng.integers(0, 3, lanes), rng.integers(-200, 200, lanes)

    def part(first: int, last: int) -> Layer:
        return Layer([Part(spikes[first:last], weight, kernel // 2)], neuron, bias, shift,
                     last - first)

    return part(0, steps), [part(0, 1), part(1, steps - 2), part(steps - 2, steps)]


@pytest.mark.parametrize("taps", [False, True], ids=["tiles", "taps"])
@pytest.mark.parametrize("seed", range(6))
def test_a_sequence_in_parts_is_the_whole_sequence(transport, seed, taps):
    whole, parts = layers(seed, 6, 3 if taps else 1)
    state = seed * 7 % (CONFIG.state_words - 15)
    got = [run(transport, layer, taps=taps, state=state, load=int(index > 0), store=1)
           for index, layer in enumerate(parts)]
    assert np.array_equal(np.concatenate(got, axis=2), expected(whole, CONFIG))


def test_states_lie_side_by_side(transport):
    (first, first_parts), (second, second_parts) = (layers(seed, 5, 1) for seed in (20, 21))
    got: list[list[np.ndarray]] = [[], []]
    for index in range(3):
        for which, parts in enumerate((first_parts, second_parts)):
            got[which].append(run(transport, parts[index], taps=False, state=15 * which,
                                  load=int(index > 0), store=1))
    for spikes, layer in zip(got, (first, second), strict=True):
        assert np.array_equal(np.concatenate(spikes, axis=2), expected(layer, CONFIG))


def test_without_load_a_sequence_starts_anew(transport):
    _, parts = layers(3, 6, 1)
    run(transport, parts[0], taps=False, state=0, store=1)
    assert np.array_equal(run(transport, parts[1], taps=False), expected(parts[1], CONFIG))


def test_a_place_there_is_not_is_refused(transport):
    packets, answers = tape(layers(1, 4, 1)[1][0], CONFIG, taps=False,
                            state=CONFIG.state_words, store=1)
    answer, = transport.exchange(packets, answers + 1)
    assert decode(answer).opcode == Answer.ERROR
    assert decode(answer).payload[0] == Fault.ARGUMENT
    transport.reset()
