"""One driver, one trained network, every way to a device: the same answers, bit for bit."""

import numpy as np
import pytest

from firmware import Accelerator
from firmware.transports import open_device
from firmware.transports.pynq import open_overlay
from models import reference
from models.datasets import mnist5k
from models.integer import IntegerNetwork
from rtl.config import preset
from sim.demo import PRETRAINED
from sim.pynq_standin import Pynq
from sim.toolchain import simulators

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
