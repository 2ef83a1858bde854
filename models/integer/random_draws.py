"""Random parts of networks: neurons, weights, shifts and biases that an array can hold.

numpy only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from quadfire.models.integer.branches import IDENTITY_BITS
from quadfire.models.integer.pairs import Pair
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import Neuron, round_shift

__all__ = ["Draw", "random_neuron", "random_weight"]


def random_neuron(rng: np.random.Generator, config: ArrayConfig, *, kind: str | None = None,
                  soft: bool | None = None) -> Neuron:
    """A neuron that `config` can run; half of its values are ordinary, half anything or extreme.

    kind: "qif", "lif" or "if". kind and soft are drawn where they are not given.
    """
    kind = kind or str(rng.choice(["qif", "lif", "if"]))
    soft = bool(rng.integers(2)) if soft is None else soft
    one = 1 << config.fraction_bits

    def pick(low: int, high: int, usual: int) -> int:
        """A value in low..high: near `usual`, or at an end, or anywhere."""
        near = int(np.clip(usual + rng.integers(-one // 8, one // 8 + 1), low, high))
        return int(rng.choice([near, near, near, low, high,
                               int(rng.integers(low, high + 1))]))

    lo = pick(config.state_min, -1, config.state_min)
    hi = pick(1, config.state_max, config.state_max)
    theta = pick(lo + 1, hi, one // 2)
    return Neuron(
        square=kind == "qif", soft=soft,
        factor={"qif": 0, "if": one}.get(kind, pick(config.state_min, config.state_max, one // 2)),
        theta=theta, lo=lo, hi=hi, initial=pick(lo, hi, 0), reset=pick(lo, hi, 0),
        delta=pick(0, min(theta - lo, config.state_max), theta) if soft else 0)


def random_weight(rng: np.random.Generator, outputs: int, inputs: int, bits: int,
                  largest: int) -> np.ndarray:
    """Weights int8 [outputs, inputs]; a channel is random or extreme.

    Extreme channels are all highest, all lowest, all zero, or lowest and highest in turn. The
    magnitudes of a channel add up to at most `largest`.
    """
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    weight = rng.integers(low, high + 1, (outputs, inputs))
    style = rng.integers(8, size=outputs)
    for index, value in enumerate((high, low, 0)):
        weight[style == index] = value
    weight[style == 3] = np.where(np.arange(inputs) % 2, low, high)
    total = np.maximum(np.abs(weight).sum(1, keepdims=True), 1)
    return np.where(total > largest, np.trunc(weight * (largest / total)), weight).astype(np.int8)


class Draw:
    """Draws what the layers of a network need, from one generator and for one array.

    weight_bits, kind and soft are fixed where they are given, else drawn for every layer.
    pairs: probability that what is drawn for the rows is drawn again for the columns.
    """

    def __init__(self, rng: np.random.Generator, config: ArrayConfig, *, weight_bits: int | None,
                 kind: str | None, soft: bool | None, pairs: float = 0.0):
        self.rng, self.config, self.pairs = rng, config, pairs
        self._weight_bits, self.kind, self.soft = weight_bits, kind, soft
        #: Largest magnitude of a current.
        self.bound = (1 << (config.current_bits - 1)) - 1
        self.highest_shift = 31 - config.fraction_bits
        # An identity weight shares a row of a group's weight memory with the number of its lane.
        row = config.group_lanes * config.weight_bits - (config.group_lanes - 1).bit_length()
        self.identity_limit = (1 << (min(row, IDENTITY_BITS) - 1)) - 1

    def steps(self) -> int:
        """Time steps, 1..8 and no more than the array has slots."""
        return int(self.rng.integers(1, min(8, self.config.slots) + 1))

    def input_bits(self) -> int:
        """0 for spikes, or bits of pixels, no more than the array has slots."""
        most = min(8, self.config.slots)
        return int(self.rng.choice([0, most, int(self.rng.integers(1, most + 1))]))

    def weight_bits(self) -> int:
        """4 or 8, no more than the array has."""
        return self._weight_bits or int(self.rng.choice(
            [b for b in (4, 8) if b <= self.config.weight_bits]))

    def neuron(self) -> Neuron:
        """See `random_neuron`."""
        return random_neuron(self.rng, self.config, kind=self.kind, soft=self.soft)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def pair(self, one: Callable[[int], int], sizes: Pair = (0, 0)) -> Pair:
        """`one` of the rows' size and of the columns'; mostly a single draw where they are equal.
        """
        rows, columns = sizes
        first = one(rows)
        again = rows != columns or (self.pairs > 0 and self.chance(self.pairs))
        return first, one(columns) if again else first

    def size(self, largest: int) -> int:
        """A size in 1..largest whose logarithm is uniform."""
        return int(np.exp(self.rng.uniform(0, np.log(largest + 1))))

    def largest_sum(self, value: int) -> int:
        """Largest magnitude of a sum of weights, for inputs of at most `value`."""
        return min((1 << (self.config.accumulator_bits - 1)) - 1,
                   (self.bound << self.highest_shift) // value)

    def channel(self, acc: int, value: int) -> tuple[int, int]:
        """(shift, bias) of a channel whose sums reach acc * value; |J| stays within `bound`."""
        rng, one = self.rng, 1 << self.config.fraction_bits
        usual = (acc * value).bit_length() - self.config.fraction_bits - int(rng.integers(-1, 3))
        anything = int(rng.integers(-self.config.fraction_bits, self.highest_shift + 1))
        shift = int(rng.choice([usual, usual, usual, anything]))
        shift = min(max(shift, -self.config.fraction_bits), self.highest_shift)
        while round_shift(acc * value, shift) > self.bound:
            shift += 1
        room = self.bound - round_shift(acc * value, shift)
        near = int(rng.integers(-one, one + 1))
        return shift, int(np.clip(rng.choice([near, near, near, 0, -room, room]), -room, room))

    def channels(self, totals: np.ndarray, value: int) -> dict[str, Any]:
        """shift and bias of a layer; `channel` of every one of `totals`."""
        shift, bias = np.array([self.channel(int(acc), value) for acc in totals]).T
        return {"shift": shift.astype(np.int8), "bias": bias.astype(np.int32)}
