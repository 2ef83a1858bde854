"""Pass limit: ends a pass that takes more cycles than the host allows."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.chain import probe_latency
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.control.pass_timing import backlog_limit

__all__ = ["PassLimit"]


class PassLimit(wiring.Component):
    """Counts down while a pass runs; at zero the pass is over.

    Then what makes commands is reset (`end`). What the array was told before still happens, so
    every tile of probe words that has begun is complete. After that, the array is reset (`clear`):
    nothing of the pass is left in it.

    | port | meaning |
    |---|---|
    | `limited`, `limit` | passes may take so many cycles; not `limited`: any number |
    | `start`, `busy` | a pass starts, in the cycle before it is busy |
    | `end` | resets what makes commands; for one cycle |
    | `settling` | the pass is over, but not for the array |
    | `clear` | resets the array; for one cycle |

    A pass of `limit` cycles is let be, one of `limit + 2` is ended. Reset: no pass runs.
    """

    @staticmethod
    def settle_of(config: ArrayConfig) -> int:
        """Cycles in which all that the array was told has happened, and more."""
        return 2 * (backlog_limit(config) + config.readout_period * 3 + probe_latency(config)) + 64

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "limited": In(1),
            "limit": In(32),
            "start": In(1),
            "busy": In(1),
            "end": Out(1),
            "settling": Out(1),
            "clear": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        left = Signal(33, reset_less=True)      # its last bit: less than none
        counts, none = Signal(), left[-1]
        m.d.sync += [self.end.eq(0), self.clear.eq(self.settling & none & ~self.clear)]
        with m.If(self.start):
            m.d.sync += [left.eq(self.limit), counts.eq(self.limited)]
        with m.Elif(counts & self.busy & none):
            m.d.sync += [left.eq(self.settle_of(self.config)), counts.eq(0), self.end.eq(1),
                         self.settling.eq(1)]
        with m.Elif(self.busy | self.settling):
            m.d.sync += left.eq(left - 1)
        with m.If(self.clear):
            m.d.sync += self.settling.eq(0)
        return m
