"""One driver, one trained network, every way to a device: the same answers, bit for bit."""

import numpy as np
import pytest

from quadfire.firmware import Accelerator
from quadfire.firmware.transports import open_device
from quadfire.firmware.transports.pynq import open_overlay
from quadfire.models.datasets import mnist5k
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import preset
from quadfire.sim.verilator.pynq_standin import Pynq
from quadfire.sim.verilator.toolchain import simulators

CONFIG = preset("default")
DEVICES = ["sim", "axi:32", "axi:128", "pynq", "uart",
           *(f"cocotb:{simulator}" for simulator in simulators())]
#: Those that take long: default tests run the others.
SLOW = ("axi:128", "uart", "cocotb:icarus")


def opened(device: str):
    if device == "pynq":
        return open_overlay("quadfire.bit", CONFIG, pynq=Pynq(CONFIG))
    return open_device(device, CONFIG)


@pytest.mark.parametrize("device", [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in DEVICES])
def test_the_demo_network(device):
    images, labels = (part[::250] for part in mnist5k().held_out_set)
    network = IntegerNetwork.load(PRETRAINED / "mnist5k-784-128-10-int8.safetensors")
    expected = reference.run(network, images, record=True)
    with Accelerator(opened(device), CONFIG) as accelerator:
        accelerator.load(network)
        result = accelerator.run(images.numpy(), spikes=True)
    assert np.array_equal(result.outputs, expected.logits.numpy())
    assert np.array_equal(result.spikes[0], expected.spikes[0].numpy())
    assert (result.outputs.argmax(axis=1) == labels.numpy()).mean() >= 0.75
