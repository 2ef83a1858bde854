"""Pairs (rows, columns): a stride, a padding or the size of a window. numpy only.

A pair is stored as a tuple. Where its two numbers are equal, one number may stand for it: in the
arguments of a class, in a file, in what a command prints.
"""

import reprlib
from typing import Any, TypeVar

from quadfire.models.integer.checks import NetworkError, check_integer

__all__ = ["Pair", "PairField", "as_pair", "check_pair", "number_or_pair"]

#: (rows, columns)
Pair = tuple[int, int]
_Value = TypeVar("_Value", int, bool)


def as_pair(value: _Value | tuple[_Value, _Value]) -> tuple[_Value, _Value]:
    """The pair that one number stands for; a pair as it is."""
    return value if isinstance(value, tuple) else (value, value)


def number_or_pair(pair: tuple[_Value, _Value]) -> _Value | tuple[_Value, _Value]:
    """One number where both are equal, else the pair."""
    return pair[0] if pair[0] == pair[1] else pair


def check_pair(name: str, pair: Pair, low: int, highest: Pair) -> None:
    """Raise NetworkError unless pair is two ints, each from low to the `highest` of its axis."""
    if len(pair) != 2:
        raise NetworkError(f"{name} must be an integer or a pair (rows, columns), not "
                           f"{reprlib.repr(pair)}")
    both = pair[0] == pair[1] and highest[0] == highest[1]
    for axis, value, high in zip(("rows", "columns"), pair, highest, strict=True):
        check_integer(name if both else f"{name}, {axis},", value, low, high)


class PairField:
    """A field of a frozen dataclass that takes a number or a pair, and gives the pair.

    default: what the field has where it is not given; None: it must be given.
    """

    def __init__(self, default: int | None = None):
        self.default = default

    def __set_name__(self, owner: type, name: str):
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Pair:
        if instance is not None:
            return instance.__dict__[self.name]
        if self.default is None:        # asked for by `dataclass`: there is no default
            raise AttributeError(f"{self.name} has no default")
        return as_pair(self.default)

    def __set__(self, instance: Any, value: int | Pair) -> None:
        instance.__dict__[self.name] = as_pair(value)
