"""Contract: what host and device must agree on, in plain Python; it imports nothing of the others.

    config              the shape of an array
    config_file         the same by name: a preset, or a JSON file
    tape                packets, their fields and their faults
    numerics            the arithmetic of a neuron, in integers
    serial_protocol     bytes of the serial link
    registers           the register table of the AXI shell
    register_access     the same registers by name, over any bus
"""
