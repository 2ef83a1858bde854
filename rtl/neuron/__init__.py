"""The neurons of a group: sums of the lanes come in, spikes go out.

    sums of a slot -> input current J -> neuron pipeline -> spike
                            |                 |
                       parameters      state memory, probe

One step of a neuron is `w' = sat(round(w x / 2^F) + J)`; it spikes where `w' >= theta`, and is then
reset. With x = w this is the quadratic integrate-and-fire neuron.

| file            | what it is                                                           |
|-----------------|----------------------------------------------------------------------|
| `input_current` | J of one lane a cycle: fold bit planes, scale, add the bias          |
| `parameters`    | the layer's neuron words, and shift and bias of every output channel |
| `pipeline`      | the neuron: multiply, add, compare, reset                            |
| `state_memory`  | membrane potentials between the passes of a long sequence            |
| `probe`         | logits or membrane potentials, sent along the chain when a pass asks |
"""
