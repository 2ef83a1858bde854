"""The theory of the neuron: what the map does alone, and what it does to tdBN's currents."""

from quadfire.models.dynamics.quadratic_map import FixedPoints, Interval, QuadraticMap
from quadfire.models.dynamics.moments import (
    Moments, Reset, free_variance, input_deviation, not_escaped, one_step_moments, propagate,
    simulate, stationary_moments,
)

__all__ = ["FixedPoints", "Interval", "Moments", "QuadraticMap", "Reset", "free_variance",
           "input_deviation", "not_escaped", "one_step_moments", "propagate", "simulate",
           "stationary_moments"]
