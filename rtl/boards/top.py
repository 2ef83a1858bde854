"""The design of a board: a PLL, a reset, the UART's pins, and the generated Verilog of the core."""

from amaranth import *
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.shell.uart import TOP, uart_verilog

__all__ = ["BoardTop", "ecp5_pll", "ice40_pll"]


def ecp5_pll(m: Module, pin: Value, clock: Signal, locked: Signal, reference: float,
             frequency: float) -> None:
    """EHXPLLL from `reference` to `frequency`, in Hz; its oscillator runs at 400 to 800 MHz."""
    for divide in range(1, 9):
        for output in range(1, 129):
            multiply = round(frequency * divide / reference)
            if (3.125e6 <= reference / divide and 400e6 <= frequency * output <= 800e6
                    and abs(reference * multiply / divide - frequency) < 1):
                m.submodules.pll = Instance(
                    "EHXPLLL", a_FREQUENCY_PIN_CLKI=str(reference / 1e6),
                    a_FREQUENCY_PIN_CLKOP=str(frequency / 1e6), a_ICP_CURRENT="12",
                    a_LPF_RESISTOR="8", p_CLKI_DIV=divide, p_CLKFB_DIV=multiply,
                    p_CLKOP_DIV=output, p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=output - 1,
                    p_FEEDBK_PATH="CLKOP", i_CLKI=pin, i_CLKFB=clock, i_RST=C(0), i_STDBY=C(0),
                    o_CLKOP=clock, o_LOCK=locked)
                return
    raise ValueError(f"no ECP5 PLL makes {frequency:g} Hz of {reference:g} Hz")


def ice40_pll(m: Module, pin, clock: Signal, locked: Signal, reference: float,
              frequency: float) -> None:
    """SB_PLL40_PAD from a pin of `reference` to `frequency`; oscillator at 533 to 1066 MHz."""
    for divide in range(16):
        for output in range(7):
            multiply = round(frequency * (1 << output) * (divide + 1) / reference) - 1
            phase = reference / (divide + 1)
            made = phase * (multiply + 1) / (1 << output)
            if (0 <= multiply < 128 and 10e6 <= phase <= 133e6 and abs(made - frequency) < 1
                    and 533e6 <= phase * (multiply + 1) <= 1066e6):
                m.submodules.pll = Instance(
                    "SB_PLL40_PAD", p_FEEDBACK_PATH="SIMPLE", p_DIVR=divide, p_DIVF=multiply,
                    p_DIVQ=output, p_FILTER_RANGE=1, i_RESETB=C(1), i_BYPASS=C(0),
                    i_PACKAGEPIN=pin, o_PLLOUTGLOBAL=clock, o_LOCK=locked)
                return
    raise ValueError(f"no iCE40 PLL makes {frequency:g} Hz of {reference:g} Hz")


class BoardTop(Elaboratable):
    """clk pin -> PLL -> core behind a UART -> pins; the first LED shows that symbols were lost.

    pll: `ecp5_pll` or `ice40_pll`. clock, baud: Hz. buffer: as for `UartCore`.
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
