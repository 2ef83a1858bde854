"""How much of a gradient comes through a layer: measured in a network, and by the formula."""

import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from quadfire.models.dynamics.moments import input_deviation, one_step_moments
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.dynamics.window import gradient_error, gradient_gain
from quadfire.models.experiments.runs import Run

__all__ = ["measured_gains", "mismatch"]


def measured_gains(network: SpikingMLP, images: Tensor, labels: Tensor) -> list[float]:
    """Mean square of the loss's gradient by the spikes before a layer over that by those behind
    it, for every hidden layer but the first: 1 where gradients keep their size."""
    outputs: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, spikes: Tensor) -> None:
        spikes.retain_grad()
        outputs.append(spikes)

    handles = [layer.register_forward_hook(keep) for layer in network.layers]
    network.train()
    functional.cross_entropy(network(images), labels).backward()
    for handle in handles:
        handle.remove()
    squares = [spikes.grad.square().mean().item() for spikes in outputs
               if spikes.grad is not None]
    return [before / behind for before, behind in zip(squares, squares[1:], strict=False)]


def mismatch(run: Run, shape: tuple[int, int, int], images: Tensor, labels: Tensor,
             seeds: int = 3, samples: int = 100) -> dict[str, float]:
    """What a window does to gradients, before training: "window" as a number, "formula" G(w),
    "measured" gain a layer (geometric mean over layers and seeds), and the relative mean squared
    "error" of the gradient of one layer over `samples` (`surrogate.gradient_error`)."""
    logs = []
    for seed in range(1, seeds + 1):
        network = Run(**{**vars(run), "seed": seed}).build(shape)
        assert isinstance(network, SpikingMLP)
        logs += [math.log(gain) for gain in measured_gains(network, images, labels)]
        neuron = network.layers[0].neuron
    window, neuron = float(neuron.window), neuron.quadratic_map()
    moments = one_step_moments(neuron, run.neuron.alpha)
    return {"window": window, "measured": math.exp(sum(logs) / len(logs)),
            "formula": gradient_gain(window, moments, input_deviation(neuron, run.neuron.alpha)),
            "error": gradient_error(window, moments, samples)}
