"""The design of a board: PLL, reset, pins, and the generated Verilog of the core."""

from amaranth import *
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from quadfire.rtl.boards.pll import ecp5_pll
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.shell.uart import TOP, uart_verilog

__all__ = ["BoardTop"]


class BoardTop(Elaboratable):
    """The core behind a UART, with its clock from a PLL. LED 0 is lit once a symbol was lost.

    | argument | meaning |
    |---|---|
    | config | the array |
    | pll | a function of `quadfire.rtl.boards.pll` |
    | clock, baud | in Hz |
    | buffer | receive buffer of the UART, in symbols |
    """

    def __init__(self, config: ArrayConfig, *, pll, clock: float, baud: float, buffer: int):
        self.config, self.pll, self.clock = config, pll, clock
        self.verilog = uart_verilog(config, clock=clock, baud=baud, buffer=buffer)

    def elaborate(self, platform):
        m = Module()
        platform.add_file(f"{TOP}.v", self.verilog)
        reference = platform.default_clk_frequency
        clock_pin = platform.request(platform.default_clk, dir="-")
        clock, locked = Signal(name="pll_clock"), Signal(name="pll_locked")
        if self.pll is ecp5_pll:
            m.submodules.clock_buffer = buffer = io.Buffer(io.Direction.Input, clock_pin)
            self.pll(m, buffer.i, clock, locked, reference, self.clock)
        else:
            self.pll(m, clock_pin.io, clock, locked, reference, self.clock)
        m.domains.sync = sync = ClockDomain()
        m.d.comb += sync.clk.eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        platform.add_clock_constraint(clock, self.clock)

        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.Buffer(io.Direction.Output, uart.tx)
        m.submodules.led = led = io.Buffer(io.Direction.Output, platform.request("led", 0, dir="-"))
        m.submodules.core = Instance(TOP, i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=rx.i,
                                     o_tx=tx.o, o_lost=led.o)
        return m
