"""Simulation: the array as a Verilated library, cocotb benches, transports for the driver."""
