"""Example maps; the decorator `maps` runs a test on each of them."""

import pytest

from quadfire.models.dynamics import QuadraticMap

NEAR = QuadraticMap.root(0.25, 0.0, 0.5)
MEMORY = QuadraticMap.root(0.25, 0.0, -2.0)
STRONG = QuadraticMap.root(0.5, 0.0, 0.5)
SHIFTED = QuadraticMap.root(0.25, -0.5, 0.5)
EULER = QuadraticMap.euler(2.0, 1.0, 0.0, 0.8)
maps = pytest.mark.parametrize("neuron", [NEAR, MEMORY, STRONG, SHIFTED, EULER])
