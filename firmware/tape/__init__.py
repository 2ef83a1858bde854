"""The tape: the stream of packets that a device plays.

| file | holds |
|---|---|
| `memory_layout` | how spikes, weights and parameters lie in the memories |
| `packets` | bit fields, headers, CRC-32 |
| `writer` | the packets of a tape in order, and the answers to expect |
"""
