"""The compiler: an integer network and an array configuration become a `Program`.

The files, in the order in which data flow:

| file | holds |
|---|---|
| `remedy` | the array that would do, as an error proposes it |
| `overflow` | proofs that no accumulator, current or readout overflows |
| `time_chunks` | sequences longer than the slots, in chunks of time |
| `passes` | what a pass is: sites, sources, windows |
| `mapping` | the passes of a layer in each mode, or why a mode cannot make it |
| `weights` | the weights of a pass as rows of the banks |
| `cost_model` | how long a pass takes at a rate of spikes, in closed form |
| `allocation` | where weights, parameters and maps lie |
| `segments` | passes divided by rows, where the host keeps maps |
| `schedule` | the actions of an image |
| `report` | what became of every layer |
| `program`, `network_id` | the compiled network and the id that names it |
| `pass_payload` | the words of a PASS packet |
| `compile` | all of it in order |
"""
