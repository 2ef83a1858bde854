"""The optimiser, and the learning rate over a run."""

import math
from typing import Any

import torch

from quadfire.models.neurons import SpikingNeuron
from quadfire.models.training.options import Options

__all__ = ["Schedule", "make_optimizer"]


def make_optimizer(network: Any, options: Options) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum.

    With `decay="weights"` weight decay leaves out the parameters of neurons and all of one
    dimension: biases, and the scales of tdBN.
    """
    groups: Any = network.parameters()
    if options.decay == "weights":
        of_neurons = {id(p) for module in network.modules() if isinstance(module, SpikingNeuron)
                      for p in module.parameters()}         # GLIF's have two dimensions, too
        parameters = [*groups]
        decays = [p.ndim > 1 and id(p) not in of_neurons for p in parameters]
        groups = [{"params": [p for p, does in zip(parameters, decays, strict=True) if does]},
                  {"params": [p for p, does in zip(parameters, decays, strict=True) if not does],
                   "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, options.rate, momentum=options.momentum, nesterov=True,
                               weight_decay=options.weight_decay)
    return torch.optim.AdamW(groups, options.rate, weight_decay=options.weight_decay)


class Schedule:
    """The learning rate of a run, as LambdaLR asks for it: a share of the highest at each step.

    first: the step at which the schedule begins, that of a run that was prolonged is not 0. With
    i = step - first, n the steps that are left there, w = `warm_up` n and p = i / n:

    | schedule | factor |
    |---|---|
    | cosine | min((i + 1) / w, (1 + cos(pi p)) / 2) |
    | linear | min((i + 1) / w, (1 - p) / (1 - warm_up)) |
    | one-cycle | half a cosine from 1 / 25 up to 1 at i = w, then down to 1e-4 / 25 at n |

    One-cycle leaves the momentum alone; arXiv:1708.07120 moves it as well.
    """

    def __init__(self, options: Options, steps: int):
        self.kind, self.warm_up, self.steps = options.schedule, options.warm_up, steps
        self.first = 0

    def __call__(self, step: int) -> float:
        at, steps = step - self.first, max(1, self.steps - self.first)
        rising, part = max(1, int(steps * self.warm_up)), at / steps
        if self.kind == "one-cycle":
            low, done = (1 / 25, at / rising) if at < rising else \
                (1e-4 / 25, 1 - (at - rising) / max(1, steps - rising))
            return low + (1 - low) * (0.5 - 0.5 * math.cos(math.pi * done))
        fall = 0.5 + 0.5 * math.cos(math.pi * part) if self.kind == "cosine" else \
            (1 - part) / max(1e-9, 1 - self.warm_up)
        return max(0.0, min((at + 1) / rising, fall))
