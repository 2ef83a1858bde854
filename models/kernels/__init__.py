"""Training fast: neurons and convolutions of spikes as single operations of autograd.

| file | holds |
|---|---|
| neuron.py, neuron.cpp | the fused neuron: statistics, affine part and all time steps |
| events.py, events.cpp | convolutions that visit only spikes, and pools |
| native.py | the C++ compiler, on first use |

They compute what the modules of `neurons` and `networks` compute, which stay the definition, and
are used by them where they can be.
"""

from quadfire.models.kernels.events import convolve, fast, pool
from quadfire.models.kernels.native import library
from quadfire.models.kernels.neuron import Affine, Quadratic, Run, fused, fusible, reference

__all__ = ["Affine", "Quadratic", "Run", "convolve", "fast", "fused", "fusible", "library", "pool",
           "reference"]
