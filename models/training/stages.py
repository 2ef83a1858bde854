"""Stages: training at few time steps first, then at all of them.

An epoch at T = 1 takes a quarter of the time of one at T = 4, and what a network learns there it
keeps: weights at T = 1 are a good start for T = 2 and 4.
"""

import re

from torch import nn

from quadfire.models.networks import ImageNetwork, SpikingMLP
from quadfire.models.networks.layers import ConvLayer, DenseLayer

__all__ = ["parse_stages", "set_steps", "steps_at"]

#: (time steps, epochs) of each stage.
Stages = tuple[tuple[int, int], ...]


def parse_stages(text: str) -> Stages:
    """Stages from a text such as "1:10,2:5,4:5": 10 epochs at T = 1, 5 at T = 2, 5 at T = 4.

    Raises ValueError for another text.
    """
    if not re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text):
        raise ValueError("stages must be T:EPOCHS, one after the other as in 1:10,2:5,4:5, not "
                         f"{text!r}")
    stages = tuple((int(steps), int(epochs))
                   for steps, epochs in (stage.split(":") for stage in text.split(",")))
    if min(min(stage) for stage in stages) < 1:
        raise ValueError(f"time steps and epochs of a stage must be above 0, not {text!r}")
    return stages


def steps_at(stages: Stages, epoch: int) -> int:
    """T of an epoch, counted from 1."""
    for steps, epochs in stages:
        if epoch <= epochs:
            return steps
        epoch -= epochs
    return stages[-1][0]


def set_steps(network: nn.Module, steps: int) -> None:
    """Let a network run T = `steps` time steps from now on."""
    for module in network.modules():
        if isinstance(module, ImageNetwork | SpikingMLP | ConvLayer | DenseLayer):
            module.steps = steps
