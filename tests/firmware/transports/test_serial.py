"""The unmodified driver through a serial port: a Verilated UART design at a pseudo-terminal."""

import os
import random
import threading
import tty
from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware import Accelerator, DeviceError
from quadfire.firmware.tape.packets import encode
from quadfire.firmware.transports.serial_port import SerialTransport
from quadfire.models.datasets import mnist5k
from quadfire.models.integer import IntegerNetwork
from quadfire.models.integer.reference import run as reference
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.serial_protocol import ESCAPE, Code
from quadfire.rtl.contract.tape import Opcode
from quadfire.sim.report.demo import DEMOS
from quadfire.sim.verilator.uart import UartServer

from tests.firmware.networks import random_inputs, random_network

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with UartServer(CONFIG, link=tmp_path_factory.mktemp("port") / "tty") as server:
        yield server


@pytest.fixture
def port(server):
    """The server, with an undisturbed line."""
    yield server
    server.tamper = lambda way, data: data
    assert not server.port.lost and not server.port.errors


def transport(server: UartServer, **options) -> SerialTransport:
    options = {"patience": 5.0, "pause": 0.05, "reconnect": 5.0, **options}
    return SerialTransport(server.path, server.baud, **options)


def network(seed: int = 0) -> tuple[IntegerNetwork, np.ndarray, np.ndarray]:
    """A network, inputs, and the logits that they must give."""
    rng = np.random.default_rng(seed)
    net = random_network(rng, CONFIG, (40, 9, 6), steps=4, input_bits=8)
    inputs = random_inputs(rng, net, 12)
    return net, inputs, reference(net, inputs).logits.numpy()


def damage(chance: float, seed: int):
    """A line that loses, doubles, changes and inserts bytes in both directions."""
    rng = random.Random(seed)

    def one(byte: int) -> bytes:
        if rng.random() >= chance:
            return bytes([byte])
        return rng.choice([b"", bytes([byte, byte]), bytes([byte ^ 1 << rng.randrange(8)]),
                           bytes([rng.randrange(256), byte])])

    return lambda way, data: b"".join(map(one, data))


@pytest.mark.parametrize("drift, images", [
    (0.98, 5), pytest.param(1.02, 1000, marks=pytest.mark.slow)])
def test_the_demo_network(drift, images):
    """Bit for bit, as through any other transport; clocks that differ by 2 %."""
    config = preset("small")
    net = IntegerNetwork.load(PRETRAINED / f"{DEMOS['dense'].name}-int4.safetensors")
    inputs = mnist5k().held_out_set[0][:images].numpy()
    expected = reference(net, inputs).logits.numpy()
    with (UartServer(config, drift=drift) as server,
          Accelerator(transport(server, patience=30.0), config) as device):
        device.load(net)
        assert np.array_equal(device.run(inputs).outputs, expected)
        assert not server.port.lost and not server.port.errors


def test_a_device_in_use_keeps_its_network(port):
    """Another process takes over, in the middle of a packet and of an escape."""
    net, inputs, expected = network()
    with Accelerator(transport(port), CONFIG) as device:
        program = device.load(net)
        assert device.transport.exchange([], 0) == []
    end = os.open(port.path, os.O_WRONLY | os.O_NOCTTY)
    os.write(end, encode(Opcode.INFO, 0)[:1].tobytes() + bytes([ESCAPE]))
    os.close(end)
    with Accelerator(transport(port), CONFIG) as device:
        assert device.info().network == program.network_id
        device.program = program
        assert np.array_equal(device.run(inputs).outputs, expected)


def test_a_packet_refused_ends_the_exchange(port):
    with transport(port) as line:
        bad = encode(Opcode.REPORT, 0)
        bad[-1] ^= 1
        answers = line.exchange([bad, *[encode(Opcode.INFO, 0)] * 3], 4)
        assert int(answers[0][0]) >> 24 == 0x84 and len(answers) == 1
        while len(answers) < 2:
            answers += line.exchange([encode(Opcode.INFO, 0)], 1)
        line.reset()
        with pytest.raises(ValueError, match="at least one word"):
            line.exchange([np.array([], np.uint32)], 0)
        with pytest.raises(TimeoutError, match="no progress for 0.3 s.* gave 1 of 2 answers"):
            line.patience = 0.3
            line.exchange([encode(Opcode.INFO, 0)], 2)
        line.patience = 5.0
        assert len(line.exchange([encode(Opcode.INFO, 0)], 1)) == 1


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow)
                                       for n in range(1, 8))])
def test_a_noisy_line_gives_no_wrong_answer(port, seed):
    net, inputs, expected = network(seed)
    with Accelerator(transport(port, patience=2.0), CONFIG, batch=3, retries=100) as device:
        port.tamper = damage(1 / 2500, seed)
        device.load(net)
        assert np.array_equal(device.run(inputs).outputs, expected)
        port.tamper = damage(1 / 50, seed)
        device.retries = 1
        with pytest.raises((DeviceError, TimeoutError)):
            device.load(net)
            device.run(np.repeat(inputs, 20, axis=0))
        port.tamper = lambda way, data: data
        device.retries = 3
        device.load(net)
        assert np.array_equal(device.run(inputs).outputs, expected)
    port.port.reset()       # noise may have cost symbols


def test_a_device_that_is_reset_is_loaded_again(port):
    net, inputs, expected = network(1)
    with Accelerator(transport(port), CONFIG, batch=4, retries=2) as device:
        device.load(net)
        done = []

        def progress(images, total):
            done.append(images)
            if images == 4:
                port.reset()

        assert np.array_equal(device.run(inputs, progress=progress).outputs, expected)
        assert done == [4, 8, 12]
        device.reset()
        assert device.info().network == 0
        assert np.array_equal(device.run(inputs).outputs, expected)


def test_a_cable_that_is_pulled_and_plugged_in_again(port):
    net, inputs, expected = network(2)
    with Accelerator(transport(port), CONFIG, batch=4, retries=2) as device:
        device.load(net)

        def progress(images, total):
            if images == 4:
                port.unplug()
                port.plug()

        assert np.array_equal(device.run(inputs, progress=progress).outputs, expected)
        port.unplug()
        device.transport.reconnect = 0.2    # type: ignore[attr-defined]
        with pytest.raises(TimeoutError, match="vanished .* did not come back within 0.2 s"):
            device.run(inputs)
        port.plug()


def test_nobody_there(tmp_path):
    with pytest.raises(OSError, match=f"^there is no port {tmp_path}/none: `quadfire devices`"):
        SerialTransport(str(tmp_path / "none"), 115200)
    with pytest.raises(OSError, match=f"^{tmp_path} cannot be opened: Is a directory$"):
        SerialTransport(str(tmp_path), 115200)
    master, slave = os.openpty()
    tty.setraw(slave)
    with pytest.raises(TimeoutError, match="nothing at .* answers at 115200 baud: is the bit"):
        SerialTransport(os.ttyname(slave), 115200, patience=0.3, pause=0.05)
    writer = threading.Timer(0.2, os.write, (master, bytes([ESCAPE, Code.ACK, ESCAPE])))
    writer.start()
    with pytest.raises(TimeoutError, match="answers in pieces only"):
        SerialTransport(os.ttyname(slave), 115200, patience=1.0, pause=0.05)
    writer.join()
    with pytest.raises(ValueError, match="pause must be"):
        SerialTransport(os.ttyname(slave), 115200, patience=1, pause=2)
    os.close(master)
    os.close(slave)


def test_another_configuration_is_refused(port):
    net = network()[0]
    other = replace(CONFIG, spike_words=CONFIG.spike_words + 1)
    with (Accelerator(transport(port), other) as device,
          pytest.raises(DeviceError, match="has configuration")):
        device.load(net)
