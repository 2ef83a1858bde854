"""The C driver, and `python -m firmware.c`, which writes tapes as C headers for it."""
