"""Test benches on Verilator and Icarus. Files in the order in which data flow:

| file | holds |
|---|---|
| `vectors.py` | golden vectors: what goes into a block and what must come out |
| `run.py` | runs a test bench on a simulator |
| `engine.py` | drivers, monitors and the loop that clocks them |
| `testbench_block.py` | the test bench of a block |
| `testbench_core.py` | of the core |
| `testbench_axi.py`, `axi_checks.py` | of the AXI shell; the rules of AXI in Verilog |
| `testbench_uart.py` | of a serial port |
| `testbench_remote.py`, `transport.py` | a test bench that obeys a driver; the driver's end of it |
"""
