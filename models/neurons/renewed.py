"""Neurons whose equations have changed: weights that were trained with the old ones are refused."""

from typing import Any, ClassVar

from quadfire.models.neurons.spiking_neuron import SpikingNeuron

__all__ = ["Renewed"]


class Renewed(SpikingNeuron):
    """Base class of such neurons.

    former: a parameter that only the old equations had. Loading a state dict that holds one raises
    ValueError.
    """

    former: ClassVar[str]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + self.former in state_dict:
            raise ValueError(f"{prefix.removesuffix('.') or self.kind}: its weights were trained "
                             f"with the former equations of {self.kind!r}, which were not those of "
                             "its authors: train it anew")
        super()._load_from_state_dict(state_dict, prefix, *rest)
