"""`quadfire.sim.report.compare`: nothing differs, or the first difference is located."""

from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware.compiler.compile import compile_network
from quadfire.models.integer import IntegerNetwork
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.rtl.contract.config import preset
from quadfire.sim.report.compare import compare

from tests.command import quadfire

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
    report = compare(network, inputs, CONFIG, program=compile_network(wrong, CONFIG), waveform=wave)
    found = report.mismatch
    assert found is not None
    assert (found.layer, found.what, found.step, found.image, found.channel) == (
        readout.name, "membrane", 0, 0, 5)
    assert found.got == found.expected + 1
    assert report.mismatched == {"spike": 0, "membrane": 3 * 4, "logit": 4}
    assert f"layer {readout.name!r}, step 0, image 0, channel 5" in str(found)
    text = wave.read_text()
    assert "$enddefinitions" in text and text.count("\n#") > 100


def command(case, folder, name: str, save=np.save, inputs: np.ndarray | None = None):
    """`sim compare` of the network and of inputs that are saved under `name`."""
    network, good = case
    network.save(folder / "net.safetensors")
    save(folder / name, good if inputs is None else inputs)
    return quadfire("compare", folder / "net.safetensors", folder / name, "-c", "tiny",
                    "-o", folder / "out")


@pytest.mark.parametrize(("name", "save", "kind"), [
    ("a.npy", np.save, np.int64), ("a.npy", np.save, np.bool_), ("a.npz", np.savez, np.uint8)])
def test_the_command_takes_what_the_driver_takes(case, tmp_path, name, save, kind):
    result = command(case, tmp_path, name, save, case[1].astype(kind))
    assert result.status == 0, result.text
    assert "spikes: 0 of 132 differ" in result.out
    assert (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize(("change", "message"), [
    (lambda x: x.astype(float) / 2, "frames must be 0 or 1"),
    (lambda x: x.astype(np.int64) - 1, "inputs must lie in 0..1, not -1..0"),
    (lambda x: x[:, :, 1:], "inputs must have shape [3, N, 20] (spikes), not [3, 4, 19]"),
    (lambda x: x[:, :0], "there are no inputs to compare"),
    (None, "a.npy: not an .npy or .npz file of plain numbers")])
def test_inputs_that_cannot_be_are_told_in_one_line(case, tmp_path, change, message):
    if change is None:
        result = command(case, tmp_path, "a.npy", lambda path, _: path.write_text("junk"))
    else:
        result = command(case, tmp_path, "a.npy", inputs=change(case[1]))
    assert result.status == 2
    assert result.err.count("\n") == 1 and message in result.err
    assert not (tmp_path / "out").exists()
