"""The driver: loads a program into a device, runs it on inputs, and checks every answer.

The files, in the order in which data flow:

| file | holds |
|---|---|
| `inputs` | inputs of a network: checked, and read from files |
| `sequences` | sequences in chunks of time: inputs divided, outputs joined |
| `session`, `host_maps` | the tapes of a program, and the maps that the host keeps |
| `accelerator` | the device itself: load, run, retry |
| `outputs` | the results of a run |
| `connect` | a device's driver by name |
| `selftest` | tests of a device |
| `golden.safetensors`, `golden.npz` | a network, and its inputs and logits, for `selftest` |
"""
