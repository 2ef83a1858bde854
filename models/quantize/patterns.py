"""How neurons repeat over the T time steps: what an array with slots for patterns would save.

A neuron's *pattern* is its T spikes, first step first: 0101 fires in steps 2 and 4. An array adds
the weights of a spike once for each time step, into the sums (the *slot*) of that step. As sums are
linear, a neuron that fires in all steps can add its weights once into a slot that counts for all of
them, and one that fires in every other step into one for these.

| count of events | a neuron is |
|---|---|
| direct | one event a spike |
| slots | one event if its pattern has a slot (1111, 0101, 1010), else one a spike |
| sums | the least number of slots and single steps that add up to its pattern: 0111 = 0101 + 0010 |
| active | one event if it spikes at all: no slots can do better |
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.integer import ConvBranch, IntegerNetwork, reference

__all__ = ["Patterns", "count", "fewest", "network_patterns", "slots", "word"]


def slots(steps: int) -> tuple[int, ...]:
    """The patterns with a slot of their own, as words: all steps, and every other, either way."""
    every = (1 << steps) - 1
    odd = sum(1 << step for step in range(0, steps, 2))     # the first step and every other
    return tuple(dict.fromkeys(pattern for pattern in (every, every ^ odd, odd)
                               if pattern.bit_count() > 1))


def word(pattern: int, steps: int) -> str:
    """A pattern as a text, first step first."""
    return "".join(str(pattern >> step & 1) for step in range(steps))


@cache
def fewest(pattern: int, steps: int) -> int:
    """Events of a pattern where slots and single steps may add up."""
    return min([pattern.bit_count(), *(1 + fewest(pattern ^ slot, steps) for slot in slots(steps)
                                       if slot & ~pattern == 0)])


@dataclass
class Patterns:
    """Patterns of a map. counts[p]: pairs of position and channel with the pattern p, all images.

    name: of the layer; pooled: whether it is the map as the next layer reads it, after an OR.
    """

    name: str
    pooled: bool
    steps: int
    images: int
    counts: np.ndarray

    @property
    def direct(self) -> int:
        """Spikes."""
        return sum(int(n) * p.bit_count() for p, n in enumerate(self.counts))

    @property
    def with_slots(self) -> int:
        own = slots(self.steps)
        return sum(int(n) * (1 if p in own else p.bit_count()) for p, n in enumerate(self.counts))

    @property
    def with_sums(self) -> int:
        return sum(int(n) * fewest(p, self.steps) for p, n in enumerate(self.counts))

    @property
    def active(self) -> int:
        return int(self.counts[1:].sum())

    @property
    def rate(self) -> float:
        """Spikes per neuron and time step."""
        return self.direct / max(1, self.steps * int(self.counts.sum()))

    def share(self, pattern: int) -> float:
        """Share of a pattern among the pairs that spike at all."""
        return int(self.counts[pattern]) / max(1, self.active)


def count(spikes: Tensor) -> np.ndarray:
    """Histogram [2^T] of the patterns of spikes [T, ...]."""
    steps = len(spikes)
    places = (1 << torch.arange(steps)).view(-1, *[1] * (spikes.ndim - 1))
    return torch.bincount((spikes.long() * places).sum(0).flatten(), minlength=1 << steps).numpy()


def network_patterns(network: IntegerNetwork, batches: Iterator[Tensor]) -> list[Patterns]:
    """Patterns of every layer of neurons, and of its map after the OR pool of one that reads it.

    batches: inputs of the network, see `reference.run`. Raises ValueError for more than 12 steps.
    """
    if network.steps > 12:
        raise ValueError(f"patterns are counted for up to 12 time steps, not {network.steps}")
    found: dict[tuple[int, bool], Patterns] = {}
    pools = {branch.source: branch.pool for layer in network.layers for branch in layer.branches
             if isinstance(branch, ConvBranch) and branch.pool is not None
             and branch.pool.kind == "max"}
    for inputs in batches:
        result = reference.run(network, inputs, record=True)
        images = inputs.shape[0 if network.input_bits else 1]
        for index, spikes in enumerate(result.spikes):
            maps = [(False, spikes)]
            if (pool := pools.get(index)) is not None and spikes.ndim == 5:
                pooled = functional.max_pool2d(spikes.flatten(0, 1).float(), pool.size, pool.stride,
                                               pool.padding)
                maps.append((True, pooled.unflatten(0, spikes.shape[:2])))
            for is_pooled, each in maps:
                entry = found.setdefault((index, is_pooled), Patterns(
                    network.layers[index].name, is_pooled, network.steps, 0,
                    np.zeros(1 << network.steps, np.int64)))
                entry.counts = entry.counts + count(each)
                entry.images += images
    return [found[key] for key in sorted(found)]
