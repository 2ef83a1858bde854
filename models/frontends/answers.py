"""Which answers of an imported network the array can give, and what its module answers."""

import torch
from torch import Tensor, nn

from quadfire.models.frontends.copying import fresh_copy
from quadfire.models.frontends.encoding import with_time_first
from quadfire.models.frontends.imported import Imported
from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.integer import Shape
from quadfire.models.integer.answer import OVER
from quadfire.models.quantize.folded import FoldedAnswer

__all__ = ["check_pixel", "classes_of", "membrane_answer"]


def check_pixel(shape: Shape) -> None:
    """Raise ValueError where the answer is a map of more than one pixel."""
    if shape[1:] != (1, 1):
        raise ValueError(f"the answer is a map of {' x '.join(map(str, shape))}: maps as answers "
                         "cannot be run yet, end with a pool or a dense layer")


def membrane_answer(mapped: MappedNeuron, shape: Shape, over: str) -> FoldedAnswer:
    """The answer that is the potential of a layer's neurons.

    shape: of the layer's map. over: as in `MembraneAnswer`. Raises ValueError, without the name of
    the layer, where the array has no such potential.
    """
    check_pixel(shape)
    if over not in OVER:
        raise ValueError(f"the answer is the {over} of its potentials: the array answers with "
                         f"their {', '.join(OVER)}")
    if mapped.membrane_delta is None:
        raise ValueError("the answer is its potential before a reset to a fixed value, which the "
                         "array does not keep: train with a reset that subtracts, without one, or "
                         "take the count of spikes (--answer count)")
    if isinstance(mapped.form.scale, tuple) or isinstance(mapped.form.center, tuple):
        raise ValueError("the answer is its potential, and channels differ in threshold or reset "
                         "potential: train the last layer with one of each, or take the count of "
                         "spikes (--answer count)")
    return FoldedAnswer(over=over, delta=mapped.membrane_delta)


@torch.no_grad()
def classes_of(network: Imported, module: nn.Module, x: Tensor) -> Tensor | None:
    """The classes int64 [N] that a module itself gives, in eval mode and float32.

    They are those of the first tensor that it returns, summed over time where it has a time axis.
    None where that tensor is something else, as the potentials of a network that answers with them.
    """
    if network.answer is not None:
        return None
    module = fresh_copy(module).float().eval()
    steps = network.steps
    with torch.random.fork_rng(devices=[]):
        if network.repeat:
            parts = [module(x.float() if network.layout == "N" else x[step].float())
                     for step in range(network.repeat)]
            result = torch.stack([_first(part) for part in parts])
        else:
            result = _first(module(x.float()))
    if result.ndim == 2 and network.layout == "(NT)" and len(result) == len(x):
        result = with_time_first(result, steps, "(NT)")
    elif result.ndim == 3 and network.layout == "NT":
        result = result.transpose(0, 1)
    if result.ndim == 3 and len(result) == steps:
        result = result.sum(0)
    return result.argmax(1) if result.ndim == 2 else None


def _first(result: object) -> Tensor:
    """The first tensor of what a module returned."""
    while isinstance(result, tuple | list):
        result = result[0]
    assert isinstance(result, Tensor)
    return result
