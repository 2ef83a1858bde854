"""How memories ask to be built: attributes for synthesis.

A read port of Amaranth gives the old word when the same word is written in that cycle; block RAM
with registered outputs cannot. `no_rw_check` waives that promise, and every memory that uses it
says why no word is written while it is read.
"""

from typing import Any

from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["BLOCK", "DISTRIBUTED", "LARGE", "small"]

BLOCK: Any = {"ram_style": "block", "no_rw_check": 1}
DISTRIBUTED: Any = {"ram_style": "distributed"}
#: A single port, large: SPRAM of an iCE40 UP5K, 16384 words of 16 bits each.
LARGE: Any = {"ram_style": "huge", "no_rw_check": 1}


def small(config: ArrayConfig) -> Any:
    """Of a memory of a few words: LUT RAM where the device has it."""
    return DISTRIBUTED if config.lut_ram else BLOCK
