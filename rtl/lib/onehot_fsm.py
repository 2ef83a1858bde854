"""One-hot FSM: one flip-flop per state, so what depends on a state starts at a register."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

from amaranth import *
from amaranth.hdl import ValueLike

__all__ = ["OneHotFsm"]


class OneHotFsm:
    """Like `m.FSM`, with one flip-flop per state.

    All states are named when the machine is made; it starts in the first one.

        states = OneHotFsm(m, ["IDLE", "RUN"])
        with states.state("IDLE"):
            with m.If(start):
                states.next = "RUN"
        states.finish()

    Raises AssertionError for a state that is described twice, or never.
    """

    def __init__(self, m: Module, names: Sequence[str]):
        self.m, self.names = m, list(names)
        self.now = Signal(len(self.names), init=1, name="state")
        self._next = Signal(len(self.names), name="next_state")
        self._following: dict[str, Signal] = {}
        self._open = ""

    def at(self, name: str) -> Value:
        """Whether the state is `name`."""
        return self.now[self.names.index(name)]

    def after(self, name: str) -> Value:
        """Whether the state will be `name` in the next cycle."""
        return self._next[self.names.index(name)]

    @contextmanager
    def state(self, name: str) -> Iterator[None]:
        """What happens in a state. Without `next`, it stays."""
        assert name not in self._following, f"state {name} is there twice"
        self._following[name] = Signal(len(self.names), name=f"after_{name}")
        self._open = name
        with self.m.If(self.at(name)):
            self.next = name
            yield
        self._open = ""

    def _go(self, name: str):
        self.m.d.comb += self._following[self._open].eq(1 << self.names.index(name))

    next = property(fset=_go, doc="The next state. It can only be set, inside of `state`.")

    def branch(self, conditions: Mapping[str, ValueLike]):
        """Go to the state whose condition holds. Exactly one of them must hold."""
        self.m.d.comb += self._following[self._open].eq(
            Cat(conditions.get(name, C(0)) for name in self.names))

    def finish(self):
        """Close the machine after its last state."""
        assert set(self._following) == set(self.names), "a state is named that is not there"
        self.m.d.comb += self._next.eq(reduce(operator.or_, self._following.values()))
        self.m.d.sync += self.now.eq(self._next)
