"""The C driver, and `quadfire header`, which writes tapes as C headers for it.

| file | holds |
|---|---|
| `quadfire.h`, `quadfire.c` | the driver |
| `quadfire_registers.h` | the registers of the AXI shell |
| `tape_header` | the tapes of a network as a C header |
"""
