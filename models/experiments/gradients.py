"""The gain of a layer for gradients: measured in a network, and by formula."""

import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from quadfire.models.dynamics.moments import input_deviation, one_step_moments
from quadfire.models.dynamics.window import gradient_error, gradient_gain
from quadfire.models.experiments.runs import Run
from quadfire.models.networks.mlp import SpikingMLP

__all__ = ["measured_gains", "mismatch"]


def measured_gains(network: SpikingMLP, images: Tensor, labels: Tensor) -> list[float]:
    """The gain of every hidden layer but the first, by backpropagation of one batch.

    The gain is the mean square of the loss's gradient by the layer's input spikes, over that by its
    output spikes. It is 1 if gradients keep their size.
    """
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
    """What the window of a run does to gradients before training.

    | key      | value |
    |----------|---|
    | window   | the window as a number |
    | formula  | `gradient_gain` of a layer |
    | measured | `measured_gains`, geometric mean over layers and seeds |
    | error    | `gradient_error` over `samples` |
    """
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
