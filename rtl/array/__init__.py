"""The array: accumulators in banks, cut into groups on a chain.

    chain                                     address, control, write  ->  one group per cycle
      group   cell -> cell -> ... -> cell     one cell per bank; sums move from bank to bank
              then the group's neurons        `quadfire.rtl.neuron`

| file            | what it is                                                         |
|-----------------|--------------------------------------------------------------------|
| `weight_memory` | rows of weights of one cell                                        |
| `accumulators`  | acc[slot] = (0, acc[slot] or neighbour) + weight, one adder a lane |
| `cell`          | the lanes of one group in one bank: weights and accumulators       |
| `line_buffer`   | sums on their way from one kernel row to the next                  |
| `group`         | the cells of all banks in a row, and one neuron pipeline           |
| `chain`         | all groups; nothing is broadcast                                   |
"""
