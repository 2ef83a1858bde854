"""Networks without training that spike nevertheless: to try hardware without data.

The weights are random. Every tdBN takes its statistics from one batch of random pictures. Currents
then have the deviation alpha V_th everywhere, and spike rates are those at the start of a training.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.networks import ImageNetwork, make_network
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["random_pictures", "untrained"]


def random_pictures(count: int, shape: tuple[int, int, int], *, steps: int = 0,
                    seed: int = 1) -> Tensor:
    """Smooth pictures with some noise: bytes [count, C, H, W].

    With `steps` they are spikes [steps, count, C, H, W] instead. Bright pixels spike more often.
    On average a fifth of all pixels spike in a time step.
    """
    random = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    coarse = torch.rand(count, channels, max(height // 8, 2), max(width // 8, 2), generator=random)
    smooth = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    noise = torch.rand(count, channels, height, width, generator=random)
    picture = 0.85 * smooth + 0.15 * noise
    if not steps:
        return (256 * picture).to(torch.uint8)
    chance = torch.rand(steps, *picture.shape, generator=random)
    return (chance < 0.4 * picture).to(torch.uint8)


@torch.no_grad()
def untrained(name: str, neuron: SpikingNeuron, *, input_shape: tuple[int, int, int],
              classes: int = 10, steps: int = 4, width: float = 1.0, events: bool = False,
              seed: int = 1, batch: int = 4, **options: Any) -> ImageNetwork:
    """A network of `make_network` in eval mode, with the statistics of `batch` random pictures.

    With `events` its inputs are spikes instead of pixels. `seed` sets torch's generator.
    """
    torch.manual_seed(seed)
    network = make_network(name, neuron, input_shape=input_shape, classes=classes, steps=steps,
                           width=width, **options)
    norms = [module for module in network.modules() if isinstance(module, TDBatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0         # running means become those of this batch
    network.train()(random_pictures(batch, input_shape, steps=steps if events else 0, seed=seed))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return network.eval()
