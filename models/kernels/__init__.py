"""Training fast: neurons and convolutions of spikes as single operations of autograd.

| file | holds |
|---|---|
| neuron.py, layer.py | the fused neuron: statistics, affine part and all time steps |
| native_neuron.py, neuron.cpp | the same on a CPU, in C++ |
| triton_neuron.py | the same on a GPU, in Triton |
| convolution.py | convolutions: which of three ways |
| events.py, events.cpp | convolutions that visit only spikes |
| winograd.py, winograd.cpp | 3 x 3 convolutions with a quarter of the products |
| pool.py | pools of spikes |
| native.py | the C++ compiler, on first use |

They compute what the modules of `neurons` and `networks` compute, which stay the definition, and
are used by them where they can be.
"""

from quadfire.models.kernels.convolution import convolve, convolve_exactly, fast
from quadfire.models.kernels.native import library
from quadfire.models.kernels.neuron import Affine, Quadratic, Run, fused, fusible, reference
from quadfire.models.kernels.pool import pool

__all__ = ["Affine", "Quadratic", "Run", "convolve", "convolve_exactly", "fast", "fused", "fusible",
           "library", "pool", "reference"]
