"""Commands of `quadfire` that compile networks and drive devices, real or simulated.

| file | holds |
|---|---|
| `compiling` | `compile`, `header` |
| `device` | `devices`, `info`, `load`, `run`, `selftest`, `throughput` |
"""
