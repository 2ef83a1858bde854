"""Shells: what stands between the core and the pins or buses of a chip.

The AXI shell, for chips with a processor:

    s_axi  -> AxiLite -> RegisterFile
    s_axis -> Narrower -> PacketFramer -> core -> AnswerFramer -> Widener -> m_axis

The UART shell, for boards without one:

    rx -> BitReceiver -> LinkReceiver -> core -> LinkSender -> BitTransmitter -> tx

| file | what it holds |
|---|---|
| `axi_lite` | AXI4-Lite slave: transfers to register accesses |
| `register_file` | the registers themselves, made from `quadfire.rtl.contract.registers` |
| `streams` | beats to packets, answers to beats |
| `axi_shell` | all of these around the core |
| `verilog` | the AXI shell as Verilog, with the port names of AXI |
| `link_bits` | bits of a UART |
| `link` | bytes to packets and back, with flow control |
| `uart` | both around the core, and its Verilog |
| `render` | the register table as Markdown, HTML, C, Python and SystemRDL; needs no Amaranth |
"""
