"""The tables of `rtl.tape` as Amaranth layouts."""

from amaranth.lib import data

from .tape import HEADER, PASS, TARGET

__all__ = ["HEADER_LAYOUT", "PASS_LAYOUT", "TARGET_LAYOUT"]

HEADER_LAYOUT = data.StructLayout({name: bits for name, bits in HEADER.items()})
TARGET_LAYOUT = data.StructLayout({name: bits for name, bits in TARGET.items()})
PASS_LAYOUT = data.StructLayout({name: bits for name, bits in PASS.items()})
