"""Theory of one neuron: the map alone, its statistics behind tdBN, the surrogate window.

| file                   | holds |
|------------------------|---|
| quadratic_map.py       | `QuadraticMap`: fixed points, bifurcations, rheobase, f-I curve, bounds |
| moments.py             | mean, variance and rate of the membrane potential behind tdBN |
| window.py              | the surrogate window that keeps the size of gradients |
| report.py, pictures.py | the theory of one neuron as a table, and as five pictures |
"""

from quadfire.models.dynamics.moments import (
    Moments,
    Reset,
    free_variance,
    input_deviation,
    not_escaped,
    one_step_moments,
    propagate,
    simulate,
    stationary_moments,
)
from quadfire.models.dynamics.quadratic_map import FixedPoints, Interval, QuadraticMap

__all__ = ["FixedPoints", "Interval", "Moments", "QuadraticMap", "Reset", "free_variance",
           "input_deviation", "not_escaped", "one_step_moments", "propagate", "simulate",
           "stationary_moments"]
