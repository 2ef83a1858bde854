"""`sim.compare`: nothing differs; and when something does, it is told exactly where."""

from dataclasses import replace

import numpy as np
import pytest

from firmware import compile
from models.integer import IntegerNetwork
from models.random_network import random_inputs, random_network
from rtl.config import preset
from sim.compare import compare

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def case() -> tuple[IntegerNetwork, np.ndarray]:
    rng = np.random.default_rng(11)
    network = random_network(rng, CONFIG, sizes=(20, 11, 7), steps=3, input_bits=0, readout=True)
    return network, random_inputs(rng, network, 4)


def test_nothing_differs(case, tmp_path):
    network, inputs = case
    report = compare(network, inputs, CONFIG, waveform=tmp_path / "wave.vcd")
    assert report.mismatch is None and report.waveform is None
    assert report.mismatched == {"spike": 0, "membrane": 0, "logit": 0}
    assert report.compared == {"spike": 3 * 4 * 11, "membrane": 3 * 4 * (11 + 7), "logit": 4 * 7}
    assert not list(tmp_path.iterdir())


def test_a_wrong_bias_is_found_where_it_acts(case, tmp_path):
    network, inputs = case
    readout = network.layers[1]
    bias = readout.bias.copy()
    bias[5] += 1
    wrong = replace(network, layers=(network.layers[0], replace(readout, bias=bias)))
    wave = tmp_path / "wave.vcd"
    report = compare(network, inputs, CONFIG, program=compile(wrong, CONFIG), waveform=wave)
    found = report.mismatch
    assert found is not None
    assert (found.layer, found.what, found.step, found.image, found.channel) == (
        readout.name, "membrane", 0, 0, 5)
    assert found.got == found.expected + 1
    assert report.mismatched == {"spike": 0, "membrane": 3 * 4, "logit": 4}
    assert f"layer {readout.name!r}, step 0, image 0, channel 5" in str(found)
    text = wave.read_text()
    assert "$enddefinitions" in text and text.count("\n#") > 100
