"""Quadfire's hardware: a pipelined array of quadratic integrate-and-fire neurons in Amaranth.

Folders and files in the order in which data flow:

    contract    what host and device agree on: config, tape, numerics, registers
    control     packets, passes, commands for the array, answers
    fetch       spikes: from memory to events, and back
    array       weights, accumulators, line buffers, on a chain of groups
    neuron      input current, neuron pipeline, state memory, probe
    lib         queues, skids, layouts and other parts that the rooms share
    core        all of it: tape in, answers out
    verilog     Verilog and description of the bare core
    shell       AXI4 and UART around the core; shell/verilog: Verilog of the AXI shell
    fpga        synthesis, packing, placement
    boards      bitstreams for boards
    commands    the command line
"""
