"""Small blocks and helpers that the other rooms of the hardware are built with.

| file             | what it is                                                           |
|------------------|----------------------------------------------------------------------|
| `bits`           | whether two or more bits are set; the lowest set bit                 |
| `tree_sum`       | exact sums as balanced trees of adders                               |
| `skid`           | a register on a stream that breaks all its paths                     |
| `queue`          | a queue whose writer knows that there is room                        |
| `stream_memory`  | words in block RAM, read in order as a stream                        |
| `onehot_fsm`     | state machines with one flip-flop per state                          |
| `strobes`        | layouts that name their strobes; pipeline registers that reset those |
| `chain_layouts`  | what travels along the chain of groups                               |
| `tape_layouts`   | tables of the tape as layouts                                        |
| `memory_styles`  | attributes that tell synthesis how to build a memory                 |
| `module_library` | components that stand many times in a design and once in its Verilog |
"""
