"""What training minimises: functions of the logits of every time step, [T, N, classes]."""

from torch import Tensor
from torch.nn import functional

__all__ = ["mean_loss", "tet_loss"]


def mean_loss(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the mean over time: what is right at the end counts. labels: int64 [N]."""
    return functional.cross_entropy(logits.mean(0), labels, label_smoothing=smoothing)


def tet_loss(logits: Tensor, labels: Tensor, *, weight: float = 0.05, target: float = 1.0,
             smoothing: float = 0.0) -> Tensor:
    """Temporal efficient training (arXiv:2202.11946): every time step is to be right.

        L = (1 - weight) mean over t of CE(o_t, y) + weight mean of (o - target)^2

    The second term keeps single outputs from running away; target is V_th in the paper, and
    weight 0.05 for images. CE is convex, so the first is never below the cross-entropy of the mean.
    """
    steps, count, _ = logits.shape
    every = functional.cross_entropy(logits.flatten(0, 1), labels.expand(steps, count).flatten(),
                                     label_smoothing=smoothing)
    if not weight:
        return every
    return (1 - weight) * every + weight * (logits - target).square().mean()
