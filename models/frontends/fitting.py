"""Training an imported network on the integer grid, with labels or with itself as the teacher."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.quantize.fake_quant import GridNetwork
from quadfire.models.quantize.folded import Folded
from quadfire.models.quantize.quantize import real_network

__all__ = ["fit", "teacher_of"]


def teacher_of(network: Folded) -> Callable[[Tensor], Tensor]:
    """The network in real numbers as a function of the array's inputs: its logits [N, classes]."""
    real = real_network(network, network.neurons, input_bits=network.input_bits or 0)

    @torch.no_grad()
    def answer(x: Tensor) -> Tensor:
        return real(x)

    return answer


def fit(grid: GridNetwork, loader: Iterable[Any], *,
        teacher: Folded | Callable[[Tensor], Tensor] | None = None, epochs: int = 1,
        rate: float = 3e-4, sharpness: float = 10.0,
        watch: Callable[[int, int, float], None] = lambda *_: None) -> float:
    """Train a network on the grid, so that its weights adapt to the rounding.

    | argument | meaning |
    |---|---|
    | loader | gives (inputs, labels) or inputs, as the array takes them; gone through every epoch |
    | teacher | gives the answers to learn: a folded network in real numbers, or a function of the |
    |  | inputs that gives logits [N, classes]; None: the labels |
    | rate | learning rate of Adam; it falls to 0 as a cosine |
    | sharpness | factor of the logits before the softmax, as rates and mean currents are small |
    | watch | called with (epoch from 1, batch, loss) |

    The loss is the cross-entropy to the labels, or to the teacher's softmax. Returns the mean loss
    of the last epoch. Raises ValueError where there is nothing to learn from.
    """
    answer = teacher_of(teacher) if isinstance(teacher, Folded) else teacher
    optimizer = torch.optim.Adam(grid.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1))
    mean = 0.0
    for epoch in range(1, epochs + 1):
        grid.train()
        total = count = 0.0
        for number, batch in enumerate(loader):
            x, labels = batch if isinstance(batch, list | tuple) else (batch, None)
            logits = grid(x) * sharpness
            target = labels
            if answer is not None:
                target = functional.softmax(answer(x).to(logits.dtype) * sharpness, 1)
            if target is None:
                raise ValueError("the loader gives no labels: name a teacher")
            loss = functional.cross_entropy(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(logits), count + len(logits)
            watch(epoch, number, loss.item())
        if not count:
            raise ValueError("the loader gives no batches")
        mean = total / count
        schedule.step()
    grid.eval()
    return mean
