"""The base class of networks on images: input, readout over time, spike rates."""

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from quadfire.models.integer.encoding import present_images
from quadfire.models.networks.layers import check_step_mode
from quadfire.models.neurons import SpikingNeuron, make_neuron

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

__all__ = ["ImageNetwork", "scaled"]


def scaled(channels: int, width: float) -> int:
    """`channels` times the factor `width`, rounded, at least 1."""
    return max(1, round(channels * width))


class ImageNetwork(nn.Module):
    """Base class of networks that classify images or event frames.

    | argument    | meaning |
    |-------------|---|
    | neuron      | copied for every layer |
    | input_shape | (C, H, W) |
    | steps       | time steps T |
    | alpha       | scale of the currents, see `TDBatchNorm` |

    A subclass has a `kind`, which names it in checkpoints. It sets `readout` and defines
    `features`, which takes the presented input [T or 1, N, C, H, W] to the readout's inputs
    [T, N, ...]. Raises ValueError for another shape or fewer than one step.
    """

    kind: str
    readout: nn.Linear

    def __init__(self, neuron: SpikingNeuron, *, input_shape: tuple[int, int, int], steps: int,
                 alpha: float):
        super().__init__()
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise ValueError(f"input_shape must be (C, H, W), not {input_shape!r}")
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be an integer above 0, not {steps!r}")
        check_step_mode(neuron)
        channels, height, width = input_shape
        self.input_shape = (channels, height, width)
        self.steps = steps
        self.alpha = alpha
        self.neuron_config = neuron.config()

    def config(self) -> dict[str, Any]:
        """The arguments from which `network_from_config` builds this network again."""
        return {"network": self.kind, "input_shape": list(self.input_shape), "steps": self.steps,
                "alpha": self.alpha, "neuron": self.neuron_config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        """An untrained network from its `config()`."""
        config = {key: value for key, value in config.items() if key != "network"}
        return cls(**{**config, "input_shape": tuple(config["input_shape"]),
                      "neuron": make_neuron(**config["neuron"])})

    @property
    def classes(self) -> int:
        return self.readout.out_features

    @property
    def neurons(self) -> dict[str, SpikingNeuron]:
        """The neurons of each layer by the layer's name, in the order of construction."""
        return {name.removesuffix(".neuron"): module for name, module in self.named_modules()
                if isinstance(module, SpikingNeuron)}

    @property
    def rates(self) -> list[float]:
        """Spikes per neuron and time step in the last call, one value per layer."""
        return [neuron.rate for neuron in self.neurons.values()]

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(parameter.shape) for parameter in self.parameters())

    def features(self, x: Tensor) -> Tensor:
        """The inputs [T, N, ...] of the readout, from the presented input [T or 1, N, C, H, W]."""
        raise NotImplementedError

    def forward(self, x: Tensor, every_step: bool = False) -> Tensor:
        """Logits [N, classes]; with `every_step` those of each time step, [T, N, classes].

        x holds bytes [N, C, H, W] or [N, C * H * W], shown in every time step, or frames
        [T, N, C, H, W]. Raises the errors of `encoding.present_images`.
        """
        x = present_images(x, shape=self.input_shape, steps=self.steps,
                           dtype=self.readout.weight.dtype)
        logits = self.readout(self.features(x))
        return logits if every_step else logits.mean(0)
