"""Checks of one number or one array, each with a message that names it."""

import numpy as np

__all__ = ["NetworkError", "check_array", "check_bits", "check_integer"]


class NetworkError(ValueError):
    """An integer network is invalid; the message says where and why."""


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Raise NetworkError unless value is an int in low..high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise NetworkError(f"{name} must be an integer in {low}..{high}, not {value!r}")


def check_array(name: str, array: object, dtype: type, shape: tuple[int, ...]) -> None:
    """Raise NetworkError unless array is a numpy array of this type and shape."""
    if not isinstance(array, np.ndarray):
        raise NetworkError(f"{name} must be an array, not {type(array).__name__}")
    if array.dtype != dtype:
        raise NetworkError(f"{name} must be {np.dtype(dtype).name}, not {array.dtype.name}")
    if array.shape != shape:
        raise NetworkError(f"{name} must have shape {[*shape]}, not {[*array.shape]}")


def check_bits(name: str, array: np.ndarray, bits: int) -> None:
    """Raise NetworkError unless every value fits in `bits` signed bits."""
    limit = 1 << (bits - 1)
    bad = np.argwhere((array < -limit) | (array >= limit))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise NetworkError(f"{name} {[*index]} = {array[index]} is outside of {bits} signed bits")
