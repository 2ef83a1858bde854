"""Commands that talk to a device, on simulated ones."""

import importlib.util
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from quadfire.firmware import Accelerator, DeviceError
from quadfire.firmware.driver.inputs import read_inputs
from quadfire.firmware.driver.selftest import GOLDEN, TESTS, golden, selftest
from quadfire.firmware.tape.packets import encode
from quadfire.firmware.transports import KINDS, open_device, serial_port
from quadfire.models.integer.reference import run as reference
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import Answer, Opcode
from quadfire.sim.verilator.pynq_standin import Pynq
from quadfire.sim.verilator.uart import UartServer

from tests.command import quadfire
from tests.firmware.device import FakeTransport


def invoke(*arguments: str, fails: bool = False) -> str:
    result = quadfire(*arguments)
    assert (result.status != 0) == fails, result.text
    return " ".join(result.text.split())


def test_the_golden_network_is_the_reference():
    network, inputs, logits = golden()
    result = reference(network, inputs, record=True)
    assert np.array_equal(result.logits.numpy(), logits)
    assert 0.2 < result.spikes[0].float().mean() < 0.8


def changed(opcode: int, place: int):
    """Flips a bit of payload word `place` in every packet or answer of an opcode."""
    def change(index, words):
        if int(words[0]) >> 24 != opcode:
            return words
        payload = words[1:-1].copy()
        payload[place] ^= 1 << 7
        return encode(opcode, int(words[0]) >> 16 & 0xFF, payload)
    return change


@pytest.mark.fast
def test_selftest_finds_what_is_wrong():
    """On a stand-in whose counters stand still, so that the first test fails, too."""
    device = Accelerator(FakeTransport(preset("tiny")), preset("tiny"))
    line = device.transport
    with pytest.raises(DeviceError, match="counters of an idle device"):
        next(selftest(device))
    assert TESTS["spike memory"](device) == "64 words"
    assert TESTS["golden network"](device) == "56 logits"
    line.tamper = changed(Opcode.SPIKES, 3)
    with pytest.raises(DeviceError, match="words of the spike memory are wrong, the first at 2"):
        TESTS["spike memory"](device)
    line.tamper, line.garble = (lambda index, words: words), changed(Answer.PROBE, 1)
    with pytest.raises(DeviceError, match="wrong, the first of image 0, output 1"):
        TESTS["golden network"](device)


def test_every_command_on_a_board_at_a_serial_port(tmp_path):
    """As a user would: `quadfire serve`, then load, run without loading, test, measure."""
    config, net = preset("tiny"), str(GOLDEN)
    _, inputs, logits = golden()
    np.savez(tmp_path / "x.npz", images=inputs)
    with UartServer(config) as server:
        device = ("--device", f"serial:{server.path}:{server.baud}")
        assert "no network" in invoke("info", *device)
        assert "loaded in" in invoke("load", net, *device)
        assert "was loaded already" in invoke("load", net, *device)
        for name in ("y.npy", "y.json"):
            output = invoke("run", net, str(tmp_path / "x.npz"), *device,
                            "-o", str(tmp_path / name))
            assert "classes: " + " ".join(map(str, logits.argmax(axis=1))) in output
        assert np.array_equal(np.load(tmp_path / "y.npy"), logits)
        written = json.loads((tmp_path / "y.json").read_text())
        assert written["outputs"] == logits.tolist() and written["counters"]["events"] > 0
        assert "bytes sent" in invoke("throughput", net, *device, "--images", "4")
        output = invoke("selftest", *device)
        assert output.count("passed") == 3 and "56 logits" in output
        assert "no network" not in invoke("info", *device)
        assert "not the configuration asked for" in invoke("info", *device, "-c", "small")
        assert not server.port.lost


def test_pictures(tmp_path):
    network = golden()[0]
    assert network.input_bits == 8
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6), np.uint8)     # 30 inputs
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    got = read_inputs([tmp_path / "a.png", tmp_path / "b.png"], network)
    assert np.array_equal(got, np.stack([pixels.ravel()] * 2))
    Image.fromarray(pixels[:4]).save(tmp_path / "c.png")
    with pytest.raises(ValueError, match="the picture is 6 x 4, but the network takes 30 pixels"):
        read_inputs([tmp_path / "c.png"], network)
    for shape, wrong in (((36, 1, 1), "6 x 5, but the network takes 6 x 6"),
                         ((1, 6, 5), "6 x 5, but the network takes 5 x 6"),
                         ((3, 5, 2), "has one channel, the network takes 3")):
        with pytest.raises(ValueError, match=wrong):
            read_inputs([tmp_path / "a.png"], SimpleNamespace(
                inputs=np.prod(shape), input_shape=shape, input_bits=8))
    with pytest.raises(ValueError, match="takes spikes"):
        read_inputs([tmp_path / "a.png"], replace(network, input_bits=0))
    np.save(tmp_path / "x.npy", pixels)
    with pytest.raises(ValueError, match="one .npy or .npz file"):
        read_inputs([tmp_path / "x.npy"] * 2, network)
    for name in ("junk.npz", "junk.npy"):
        (tmp_path / name).write_bytes(b"PK\3\4 and no more")
        with pytest.raises(ValueError, match=f"{name}: not an .npy or .npz file"):
            read_inputs([tmp_path / name], network)


@pytest.mark.fast
def test_ports_are_listed(monkeypatch):
    from serial.tools import list_ports

    ports = [SimpleNamespace(device="/dev/ttyS0", description="n/a"),
             SimpleNamespace(device="/dev/ttyUSB0", description="FT2232H")]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    output = quadfire("devices").out
    assert output.endswith("serial:/dev/ttyS0\nserial:/dev/ttyUSB0  FT2232H\n")
    assert "needs" in output and "n/a" not in output


def test_names_of_devices():
    output = invoke("devices")
    assert all(kind.form.split("[")[0] in output for kind in KINDS.values())
    with pytest.raises(ValueError, match="no kind of device is called 'usb'; there are sim, "):
        open_device("usb:1", preset("tiny"))
    for wrong in ("serial:", "serial::9600", "serial:/dev/null:", "serial:/dev/null:fast"):
        with pytest.raises(ValueError, match="named serial:PORT"):
            open_device(wrong, preset("tiny"))
    with pytest.raises(ValueError, match="sim takes no address"):
        open_device("sim:7", preset("tiny"))
    with pytest.raises(ValueError, match="a simulator, verilator or icarus, not 'vcs'"):
        open_device("cocotb:vcs", preset("tiny"))
    with pytest.raises(ValueError, match="made for a configuration"):
        open_device("sim", None)
    assert "must end in .npy or .json" in invoke(
        "run", str(GOLDEN), "x.npy", "-o", "y.txt", fails=True)


@pytest.mark.parametrize("rate", ["", ":9600"])
def test_a_port_may_have_colons_in_its_name(tmp_path, monkeypatch, rate):
    port = tmp_path / "pci-0000:00:14.0-usb-0:2"
    port.touch()
    opened = []
    monkeypatch.setattr(serial_port, "SerialTransport", lambda *line: opened.append(line))
    open_device(f"serial:{port}{rate}", None)
    assert opened == [(str(port), int(rate[1:] or serial_port.BAUD))]


def test_a_board_with_pynq_says_what_it_is(monkeypatch):
    """One of no preset: its registers tell the whole configuration."""
    config = replace(preset("tiny"), weight_rows=128)
    monkeypatch.setitem(sys.modules, "pynq", Pynq(config, stream_bits=32))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert str(config) in invoke("info", "--device", "pynq:quadfire.bit")
    with pytest.raises(DeviceError, match="weight_rows = 128, not 64"):
        open_device("pynq:quadfire.bit", preset("tiny"))


@pytest.mark.fast
def test_errors_are_told_to_the_letter(tmp_path):
    path = tmp_path / "net[bold].safetensors"
    done = quadfire("compile", path)
    assert done.status == 2 and str(path) in done.err and done.err.count("\n") == 1


@pytest.mark.fast
@pytest.mark.parametrize(("words", "told"), [
    (("run", "{net}", "{wrong}"), "inputs must have shape"), (("simulate", "{net}", "{wrong}"),
                                                              "inputs must have shape"),
    (("run", "{net}", "--data", "{wrong}"), "neither such a folder nor such a .npz"),
    (("run", "{wrong}", "{wrong}"), "not a safetensors file"),
    (("load", "{wrong}"), "not a safetensors file"),
    (("throughput", "{wrong}"), "not a safetensors file"),
    (("load", "{net}", "--set", "weight_rows=16"), "weight"),
    (("throughput", "{net}", "--set", "weight_rows=16"), "weight")])
def test_what_is_wrong_is_told_before_a_device_is_built(tmp_path, monkeypatch, words, told):
    def connect(*_):
        raise AssertionError("a device was opened")

    monkeypatch.setattr("quadfire.firmware.driver.connect.connect", connect)
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3), np.uint8))
    names = {"net": PRETRAINED / "mnist5k-784-128-10-int8.safetensors",
             "wrong": tmp_path / "wrong.npy"}
    assert told in invoke(*(word.format(**names) for word in words), fails=True)
