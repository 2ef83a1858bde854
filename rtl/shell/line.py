"""The bits of a serial line: 8 data bits, no parity, 1 stop bit, least significant bit first."""

from typing import Any

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["IDLE", "LineReceiver", "LineTransmitter", "bit_period"]

#: Of a pin: high while nothing is sent.
IDLE: Any = {"init": 1}

#: Fractional bits of the length of a bit, which is counted in clock cycles.
FRACTION = 6

#: Fewest clock cycles a bit: with them a receiver bears 2 % of difference between the two clocks.
LEAST_CYCLES = 4


def bit_period(clock: float, baud: float) -> int:
    """Clock cycles a bit, in units of 2^-FRACTION; ValueError where too few or too many."""
    period = round(clock / baud * (1 << FRACTION)) if baud > 0 else 0
    if not LEAST_CYCLES << FRACTION <= period < 1 << 20:
        raise ValueError(f"baud must give {LEAST_CYCLES} to {(1 << 20 - FRACTION) - 1} cycles a "
                         f"bit of the clock of {clock:g} Hz, not {baud!r}")
    return period


class _Timer:
    """Strobes `end` every `period`; `start(first)` begins anew, the first one after `first`.

    Bits end at the cycle nearest to their exact end, so errors do not add up.
    """

    def __init__(self, m: Module, period: int):
        self.m, self.period = m, period
        self.left = Signal(range(2 * period), name="time_left")
        self.end = Signal(name="bit_end")
        one = 1 << FRACTION
        m.d.comb += self.end.eq(self.left < one + one // 2)
        m.d.sync += self.left.eq(Mux(self.end, self.left + period - one, self.left - one))

    def start(self, first: int):
        """In this cycle: the first strobe comes `first` after the next clock edge."""
        self.m.d.sync += self.left.eq(first)


class LineReceiver(wiring.Component):
    """valid: a byte was received, `data`. error: a byte without a stop bit, which is dropped.

    After an error the line must go high before the next byte: a break is one error. A start bit
    that is over by its middle is none.
    Tolerance: with N cycles a bit, (0.5 - 1 / N) / 9.5 of difference between the clocks.
    """

    def __init__(self, *, clock: float, baud: float):
        self.period = bit_period(clock, baud)
        super().__init__({
            "rx": In(1, **IDLE),
            "valid": Out(1),
            "data": Out(8),
            "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        timer = _Timer(m, self.period)
        count = Signal(range(8))
        m.d.sync += [self.valid.eq(0), self.error.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                timer.start((self.period - (1 << FRACTION)) // 2)   # the edge was half a cycle ago
                with m.If(~rx):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += count.eq(0)
                with m.If(timer.end):
                    m.next = "BITS"
                    with m.If(rx):
                        m.next = "IDLE"
            with m.State("BITS"):
                with m.If(timer.end):
                    m.d.sync += [self.data.eq(Cat(self.data[1:], rx)), count.eq(count + 1)]
                    with m.If(count == 7):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(timer.end):
                    m.d.sync += [self.valid.eq(rx), self.error.eq(~rx)]
                    m.next = "IDLE"
                    with m.If(~rx):
                        m.next = "HIGH"
            with m.State("HIGH"):
                with m.If(rx):
                    m.next = "IDLE"
        return m


class LineTransmitter(wiring.Component):
    """Sends bytes; the line is high between them. II: 10 bits."""

    def __init__(self, *, clock: float, baud: float):
        self.period = bit_period(clock, baud)
        super().__init__({
            "i": In(stream.Signature(8)),
            "tx": Out(1, **IDLE),
        })

    def elaborate(self, platform):
        m = Module()
        timer = _Timer(m, self.period)
        bits = Signal(9, init=0x1FF)     # still to send, the stop bit last
        count = Signal(range(11))        # bits of a byte whose end is still to come
        m.d.comb += self.i.ready.eq(count == 0)
        with m.If(self.i.ready):
            timer.start(self.period)
            with m.If(self.i.valid):
                m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.i.payload, C(1, 1))), count.eq(10)]
        with m.Elif(timer.end):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], C(1, 1))), count.eq(count - 1)]
        return m
