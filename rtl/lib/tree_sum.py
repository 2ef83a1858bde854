"""Sums as balanced trees. Python's `sum()` makes a chain, and every link is one bit wider."""

from collections.abc import Iterable

from amaranth.hdl import Value, ValueLike

__all__ = ["tree_sum"]


def tree_sum(values: Iterable[ValueLike]) -> Value:
    """The exact sum of `values`, as a balanced tree of adders.

    Its width grows by one bit per level. Raises ValueError without a value.
    """
    terms = [Value.cast(value) for value in values]
    if not terms:
        raise ValueError("tree_sum needs at least one value")
    while len(terms) > 1:
        terms = [terms[i] + terms[i + 1] if i + 1 < len(terms) else terms[i]
                 for i in range(0, len(terms), 2)]
    return terms[0]
