"""The Verilated array in this process. Files in the order in which data flow:

| file | holds |
|---|---|
| `toolchain.py` | Verilator, Icarus and the compilers: where they are, how they run |
| `cache.py` | folders of what is built once |
| `build.py` | Verilog to a shared library or a simulator |
| `cpp/` | harnesses: they clock a design without calling Python in every cycle |
| `core.py` | the core and the driver's transport to it |
| `uart.py` | the core behind a UART, at a pseudo-terminal |
| `axi_shell.py`, `axi_transport.py` | the AXI shell, its DMA and the transport to it |
| `pynq_standin.py` | a stand-in for PYNQ on the AXI shell |
| `c_driver.py` | the C driver on the AXI shell |
| `fuzz.py` | damaged packets into the core |
| `lint.py` | what Verilator and Icarus say of the Verilog |
"""
