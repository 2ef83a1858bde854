"""The UART shell: the core behind two pins, for boards without a processor."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.core import Core
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.shell.link import Link
from quadfire.rtl.shell.link_bits import IDLE, BitReceiver, BitTransmitter
from quadfire.rtl.verilog import component_verilog

__all__ = ["BAUD", "TOP", "Uart", "UartCore", "uart_verilog"]

TOP = "quadfire_uart"

#: Baud rate where none is named, here and in the host's software.
BAUD = 1_000_000


class Uart(wiring.Component):
    """The device's end of the link: pins on one side, packets of words on the other.

    | argument | meaning |
    |---|---|
    | clock, baud | in Hz; at least 4 clock cycles per bit, so 3 Mbaud needs 12 MHz |
    | buffer | size of the receive buffer in symbols (see `quadfire.rtl.contract.serial_protocol`) |

    | port | shape | meaning |
    |---|---|---|
    | rx, tx | 1 | the pins, 8N1 |
    | o | stream of STREAM_WORD | packets from the host |
    | i | stream of STREAM_WORD | packets to the host |
    | reset | 1 | strobe: the host asks for a reset; whatever stands behind must be reset by it |
    | lost | 1 | a symbol found the buffer full; a host that keeps to the protocol never causes it |

    The host sends up to a window ahead of the last acknowledgement. To keep the link busy, the
    buffer must hold what arrives while an acknowledgement travels: some milliseconds over USB.
    """

    def __init__(self, *, clock: float, baud: float, buffer: int):
        self.clock, self.baud = clock, baud
        self.receiver = BitReceiver(clock=clock, baud=baud)
        self.transmitter = BitTransmitter(clock=clock, baud=baud)
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
    """The core with a `Uart`: the tape comes in at `rx`, answers leave at `tx`.

    Arguments and `lost` are those of `Uart`. Reset: by `rst`, or by the host's RESET, which resets
    link and core; the loaded network is forgotten.
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
    """Verilog of module `quadfire_uart`; arguments as for `Uart`.

    Its ports: clk, rst (synchronous, active high), rx, tx, lost.
    """
    return component_verilog(UartCore(config, clock=clock, baud=baud, buffer=buffer), TOP)
