"""Boards: the core behind a UART, a clock and pins, to a bitstream with tools from pip.

`top` is the design of a board, `targets` lists the boards, `flow` runs the tools.
"""
