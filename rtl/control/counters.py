"""Counters: how often each of eight strobes was up, summed in a memory."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.tape import COUNTERS
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.lib.strobes import registered

__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counts all `strobes` at once.

    Every strobe has a small counter. Each cycle one of them, in turn, is added to its 32-bit sum in
    the memory and starts again. The memory is written 3 cycles after it was read (2 if not
    registered), never where it is read.

    | port | meaning |
    |---|---|
    | `strobes` | one bit a counter |
    | `hold` | do not count; after some cycles of it the sums are `settled` |
    | `clear` | set all counters to zero |
    | `word`, `turn` | the sums, one a cycle in turn |

    `word` is the sum whose number `turn` was a cycle earlier.

    registered: a further register behind the memory and before the strobes, for a fast clock.

    Latency: 9 cycles from `hold` to `settled`, 10 if registered; more while sums are cleared.
    """

    count = len(COUNTERS)

    def __init__(self, *, registered: bool = True):
        assert self.count == 8
        self.registered = registered
        super().__init__({
            "strobes": In(self.count),
            "hold": In(1),
            "clear": In(1),
            "settled": Out(1),
            "turn": Out(range(self.count)),
            "word": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.sum_mem = memory = Memory(shape=32, depth=self.count, init=[], attrs=BLOCK)
        read, write = memory.read_port(), memory.write_port()
        turns = range(self.count)
        held, strobes = Signal(), Signal(self.count)
        came = "sync" if self.registered else "comb"
        m.d.sync += [held.eq(registered(m, self.hold, "came_hold", came)),
                     strobes.eq(registered(m, self.strobes, "came_strobes", came))]

        # s0: read, new ones taken. s1: the sum is there. s2: registered. s3: added, written.
        s0_turn, s1_turn, s2_turn, s3_turn = (Signal(turns, name=f"s{k}_turn") for k in range(4))
        s2_new = Signal(range(2 * self.count + 1))
        s3_sum = Signal(32, reset_less=True)
        empty = Signal(range(self.count + 1), init=self.count)      # sums still to be set to zero
        s2_word = Signal(32, reset_less=True)
        s2 = m.d.sync if self.registered else m.d.comb
        m.d.comb += [
            self.turn.eq(s1_turn if self.registered else s0_turn),
            self.word.eq(s2_word),
            read.addr.eq(s0_turn),
            write.addr.eq(s3_turn),
            write.data.eq(s3_sum),
            write.en.eq(1),
        ]
        m.d.sync += [s0_turn.eq(s0_turn + 1), s1_turn.eq(s0_turn), s3_turn.eq(s2_turn),
                     s3_sum.eq(s2_word + s2_new)]
        small = [Signal.like(s2_new, name=f"small_{name}") for name in COUNTERS]
        up = Signal(self.count)
        m.d.comb += up.eq(strobes & ~held.replicate(self.count))
        # Whose turn it is, one bit each. A counter is not taken while s3 would drop it.
        at, takes = Signal(self.count, init=1), Signal()
        m.d.sync += [at.eq(at.rotate_left(1)),
                     takes.eq(~self.clear & (empty <= 2 + self.registered))]
        s1_small, s1_up = Signal.like(s2_new), Signal()
        m.d.sync += [s1_small.eq(Array(small)[s0_turn]), s1_up.eq(up.bit_select(s0_turn, 1))]
        s2 += [s2_turn.eq(s1_turn), s2_word.eq(read.data), s2_new.eq(s1_small + s1_up)]
        for number, counter in enumerate(small):
            with m.If(up[number]):
                m.d.sync += counter.eq(counter + 1)
            with m.If(self.clear | (at[number] & takes)):
                m.d.sync += counter.eq(0)
        with m.If(empty != 0):
            m.d.sync += [s3_sum.eq(0), empty.eq(empty - 1)]
        with m.If(self.clear):
            m.d.sync += empty.eq(self.count)

        wait = Signal(range(self.count + 1), init=self.count)
        m.d.comb += self.settled.eq(wait == 0)
        with m.If(~held | (empty != 0)):
            m.d.sync += wait.eq(self.count)
        with m.Elif(~self.settled):
            m.d.sync += wait.eq(wait - 1)
        return m
