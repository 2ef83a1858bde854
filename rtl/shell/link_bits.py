"""Bits of the link: a UART's receiver and transmitter.

A byte is a start bit (low), 8 data bits, least significant first, and a stop bit (high); there is
no parity bit (8N1). The pin is high while nothing is sent. The length of a bit is a fixed-point
number of clock cycles, unsigned Q14.6, so the clock need not be a multiple of the baud rate.
"""

from typing import Any

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["IDLE", "BitReceiver", "BitTransmitter", "bit_period"]

#: Member options of a pin that is high from power-up on.
IDLE: Any = {"init": 1}

#: Fractional bits of the length of a bit.
FRACTION = 6

#: Fewest clock cycles per bit. With 4, the receiver tolerates clocks that differ by 2 %.
LEAST_CYCLES = 4


def bit_period(clock: float, baud: float) -> int:
    """Length of a bit in units of 2^-FRACTION clock cycles.

    clock, baud: in Hz. Raises ValueError for fewer than LEAST_CYCLES cycles per bit, or more than
    the timer can count.
    """
    period = round(clock / baud * (1 << FRACTION)) if baud > 0 else 0
    if not LEAST_CYCLES << FRACTION <= period < 1 << 20:
        raise ValueError(f"baud must give {LEAST_CYCLES} to {(1 << 20 - FRACTION) - 1} cycles a "
                         f"bit of the clock of {clock:g} Hz, not {baud!r}")
    return period


class _BitTimer:
    """Strobes `end` once per `period`, in the cycle nearest to the exact end of each bit.

    The fraction is carried into the next bit, so rounding errors do not add up. It adds its logic
    to the module of its user.
    """

    def __init__(self, m: Module, period: int):
        self.m, self.period = m, period
        self.left = Signal(range(2 * period), name="time_left")
        self.end = Signal(name="bit_end")
        one = 1 << FRACTION
        m.d.comb += self.end.eq(self.left < one + one // 2)
        m.d.sync += self.left.eq(Mux(self.end, self.left + period - one, self.left - one))

    def start(self, first: int):
        """Restart the timer in this cycle: `end` comes `first` after the next clock edge."""
        self.m.d.sync += self.left.eq(first)


class BitReceiver(wiring.Component):
    """Receives bytes from a pin.

    | port | shape | meaning |
    |---|---|---|
    | rx | 1 | the pin, asynchronous |
    | valid | 1 | strobe: a byte has been received |
    | data | 8 | that byte, while `valid` |
    | error | 1 | strobe: the stop bit was missing, the byte is dropped |

    Every bit is sampled in its middle. A start bit that has ended by then is a glitch and starts
    no byte. After an error the pin must go high before the next byte, so a break is one error.
    Tolerance: with N cycles per bit, the clocks may differ by (0.5 - 1 / N) / 9.5.
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
        timer = _BitTimer(m, self.period)
        count = Signal(range(8))
        m.d.sync += [self.valid.eq(0), self.error.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                # to the middle of the start bit; on average the edge was half a cycle ago
                timer.start((self.period - (1 << FRACTION)) // 2)
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


class BitTransmitter(wiring.Component):
    """Sends the bytes of stream `i` to pin `tx`, which is high between them.

    II: 10 bits. `i` is ready as soon as the stop bit of the byte before has ended.
    """

    def __init__(self, *, clock: float, baud: float):
        self.period = bit_period(clock, baud)
        super().__init__({
            "i": In(stream.Signature(8)),
            "tx": Out(1, **IDLE),
        })

    def elaborate(self, platform):
        m = Module()
        timer = _BitTimer(m, self.period)
        bits = Signal(9, init=0x1FF)     # bits still to send, the stop bit last
        count = Signal(range(11))        # bits that have not ended yet
        m.d.comb += self.i.ready.eq(count == 0)
        with m.If(self.i.ready):
            timer.start(self.period)
            with m.If(self.i.valid):
                m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.i.payload, C(1, 1))), count.eq(10)]
        with m.Elif(timer.end):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], C(1, 1))), count.eq(count - 1)]
        return m
