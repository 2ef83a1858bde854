"""The membrane as a map of the line: fixed points, thresholds, boundedness, f-I curve.

Between two resets every neuron here is u' = c2 u^2 + c1 u + c0 + g I. All of it follows from one
change of variable: w = c2 u + c1/2 turns the map into w' = w^2 + J with

    J = c2 g I + c2 c0 + c1/2 - c1^2/4,

the real quadratic map, whose fixed points (1 -+ sqrt(1 - 4 J))/2 are born at J = 1/4 (saddle-node),
lose stability at J = -3/4 (flip, period doubling) and whose bounded orbits end at J = -2. Divided
back by c2 g these are currents. Source of the neuron: arXiv:2510.05168; of the quadratic map: any
textbook on one-dimensional maps (Devaney, An Introduction to Chaotic Dynamical Systems, 1.5-1.7).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FixedPoints", "Interval", "QuadraticMap"]

_UNSTABLE = 1e9     # beyond this an orbit is on its way to infinity


class Interval(NamedTuple):
    """lower..upper, in the unit of the membrane potential; either may be infinite."""

    lower: float
    upper: float


class FixedPoints(NamedTuple):
    """Where u' = u at a constant current: `rest` < `escape`, and the slope of the map at each.

    `escape` is always unstable (slope above 1). `rest` is stable while its slope is within -1..1;
    a negative one means that u approaches rest with alternating sign.
    """

    rest: float
    escape: float
    rest_slope: float
    escape_slope: float

    @property
    def stable(self) -> bool:
        return -1 < self.rest_slope < 1


@dataclass(frozen=True)
class QuadraticMap:
    """u' = c2 u^2 + c1 u + c0 + gain I; spike and reset where u' >= v_threshold.

    v_reset None means soft reset. c2 = 0 is a linear neuron (LIF, IF): it has no conjugacy and no
    saddle-node, and the methods about those raise ValueError. `root`, `euler` and `linear` make one
    from the parameters users know. The coefficients may be float64 tensors (one value per channel)
    for `moments` and for the surrogate window; the methods below need floats.
    """

    c2: Any
    c1: Any
    c0: Any
    gain: Any = 1.0
    v_threshold: float = 1.0
    v_reset: float | None = 0.0

    @classmethod
    def root(cls, a: Any, u1: Any, u2: Any, v_threshold: float = 1.0,
             v_reset: float | None = 0.0) -> "QuadraticMap":
        """QIF in root form, u' = a (u - u1)(u - u2) + I."""
        return cls(a, -a * (u1 + u2), a * u1 * u2, 1.0, v_threshold, v_reset)

    @classmethod
    def euler(cls, tau: Any, a0: Any, v_rest: Any, v_c: Any, v_threshold: float = 1.0,
              v_reset: float | None = 0.0) -> "QuadraticMap":
        """QIF in explicit-Euler form, u' = u + (I + a0 (u - v_rest)(u - v_c)) / tau."""
        k = a0 / tau
        return cls(k, 1 - k * (v_rest + v_c), k * v_rest * v_c, 1 / tau, v_threshold, v_reset)

    @classmethod
    def linear(cls, beta: Any, v_threshold: float = 1.0, v_reset: float | None = 0.0, *,
               gain: Any = 1.0, v_rest: Any = 0.0) -> "QuadraticMap":
        """LIF, u' = v_rest + beta (u - v_rest) + gain I; beta = 1 is IF."""
        return cls(0.0, beta, (1 - beta) * v_rest, gain, v_threshold, v_reset)

    def __call__(self, u: Any, current: Any = 0.0) -> Any:
        """u' before any reset."""
        return (self.c2 * u + self.c1) * u + self.c0 + self.gain * current

    def slope(self, u: Any) -> Any:
        """du'/du."""
        return 2 * self.c2 * u + self.c1

    def _curved(self) -> None:
        if not self.c2 > 0:
            raise ValueError(f"the map must be curved (c2 above 0), not c2 = {self.c2!r}")

    # The free map ---------------------------------------------------------------------------------

    def canonical_current(self, current: Any) -> Any:
        """J of w' = w^2 + J; w = c2 u + c1/2 (`to_canonical`)."""
        self._curved()
        return (self.c2 * (self.gain * current + self.c0) + self.c1 / 2 - self.c1 * self.c1 / 4)

    def current_of(self, canonical: float) -> float:
        """The current I at which J is `canonical`, inverse of `canonical_current`."""
        return (canonical - self.canonical_current(0.0)) / (self.c2 * self.gain)

    def to_canonical(self, u: Any) -> Any:
        """w = c2 u + c1/2 = c2 (u - vertex)."""
        self._curved()
        return self.c2 * u + self.c1 / 2

    @property
    def vertex(self) -> float:
        """Where the parabola is lowest; u and 2 vertex - u have one image."""
        self._curved()
        return -self.c1 / (2 * self.c2)

    @property
    def saddle_node(self) -> float:
        """The current at which both fixed points merge (J = 1/4); above it u grows without bound.

        ((1 - c1)^2 - 4 c2 c0) / (4 c2 g). Where V_th lies above the merged point it is the
        rheobase too, see `rheobase`.
        """
        return self.current_of(0.25)

    @property
    def flip(self) -> float:
        """The current below which rest is unstable, u alternates between two values (J = -3/4)."""
        return self.current_of(-0.75)

    @property
    def crisis(self) -> float:
        """The current below which almost every orbit leaves to infinity (J = -2)."""
        return self.current_of(-2.0)

    def fixed_points(self, current: float = 0.0) -> FixedPoints | None:
        """Both fixed points, or None above the saddle-node.

        u-+ = ((1 - c1) -+ sqrt D) / (2 c2) with slopes 1 -+ sqrt D, D = 1 - 4 J.
        """
        discriminant = 1 - 4 * self.canonical_current(current)
        if discriminant < 0:
            return None
        root = math.sqrt(discriminant)
        return FixedPoints((1 - self.c1 - root) / (2 * self.c2),
                           (1 - self.c1 + root) / (2 * self.c2), 1 - root, 1 + root)

    def basin(self, current: float = 0.0) -> Interval | None:
        """The membrane potentials that a constant current never drives to infinity, or None.

        Between the unstable fixed point u+ and its other preimage 2 vertex - u+ = -c1/c2 - u+; for
        J < -2 only a Cantor set of it stays. Threshold and reset are left out.
        """
        points = self.fixed_points(current)
        if points is None:
            return None
        return Interval(2 * self.vertex - points.escape, points.escape)

    # With threshold and reset ---------------------------------------------------------------------

    @property
    def start(self) -> float:
        """Where u starts, and where a hard reset puts it."""
        return 0.0 if self.v_reset is None else self.v_reset

    @property
    def rebound(self) -> float:
        """Below this u the neuron spikes at the next step without any input; -inf if linear.

        The lower root of c2 u^2 + c1 u + c0 = V_th.
        """
        if not self.c2 > 0:
            return -math.inf
        inside = self.c1 * self.c1 - 4 * self.c2 * (self.c0 - self.v_threshold)
        return (-self.c1 - math.sqrt(inside)) / (2 * self.c2) if inside >= 0 else math.inf

    def rate(self, current: Any, steps: int = 2000) -> np.ndarray:
        """Spikes per time step at constant currents (the f-I curve), hard or soft reset.

        Simulated exactly for `steps` steps from the start potential. A hard reset makes the train
        periodic, so the rate is 1 / (steps to the first spike), and 0 where none comes.
        """
        current = np.atleast_1d(np.asarray(current, np.float64))
        u = np.full_like(current, self.start)
        if self.v_reset is None:
            spikes = np.zeros_like(current)
            for _ in range(steps):
                u = np.minimum(self(u, current), _UNSTABLE)
                fired = u >= self.v_threshold
                spikes += fired
                u = np.where(fired, u - self.v_threshold, u)
            return spikes / steps
        first = np.zeros(current.shape, np.int64)
        for step in range(1, steps + 1):
            u = np.where(first == 0, self(u, current), u)
            first = np.where((first == 0) & (u >= self.v_threshold), step, first)
            if first.all():
                break
        return np.where(first > 0, 1 / np.maximum(first, 1), 0.0)

    def continuous_rate(self, current: Any) -> np.ndarray:
        """The f-I curve of continuous time, du/dt = u'(u, I) - u from v_reset to V_th, in closed
        form: c2 b / (atan((V_th - m)/b) - atan((v_reset - m)/b)), b = sqrt((g I - g I_sn) / c2),
        m = (1 - c1)/(2 c2); 0 up to the saddle-node.

        The discrete rate tends to it where a spike takes many steps; near the saddle-node both
        grow as sqrt(I - I_sn) c2 / pi if m lies well inside v_reset..V_th (type I excitability).
        """
        self._curved()
        drive = self.gain * (np.atleast_1d(np.asarray(current, np.float64)) - self.saddle_node)
        b = np.sqrt(np.where(drive > 0, drive, 1.0) / self.c2)
        middle = (1 - self.c1) / (2 * self.c2)
        angle = np.arctan((self.v_threshold - middle) / b) - np.arctan((self.start - middle) / b)
        return np.where(drive > 0, self.c2 * b / angle, 0.0)

    def rheobase(self, steps: int = 3000) -> float:
        """The least constant current from which on the neuron spikes, from its start potential.

        Closed form where the map rises on start..V_th, as u then climbs in one direction: the
        saddle-node if both fixed points merge below V_th, else the current V_th - u'(V_th) whose
        fixed point is V_th itself. Where it falls somewhere on the way, u can overshoot, and the
        current is searched over `steps` steps at most. (A strongly negative current spikes as well,
        by rebound; that is not meant here.)
        """
        threshold = self.v_threshold
        if min(self.slope(self.start), self.slope(threshold)) >= 0 and self.start < threshold:
            if self.c2 > 0 and (1 - self.c1) / (2 * self.c2) < threshold:
                return self.saddle_node
            return (threshold - self(threshold)) / self.gain
        high = (threshold - self(self.start)) / self.gain       # this one spikes at once
        low = self.flip if self.c2 > 0 else high - 10 * (1 + abs(high))
        for _ in range(6):      # ever finer grids below the least current that spikes
            grid = np.linspace(low, high, 201)
            silent = np.flatnonzero(self.rate(grid, steps) == 0)
            if not silent.size:
                break
            low, high = grid[silent[-1]], grid[silent[-1] + 1]
        return float(high)

    def bounds(self, i_max: float) -> Interval:
        """Where u' lies before the reset for any sequence of currents within -i_max..i_max.

        Hard reset: always bounded. After a reset u is in (lower, V_th) or v_reset, so with f the
        map without current, lower = min over that of f, less g i_max, and upper = max(f(lower),
        f(V_th), f(v_reset)) + g i_max. Soft reset: what is left above V_th is fed back through
        u' - V_th, which has a fixed point only while g i_max <= V_th + g I_sn, and stays below it
        only if the excursion after the lowest u does; otherwise upper is inf.
        """
        if not i_max >= 0:
            raise ValueError(f"i_max must not be below 0, not {i_max!r}")
        reach, threshold = self.gain * i_max, self.v_threshold
        if not self.c2 > 0:
            return self._linear_bounds(reach)
        lowest = self(self.vertex) if self.vertex < threshold else self(threshold)
        if self.v_reset is not None:
            lower = min(lowest, self(self.v_reset)) - reach
            upper = max(self(lower), self(threshold), self(self.v_reset)) + reach
            return Interval(lower, upper)
        lower = self(self.vertex) - reach
        points = self.fixed_points(i_max - threshold / self.gain)
        after = max(threshold, self(lower) + reach - threshold, 0.0)
        if points is None or after > points.escape:
            return Interval(lower, math.inf)
        return Interval(lower, max(after, points.rest) + threshold)

    def _linear_bounds(self, reach: float) -> Interval:
        beta, threshold = self.c1, self.v_threshold
        if not 0 <= beta < 1:
            return Interval(-math.inf, math.inf if self.v_reset is None else
                            max(self(threshold), self(self.start)) + reach)
        lower = min((self.c0 - reach) / (1 - beta), self.start)
        if self.v_reset is not None:
            return Interval(lower, max(self(threshold), self(self.v_reset)) + reach)
        # u <= max(V_th, beta u + c0 + reach - V_th) after the reset
        after = max(threshold, (self.c0 + reach - threshold) / (1 - beta))
        return Interval(lower, after + threshold)

    def lossless_range(self, i_max: float) -> Interval:
        """The clamp of w that changes no spike under hard reset, for currents within +-i_max.

        A w below -sqrt(theta - J_min) spikes at the next step whatever J is, so nothing is lost
        below; w >= theta spikes and is reset, so nothing is lost above theta.
        """
        if self.v_reset is None:
            raise ValueError("with soft reset any clamp within reach changes spikes")
        theta = float(self.to_canonical(self.v_threshold))
        lowest = self.canonical_current(-i_max)
        return Interval(-math.sqrt(max(theta - lowest, 0.0)), theta)

    def integer_bits(self, i_max: float) -> int:
        """Integer bits, sign included, that a two's complement w needs so as not to saturate."""
        lower, upper = self.bounds(i_max)
        if math.isinf(upper) or math.isinf(lower):
            raise ValueError("u is not bounded: only a clamp bounds the state")
        ends = [self.to_canonical(u) for u in (lower, upper)]
        if lower < self.vertex < upper:
            ends.append(0.0)
        bits = 1
        while not (-(1 << (bits - 1)) <= min(ends) and max(ends) < 1 << (bits - 1)):
            bits += 1
        return bits
