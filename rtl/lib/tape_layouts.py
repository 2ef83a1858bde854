"""Tape layouts: the tables of `quadfire.rtl.contract.tape` for Amaranth."""

from amaranth.hdl import signed
from amaranth.lib import data

from quadfire.rtl.contract.tape import HEADER, PASS, SOURCE, TARGET

__all__ = ["HEADER_LAYOUT", "PASS_LAYOUT", "SOURCE_LAYOUT", "TARGET_LAYOUT"]

HEADER_LAYOUT = data.StructLayout({name: bits for name, bits in HEADER.items()})
TARGET_LAYOUT = data.StructLayout({name: bits for name, bits in TARGET.items()})
PASS_LAYOUT = data.StructLayout({name: bits for name, bits in PASS.items()})
SOURCE_LAYOUT = data.StructLayout({name: signed(bits) if name in ("x0", "y0") else bits
                                   for name, bits in SOURCE.items()})
