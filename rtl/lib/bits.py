"""Questions about the set bits of a word."""

from amaranth.hdl import C, Cat, Value

__all__ = ["several", "split_lowest"]


def several(bits: Value) -> Value:
    """Whether two or more bits are set.

    Up to eight bits, clear the lowest set bit and look at the rest. Wider words take a tree, which
    synthesis does not find in a long subtraction.
    """
    return (bits & (bits - 1)).any() if len(bits) <= 8 else _several_in_tree(bits)


def _several_in_tree(bits: Value) -> Value:
    if len(bits) == 1:
        return C(0)
    low, high = bits[:len(bits) // 2], bits[len(bits) // 2:]
    return _several_in_tree(low) | _several_in_tree(high) | (low.any() & high.any())


def split_lowest(bits: Value) -> tuple[Value, Value]:
    """The lowest set bit alone, and all the others."""
    lower = Cat(bits[:index].any() for index in range(len(bits)))
    return bits & ~lower, bits & lower
