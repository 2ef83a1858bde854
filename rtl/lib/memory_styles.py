"""Attributes that tell synthesis how to build a memory.

A read port of Amaranth gives the old word if that word is written in the same cycle. Block RAM with
registered outputs cannot do so. `no_rw_check` waives that promise; every memory that uses it says
why no word is written while it is read.
"""

from typing import Any

from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["BLOCK", "DISTRIBUTED", "LARGE", "small"]

BLOCK: Any = {"ram_style": "block", "no_rw_check": 1}
DISTRIBUTED: Any = {"ram_style": "distributed"}
#: One port, large: the SPRAM of an iCE40 UP5K, 16384 words of 16 bits each.
LARGE: Any = {"ram_style": "huge", "no_rw_check": 1}


def small(config: ArrayConfig) -> Any:
    """For a memory of a few words: LUT RAM where the device has it, otherwise block RAM."""
    return DISTRIBUTED if config.lut_ram else BLOCK
