"""Accumulators of a cell, or of half a cell: sums in a small memory, one adder per lane."""

from typing import Any

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import cell_control_layout
from quadfire.rtl.lib.memory_styles import small

__all__ = ["Accumulators", "accumulate"]


def accumulate(m: Module, config: ArrayConfig, control_in: Any, control: Any, weights: Any,
               sums_in: Any, *, last: Value) -> Any:
    """Builds acc[slot] = (0, acc[slot] or neighbour) + weight for some lanes, see `Cell`.

    | argument     | meaning                                     |
    |--------------|---------------------------------------------|
    | `control_in` | the command                                 |
    | `control`    | the same command one cycle later            |
    | `weights`    | its weights [lane], together with `control` |
    | `sums_in`    | sums of the previous bank [lane]            |
    | `last`       | whether the cell is in the last bank        |

    Returns the sums for the next bank [lane].
    """
    sums = sums_in.shape()
    m.submodules.slot_mem = memory = Memory(
        shape=sums, depth=max(config.slots, 2), init=[], attrs=small(config))
    new = Signal(sums)
    own = Signal(sums)      # of the slot before this command, or what the next command loads
    if config.lut_ram:
        read, write = memory.read_port(domain="comb"), memory.write_port()
        slot = control.slot
    else:
        m.domains.fall = fall = ClockDomain(clk_edge="neg", local=True, reset_less=True)
        m.d.comb += fall.clk.eq(ClockSignal())
        read, write = memory.read_port(), memory.write_port(domain="fall")
        slot = control_in.slot
    if config.running_sums:
        slot = control.read
        begun, added = _running(m, control_in, own, new)
    else:
        begun, added = Signal(sums), weights
        m.d.comb += begun.eq(Mux(control.fresh, 0, own))
    m.d.comb += [read.addr.eq(slot), own.eq(read.data), write.addr.eq(control.slot),
                 write.data.eq(new), write.en.eq(control.write)]
    for lane in range(sums.length):
        base, more = (Signal(signed(config.accumulator_bits), name=f"{name}_{lane}")
                      for name in ("base", "more"))
        m.d.comb += [
            base.eq(begun[lane] | sums_in[lane]),
            more.eq(weights[lane] if added is weights else weights[lane] | added[lane]),
            new[lane].eq(base + more),
        ]

    left = Signal(sums, reset_less=True)
    rest = Signal(sums)     # what leaves after a shift
    quiet = Signal(init=1)
    m.d.sync += [quiet.eq(~control_in.shift), left.eq(Mux(quiet, rest, own))]
    if not config.readout_queue:
        with m.If(last):
            m.d.comb += rest.eq(left.as_value() >> config.accumulator_bits)
    return left


def _running(m: Module, control_in: Any, own: Any, new: Any) -> tuple:
    """The running sums, and the sums just loaded, which are zero at all other times."""
    running, loaded = (Signal(own.shape(), name=name, reset_less=True)
                       for name in ("running", "loaded"))
    m.d.sync += [
        loaded.eq(Mux(control_in.load, own, 0)),
        running.eq(Mux(control_in.fresh, 0, new)),
    ]
    return running, loaded


class Accumulators(wiring.Component):
    """Half a cell with a command register of its own, so that no address travels far.

    | port         | shape                     | meaning                      |
    |--------------|---------------------------|------------------------------|
    | `control_in` | in, `cell_control_layout` | the command                  |
    | `weights`    | in, [lanes] signed        | its weights, one cycle later |
    | `sums_in`    | in, [lanes] signed(A)     | sums of the previous bank    |
    | `sums_out`   | out, [lanes] signed(A)    | sums for the next bank       |

    Latency: `Cell.latency`. II: 1. Backpressure: none. Overflow: wraps, as in `Cell`.
    Reset: nothing. A sum that a reset has spoilt is not read, because the first event of a slot
    starts it.
    """

    def __init__(self, config: ArrayConfig, lanes: int, weight_bits: int):
        self.config = config
        sums = data.ArrayLayout(signed(config.accumulator_bits), lanes)
        super().__init__({
            "control_in": In(cell_control_layout(config)),
            "weights": In(data.ArrayLayout(signed(weight_bits), lanes)),
            "sums_in": In(sums),
            "sums_out": Out(sums),
        })

    def elaborate(self, platform):
        m = Module()
        command = Signal(cell_control_layout(self.config), reset_less=True)
        m.d.sync += command.eq(self.control_in)
        m.d.comb += self.sums_out.eq(accumulate(
            m, self.config, self.control_in, command, self.weights, self.sums_in, last=C(0)))
        return m
