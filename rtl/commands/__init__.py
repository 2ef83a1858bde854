"""Commands of `quadfire` that make hardware: configurations, Verilog, registers, bitstreams.

| file | holds |
|---|---|
| `hardware` | `configs`, `verilog`, `registers` |
| `bitstream` | `bitstream` |
"""
