"""The optimiser, and the learning rate over a run."""

import math
from typing import Any

import torch

from quadfire.models.neurons import SpikingNeuron
from quadfire.models.training.options import Options

__all__ = ["learning_rate", "make_optimizer"]


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


def learning_rate(optimizer: torch.optim.Optimizer, batches: int, schedule: str = "cosine",
                  warm_up: float = 0.05) -> torch.optim.lr_scheduler.LambdaLR:
    """The rate over all `batches` of a run: a linear warm-up, under a fall to 0.

        factor(i) = min((i + 1) / (warm_up batches), fall(i / batches))
        fall(p) = (1 + cos(pi p)) / 2        cosine
        fall(p) = (1 - p) / (1 - warm_up)    linear
    """
    rising = max(1, int(batches * warm_up))

    def factor(step: int) -> float:
        part = step / batches
        fall = 0.5 + 0.5 * math.cos(math.pi * part) if schedule == "cosine" else \
            (1 - part) / max(1e-9, 1 - warm_up)
        return max(0.0, min((step + 1) / rising, fall))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
