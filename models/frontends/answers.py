"""Which answers of an imported network the array can give."""

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.integer import Shape
from quadfire.models.integer.answer import OVER
from quadfire.models.quantize.folded import FoldedAnswer

__all__ = ["check_pixel", "membrane_answer"]


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
