"""State machines with a flip-flop per state: what depends on a state starts at a register."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

from amaranth import *
from amaranth.hdl import ValueLike

__all__ = ["OneHotFsm"]


class OneHotFsm:
    """As `m.FSM`, but for the encoding and that all states are named at once, the first one first.

        states = OneHotFsm(m, ["IDLE", "RUN"])
        with states.state("IDLE"):
            with m.If(start):
                states.next = "RUN"
        states.finish()

    at(name): the state is `name`. after(name): it is in the next cycle.
    """

    def __init__(self, m: Module, names: Sequence[str]):
        self.m, self.names = m, list(names)
        self.now = Signal(len(self.names), init=1, name="state")
        self._next = Signal(len(self.names), name="next_state")
        self._following: dict[str, Signal] = {}
        self._open = ""

    def at(self, name: str) -> Value:
        return self.now[self.names.index(name)]

    def after(self, name: str) -> Value:
        return self._next[self.names.index(name)]

    @contextmanager
    def state(self, name: str) -> Iterator[None]:
        assert name not in self._following, f"state {name} is there twice"
        self._following[name] = Signal(len(self.names), name=f"after_{name}")
        self._open = name
        with self.m.If(self.at(name)):
            self.next = name
            yield
        self._open = ""

    @property
    def next(self) -> str:
        raise AttributeError("`next` can only be set")

    @next.setter
    def next(self, name: str):
        self.m.d.comb += self._following[self._open].eq(1 << self.names.index(name))

    def branch(self, conditions: Mapping[str, ValueLike]):
        """Go where the condition holds; one of them does, no more."""
        self.m.d.comb += self._following[self._open].eq(
            Cat(conditions.get(name, C(0)) for name in self.names))

    def finish(self):
        """After the last state."""
        assert set(self._following) == set(self.names), "a state is named that is not there"
        self.m.d.comb += self._next.eq(reduce(operator.or_, self._following.values()))
        self.m.d.sync += self.now.eq(self._next)
