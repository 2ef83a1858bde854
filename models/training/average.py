"""An exponential moving average of a network's weights and running means."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """The average of all floating-point values of a network's state dict.

        average <- decay average + (1 - decay) value        after every batch

    decay is at most (1 + n) / (10 + n) after n batches, so that the start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network, self.decay, self.batches = network, decay, 0
        self.values = {name: value.clone() for name, value in self._present().items()}

    def _present(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.network.state_dict().items()
                if value.is_floating_point()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the present values in."""
        decay = min(self.decay, (1 + self.batches) / (10 + self.batches))
        present = self._present()
        for name, value in self.values.items():
            value.lerp_(present[name], 1 - decay)
        self.batches += 1

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network with the average in place of its values."""
        kept = {name: value.clone() for name, value in self._present().items()}
        self.network.load_state_dict(self.values, strict=False)
        try:
            yield
        finally:
            self.network.load_state_dict(kept, strict=False)

    def keep(self) -> None:
        """Put the average into the network for good."""
        self.network.load_state_dict(self.values, strict=False)
