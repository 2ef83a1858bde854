"""The core behind a UART: two pins are all it needs, for boards without a processor."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.core import Core
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.verilog import component_verilog
from quadfire.rtl.shell.line import IDLE, LineReceiver, LineTransmitter
from quadfire.rtl.shell.link import Link

__all__ = ["BAUD", "TOP", "Uart", "UartCore", "uart_verilog"]

TOP = "quadfire_uart"

#: The baud rate that a host tries where none is named.
BAUD = 1_000_000


class Uart(wiring.Component):
    """The serial line to packets and back, 8N1: `o` from rx, `i` to tx.

    clock, baud: in Hz; 4 clock cycles a bit at least, so 3 Mbaud need 12 MHz.
    buffer: symbols that the receive buffer holds (see `frames`). The host sends that many ahead:
    to keep the line busy it must hold what comes while an acknowledgement travels, a few
    milliseconds over USB.
    reset: the host has asked for it; a strobe that must reset what is behind.
    lost: the buffer had no room for a symbol, which no host that keeps the rules brings about.
    """

    def __init__(self, *, clock: float, baud: float, buffer: int):
        self.clock, self.baud = clock, baud
        self.receiver = LineReceiver(clock=clock, baud=baud)
        self.transmitter = LineTransmitter(clock=clock, baud=baud)
        self.link = Link(buffer=buffer)
        super().__init__({
            "rx": In(1, **IDLE),
            "tx": Out(1, **IDLE),
            "o": Out(stream.Signature(STREAM_WORD)),
            "i": In(stream.Signature(STREAM_WORD)),
            "reset": Out(1),
            "lost": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.line_receiver = receiver = self.receiver
        m.submodules.line_transmitter = transmitter = self.transmitter
        m.submodules.link = link = self.link
        m.d.comb += [
            receiver.rx.eq(self.rx),
            link.valid.eq(receiver.valid),
            link.byte.eq(receiver.data),
            link.error.eq(receiver.error),
            self.tx.eq(transmitter.tx),
            self.reset.eq(link.reset),
            self.lost.eq(link.lost),
        ]
        wiring.connect(m, link.tx, transmitter.i)
        wiring.connect(m, link.o, wiring.flipped(self.o))
        wiring.connect(m, link.i, wiring.flipped(self.i))
        return m


class UartCore(wiring.Component):
    """An accelerator whose tape comes in at `rx` and whose answers leave at `tx`.

    clock, baud, buffer, lost: as for `Uart`.
    Reset: by `rst`, or the host's RESET; the loaded network is forgotten.
    """

    def __init__(self, config: ArrayConfig, *, clock: float, baud: float = BAUD,
                 buffer: int = 2048):
        self.config = config
        self.uart = Uart(clock=clock, baud=baud, buffer=buffer)
        super().__init__({"rx": In(1, **IDLE), "tx": Out(1, **IDLE), "lost": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = self.uart
        core = Core(self.config, skid=False)
        m.submodules.core = placed(platform, "core", core, uart.reset)
        m.d.comb += [uart.rx.eq(self.rx), self.tx.eq(uart.tx), self.lost.eq(uart.lost)]
        wiring.connect(m, uart.o, core.i)
        wiring.connect(m, core.o, uart.i)
        return m


def uart_verilog(config: ArrayConfig, *, clock: float, baud: float = BAUD, buffer: int = 2048
                 ) -> str:
    """Verilog of module `quadfire_uart`: clk, rst (synchronous, high), rx, tx, lost."""
    return component_verilog(UartCore(config, clock=clock, baud=baud, buffer=buffer), TOP)
