"""Networks in floating point: shapes, training, repeatability."""

import pytest
import torch

from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import LIF, QIF
from quadfire.models.training.options import Options
from quadfire.models.training.train import accuracy, fit


def test_digits_are_learnt_in_seconds(trained, data):
    assert accuracy(trained, *data.held_out_set) >= 0.9
    assert all(0.01 < rate < 0.9 for rate in trained.rates)


def test_accuracy_is_that_of_eval_mode(trained, data):
    """Batch statistics must not leak in: one image at a time says the same as all at once."""
    images, labels = (part[:30] for part in data.held_out_set)
    together = accuracy(trained.train(), images, labels)
    apart = [accuracy(trained.train(), images[i:i + 1], labels[i:i + 1]) for i in range(30)]
    assert not trained.training
    assert sum(apart) / 30 == pytest.approx(together)


def test_training_repeats_to_the_bit(train_digits):
    (first, told), (again, told_again) = (train_digits(3, 1) for _ in range(2))
    other, _ = train_digits(4, 1)
    assert told == told_again
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.readout.weight, other.readout.weight)


def test_fit_reports_every_epoch(data):
    epochs = []
    network = SpikingMLP([64, 8, 10], LIF(), 2)
    last = fit(network, data, Options(epochs=3, augment=None), epochs.append)
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert epochs[-1] == last and last.loss < epochs[0].loss
    assert not network.training


def test_constant_input_equals_itself_in_every_step():
    """Computing the first current once is the same as giving every step its input."""
    torch.manual_seed(1)
    once = SpikingMLP([20, 16, 12, 5], QIF(), 6, input_bits=1).eval()
    every = SpikingMLP.from_config({**once.config(), "input_bits": 0}).eval()
    every.load_state_dict(once.state_dict())
    with torch.no_grad():
        every.layers[0].linear.weight /= 2
    x = torch.randint(2, (7, 20), dtype=torch.uint8)
    torch.testing.assert_close(once(x), every(x.expand(6, -1, -1)))


@pytest.mark.parametrize("sizes", [[6, 3], [6, 4, 3], [6, 4, 5, 3]])
def test_shapes_and_gradients(sizes):
    network = SpikingMLP(sizes, QIF(window=2.0), 5, input_bits=4)
    logits = network(torch.randint(16, (9, 6), dtype=torch.uint8))
    assert logits.shape == (9, 3) and len(network.rates) == len(sizes) - 2
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("options", [{"sizes": [5]}, {"sizes": [5, 0, 3]}, {"steps": 0},
                                     {"input_bits": 9}])
def test_network_refuses(options):
    with pytest.raises(ValueError, match="must be"):
        SpikingMLP(**{"sizes": [5, 3], "neuron": QIF(), "steps": 4, **options})
