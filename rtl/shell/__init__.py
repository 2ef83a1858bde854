"""Shells: what stands between the core and the outside of a chip.

    rx -> line -> link -> core -> link -> line -> tx      `uart`, for boards without a processor

`frames` says what goes over the serial line; it needs no Amaranth.
"""
