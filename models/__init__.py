"""Quadfire's networks: neurons, training, quantisation and the integer reference, in PyTorch.

`integer` (the network file that the compiler reads) needs numpy and safetensors; everything
else needs torch.
"""
