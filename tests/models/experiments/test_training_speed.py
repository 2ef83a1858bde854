"""Training beside SpikingJelly: the same neurons, the same network, and times of both."""

import pytest
import torch

from quadfire.models.experiments import training_speed
from quadfire.models.networks import make_network

from tests.command import quadfire
from tests.models.frontends.peers import peer

pytestmark = pytest.mark.fast
peer("spikingjelly")


@pytest.mark.parametrize("kind", ["qif", "lif"])
def test_the_neurons_are_the_same(kind):
    timing, difference = training_speed.compare_neurons(kind, shape=(4, 3, 8, 5, 5), rounds=3,
                                                        compiled=False)
    assert difference < 1e-5
    assert {way: len(times) for way, times in timing.rounds.items()} == \
        {"quadfire": 3, "eager": 3}
    assert timing.ratio("quadfire") == 1 and timing.ratio("eager") > 0


@pytest.mark.parametrize("text", ["4C3-P2-6C3-10", "4C3-P2-12-10"])
def test_the_networks_are_the_same(text):
    """With our weights in SpikingJelly's layers the logits are ours."""
    torch.manual_seed(1)
    ours = make_network(text, training_speed._ours("qif"), input_shape=(3, 32, 32), classes=10)
    theirs = training_speed._Network(text, "qif", 4)
    weights = [p for name, p in ours.named_parameters() if name.endswith("weight")]
    others = [p for p in theirs.parameters() if p.ndim > 1]
    with torch.no_grad():
        for one, other in zip(weights, others, strict=True):
            other.copy_(one)
        theirs.layers[-1].bias.copy_(ours.readout.bias)
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    assert torch.allclose(ours(images), theirs(images), atol=1e-5)


def test_the_command():
    done = quadfire("training-speed", "--network", "8C3-P2-10", "--rounds", 1, "--batch", 2,
                    "--no-compiled")
    assert done.status == 0 and "whole step" in done.out and "eager" in done.out
