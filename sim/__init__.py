"""Simulation of the generated Verilog, and what is learned from it.

| folder or file | holds |
|---|---|
| `verilator` | Verilated libraries in this process, transports to them, fuzzing, lint |
| `cocotb` | test benches on Verilator and Icarus, golden vectors, a transport to them |
| `cycles` | the cycle model: of a pass, of a network, and estimates made with it |
| `report` | what the commands show: demo, comparison, deep networks, benchmarks, pictures |
| `devices.py` | simulated devices by name |
| `commands` | the command line |

Importing this package imports neither PyTorch nor Amaranth.
"""
