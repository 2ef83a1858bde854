"""Control: from packets to passes, and from passes to commands for the array.

Files in the order in which data flow:

    crc                 CRC-32, by words or by bits
    packet_receiver     only whole, undamaged packets pass
    packet_states       ports and states of the executor
    memory_packets      its packets that write or read a memory
    pass_check          what a PASS may say on an array
    pass_packets        its packet PASS
    executor            carries out the packets, one after the other
    sequencer           events of a pass become commands for the array
    pass_limit          ends a pass that takes more cycles than the host allows
    pass_timing         cycles of a pass, for sequencer and cycle model
    counters            what the clock cycles were spent on
    answers             packets that the executor sends
    packet_sender       their checksums
"""
