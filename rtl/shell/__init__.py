"""The AXI shell: the core with AXI4-Stream data, AXI4-Lite registers and an interrupt.

    s_axi  -> axi_lite -> register_file
    s_axis -> narrow -> framer -> core -> answers -> widen -> m_axis

`registers` is the one table of the registers, `render` writes it as Markdown, C, Python and
SystemRDL; neither needs Amaranth.
"""
