"""PLLs: the clock of an array from the oscillator of a board.

Every function searches for divider settings, adds the PLL to a module, and raises ValueError where
no setting gives the frequency. PLLS finds them by name.
"""

from amaranth import *

__all__ = ["PLLS", "ecp5_pll", "ice40_pll"]


def ecp5_pll(m: Module, pin: Value, clock: Signal, locked: Signal, reference: float,
             frequency: float) -> None:
    """The PLL of an ECP5 (EHXPLLL), whose oscillator runs at 400 to 800 MHz.

    | argument | meaning |
    |---|---|
    | pin | the reference, behind its input buffer |
    | clock, locked | outputs |
    | reference, frequency | in Hz |
    """
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
    """The PLL of an iCE40 (SB_PLL40_PAD), whose oscillator runs at 533 to 1066 MHz.

    Arguments as for `ecp5_pll`, but `pin` is the pin itself: the PLL contains its buffer.
    """
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


#: Name, as in `Family.pll` -> function.
PLLS = {"ecp5_pll": ecp5_pll, "ice40_pll": ice40_pll}
