"""Shells: what stands between the core and the outside of a chip.

    s_axi  -> axi_lite -> register_file
    s_axis -> narrow -> framer -> core -> answers -> widen -> m_axis    the AXI shell

    rx -> line -> link -> core -> link -> line -> tx                    `uart`, without a processor

`registers` is the one table of the registers, `render` writes it as Markdown, C, Python and
SystemRDL; `frames` says what goes over the serial line. None of them needs Amaranth.
"""
