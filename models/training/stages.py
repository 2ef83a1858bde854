"""Stages: few time steps and small images first, all of both in the end.

An epoch at T = 1 takes a quarter of the time of one at T = 4, and what a network learns there it
keeps: no weight depends on T, nor on the size of the images where the readout sees their mean.
Running means of tdBN do, see `recalibration`. What is measured in between is at the full T and
size.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.networks import ImageNetwork, ResNet, SpikingMLP
from quadfire.models.networks.layers import ConvLayer, DenseLayer

__all__ = ["Staged", "Stages", "parse_stages", "resized", "set_steps", "value_at"]

#: (time steps, or side of the images; epochs) of each stage.
Stages = tuple[tuple[int, int], ...]


def parse_stages(text: str) -> Stages:
    """Stages from a text such as "1:10,2:5,4:5": 10 epochs at T = 1, 5 at T = 2, 5 at T = 4.

    Raises ValueError for another text.
    """
    if not re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text):
        raise ValueError("stages must be VALUE:EPOCHS, one after the other as in 1:10,2:5,4:5, not "
                         f"{text!r}")
    stages = tuple((int(value), int(epochs))
                   for value, epochs in (stage.split(":") for stage in text.split(",")))
    if min(min(stage) for stage in stages) < 1:
        raise ValueError(f"values and epochs of a stage must be above 0, not {text!r}")
    return stages


def value_at(stages: Stages, epoch: int) -> int:
    """T or the size of an epoch, counted from 1."""
    for value, epochs in stages:
        if epoch <= epochs:
            return value
        epoch -= epochs
    return stages[-1][0]


def set_steps(network: nn.Module, steps: int) -> None:
    """Let a network run T = `steps` time steps from now on."""
    for module in network.modules():
        if isinstance(module, ImageNetwork | SpikingMLP | ConvLayer | DenseLayer):
            module.steps = steps


def resized(images: Tensor, side: int) -> Tensor:
    """Bytes [N, C, H, W] as bytes [N, C, side, side], bilinear with antialiasing."""
    pixels = functional.interpolate(images.float(), (side, side), mode="bilinear", antialias=True,
                                    align_corners=False)
    return pixels.round().clamp(0, 255).to(torch.uint8)


class Staged:
    """T and image size of a network, epoch by epoch.

    Raises ValueError where stages cannot be had: T of recorded frames or of a network of fixed T,
    the size of a network whose readout sees every place, and a last stage that is not the full one.
    """

    def __init__(self, network: Any, dataset: Dataset | ImageDataset, stages: Stages,
                 sizes: Stages):
        self.network, self.stages, self.sizes = network, stages, sizes
        self.full = getattr(network, "steps", 0), dataset.shape[1]
        self.shape, self.present = dataset.shape, self.full
        if (stages or sizes) and dataset.steps:
            raise ValueError(f"stages are for images; {dataset.name} has {dataset.steps} frames")
        if stages and not isinstance(network, ImageNetwork | SpikingMLP):
            raise ValueError(f"stages: a {type(network).__name__} has a T of its own")
        if sizes and not isinstance(network, ResNet):
            raise ValueError("the readout of this network sees every place of the image, so its "
                             "size cannot change; resnet19 and resnet34 take the mean over places")
        for name, plan, full in (("stages", stages, self.full[0]), ("sizes", sizes, self.full[1])):
            if plan and plan[-1][0] != full:
                raise ValueError(f"the last of the {name} {plan!r} must be at the network's own "
                                 f"{'T' if name == 'stages' else 'size'} = {full}")

    def enter(self, epoch: int) -> tuple[int, int]:
        """Set T and size of an epoch, counted from 1, and return both."""
        self._set(value_at(self.stages, epoch) if self.stages else self.full[0],
                  value_at(self.sizes, epoch) if self.sizes else self.full[1])
        return self.present

    def _set(self, steps: int, size: int) -> None:
        if self.stages:
            set_steps(self.network, steps)
        if self.sizes:
            self.network.input_shape = self.shape if size == self.full[1] else \
                (self.shape[0], size, size)
        self.present = steps, size

    @property
    def whole(self) -> bool:
        """Whether T and size are the full ones."""
        return self.present == self.full

    def images(self, images: Tensor) -> Tensor:
        """Images of the full size in that of the stage."""
        if self.present[1] == self.full[1]:
            return images
        return resized(images.view(-1, *self.shape), self.present[1])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network at the full T and size inside the block, as it was behind it."""
        present = self.present
        self.restore()
        try:
            yield
        finally:
            self._set(*present)

    def restore(self) -> None:
        """Set the full T and size."""
        self._set(*self.full)
