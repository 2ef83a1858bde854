"""The loss beside cross-entropy: TET, a function of the logits of every time step."""

from torch import Tensor
from torch.nn import functional

__all__ = ["tet_loss"]


def tet_loss(logits: Tensor, labels: Tensor, *, weight: float = 0.05, target: float = 1.0,
             smoothing: float = 0.0) -> Tensor:
    """Temporal efficient training (arXiv:2202.11946): every time step is to be right.

    | argument | meaning |
    |---|---|
    | `logits` | [T, N, classes] |
    | `labels` | int64 [N] |
    | `weight`, `target` | of the second term, 0..1; V_th in the paper |
    | `smoothing` | of the labels |

        L = (1 - weight) mean over t of CE(o_t, y) + weight mean of (o - target)^2

    The second term keeps single outputs from running away. As CE is convex, the first term is never
    below the cross-entropy of the mean output.
    """
    steps, count, _ = logits.shape
    every = functional.cross_entropy(logits.flatten(0, 1), labels.expand(steps, count).flatten(),
                                     label_smoothing=smoothing)
    if not weight:
        return every
    return (1 - weight) * every + weight * (logits - target).square().mean()
