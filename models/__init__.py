"""Quadfire's networks in PyTorch: from the equation of a neuron to the integers of the array.

| room                 | holds |
|----------------------|---|
| neurons/             | spiking neurons, surrogate gradients, tdBN |
| dynamics/            | theory of one neuron |
| networks/            | networks of these neurons in floating point |
| datasets/, training/ | data; training, checkpoints |
| frontends/           | networks of snnTorch, SpikingJelly, Norse, Sinabs, NIR files |
| examples/            | scripts as users of these libraries write them |
| quantize/            | a trained network on the grid of the array, then as integers |
| integer/             | the integer network that the compiler reads, and its reference |
| experiments/         | what README.md reports |
| pretrained/          | trained networks, in floating point and as integers |
| pictures/            | pictures of README.md |
| commands/            | the command line |

`integer` without `reference` needs numpy and safetensors only. Everything else needs torch.
"""
