"""Boards: the core behind a UART with a clock and pins, made into a bitstream by tools from pip.

    targets (a board as data) -> top (its design) -> flow (synthesis, placement, bitstream)

| file | what it holds |
|---|---|
| `targets` | families of chips, and the boards that there are, as data |
| `pll` | PLLs of the families |
| `top` | the design of a board: PLL, reset, pins, core |
| `flow` | the tools, from the design to the bitstream |

A board of your own takes two steps:

1. Find or write its platform, a class of amaranth-boards that names its chip, clock and pins. It
   needs the resources `uart` 0 (`rx`, `tx`) and `led` 0, a `default_clk`, and a chip of one of the
   families in `targets`.
2. Copy an entry of `targets.BOARDS`, give it a name, and change it:

       "my-board": Board(
           platform="my_package.my_board:MyPlatform", family=ECP5,
           device="--25k --package CABGA256 --speed 6", grid=GRIDS["25k"],
           config=PRESETS["tiny"], clock=50e6, baud=1e6, buffer=2048),

   `device` holds the options of nextpnr that name the chip. `config` is an array that fits; `clock`
   one that a PLL makes of the board's oscillator.

`quadfire bitstream --board my-board` then builds it. A program of your own can also call
`flow.build` with a `Board` that is in no table.
"""
