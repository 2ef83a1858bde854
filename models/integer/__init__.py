"""Integer networks: what the array computes, as plain arrays, with a file format and a reference.

| file | what it holds |
|---|---|
| `checks.py` | `NetworkError`, and the checks of one number or one array |
| `pairs.py` | `Pair`: two numbers, one for the rows and one for the columns |
| `branches.py` | `Pool`, `ConvBranch`, `IdentityBranch`: what a layer reads and how it sums it |
| `answer.py` | `MembraneAnswer`: logits that are membrane potentials |
| `layer.py` | `IntegerLayer`: branches, shift and bias, a neuron or the readout |
| `network.py` | `IntegerNetwork`: the layers in order, and the checks that they fit |
| `network_file.py` | its file: written, read, and checked field by field |
| `bounds.py` | what the currents of a layer can reach |
| `random_draws.py`, `random_network.py` | random valid networks, for tests |
| `encoding.py` | checks an input, gives it a time axis, makes bit planes of counts (torch) |
| `reference.py` | computes a network exactly (torch) |

All but the last two need numpy and safetensors only, so a driver runs without torch.
"""

from quadfire.models.integer.answer import MembraneAnswer
from quadfire.models.integer.branches import INPUT, Branch, ConvBranch, IdentityBranch, Pool, Shape
from quadfire.models.integer.checks import NetworkError
from quadfire.models.integer.layer import IntegerLayer, dense
from quadfire.models.integer.network import IntegerNetwork
from quadfire.models.integer.pairs import Pair, PairField, as_pair, number_or_pair

__all__ = ["INPUT", "Branch", "ConvBranch", "IdentityBranch", "IntegerLayer", "IntegerNetwork",
           "MembraneAnswer", "NetworkError", "Pair", "PairField", "Pool", "Shape", "as_pair",
           "dense", "number_or_pair"]
