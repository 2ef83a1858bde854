"""The neuron as a one-dimensional map: fixed points, bifurcations, rheobase, f-I curve, bounds.

Between two resets the membrane potential follows u' = c2 u^2 + c1 u + c0 + g I. The change of
variable w = c2 u + c1/2 turns it into the real quadratic map

    w' = w^2 + J,    J = c2 g I + c2 c0 + c1/2 - c1^2/4

with the fixed points (1 -+ sqrt(1 - 4 J)) / 2. Its bifurcations are those of the neuron:

| J    | name                   | what happens |
|------|------------------------|---|
| 1/4  | saddle-node            | both fixed points appear; above it u grows without bound |
| -3/4 | flip (period doubling) | rest loses stability, u alternates between two values |
| -2   | boundary crisis        | below it almost every orbit escapes to infinity |

Sources: arXiv:2510.05168 for the neuron; Devaney, An Introduction to Chaotic Dynamical Systems,
sections 1.5-1.7, for the quadratic map.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FixedPoints", "Interval", "QuadraticMap"]

#: An orbit beyond this is on its way to infinity.
_UNSTABLE = 1e9


class Interval(NamedTuple):
    """An interval of membrane potentials; either end may be infinite."""

    lower: float
    upper: float


class FixedPoints(NamedTuple):
    """The two potentials with u' = u at a constant current.

    | field                    | meaning |
    |--------------------------|---|
    | rest                     | resting potential, stable while its slope is within -1..1 |
    | escape                   | critical potential above `rest`, unstable: beyond it u escapes |
    | rest_slope, escape_slope | slope du'/du of the map there |

    With a negative slope, u approaches rest with alternating sign.
    """

    rest: float
    escape: float
    rest_slope: float
    escape_slope: float

    @property
    def stable(self) -> bool:
        """Whether rest attracts."""
        return -1 < self.rest_slope < 1


@dataclass(frozen=True)
class QuadraticMap:
    """u' = c2 u^2 + c1 u + c0 + gain I, with a spike and reset where u' >= v_threshold.

    | field       | meaning |
    |-------------|---|
    | c2, c1, c0  | coefficients; c2 = 0 is a linear neuron (LIF, IF) |
    | gain        | factor of the input current |
    | v_threshold | V_th, in units of u |
    | v_reset     | where a hard reset puts u; None: soft reset, u' - V_th |

    `root`, `euler` and `linear` make one from the parameters of a neuron. A linear neuron has
    neither a form w^2 + J nor a saddle-node, so the methods about them raise ValueError. For
    `moments` and `window` the coefficients may be float64 tensors, one value per channel. The
    methods below need floats.
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
        """u' before the reset."""
        return (self.c2 * u + self.c1) * u + self.c0 + self.gain * current

    def slope(self, u: Any) -> Any:
        """du'/du at u."""
        return 2 * self.c2 * u + self.c1

    def _curved(self) -> None:
        """Raise ValueError for a linear neuron."""
        if not self.c2 > 0:
            raise ValueError(f"the map must be curved (c2 above 0), not c2 = {self.c2!r}")

    # The free map ---------------------------------------------------------------------------------

    def canonical_current(self, current: Any) -> Any:
        """J of w' = w^2 + J at the current I."""
        self._curved()
        return (self.c2 * (self.gain * current + self.c0) + self.c1 / 2 - self.c1 * self.c1 / 4)

    def current_of(self, canonical: float) -> float:
        """The current I at which J is `canonical`: the inverse of `canonical_current`."""
        return (canonical - self.canonical_current(0.0)) / (self.c2 * self.gain)

    def to_canonical(self, u: Any) -> Any:
        """w = c2 u + c1/2 = c2 (u - vertex)."""
        self._curved()
        return self.c2 * u + self.c1 / 2

    @property
    def vertex(self) -> float:
        """The potential with the lowest u'. u and 2 vertex - u have the same image."""
        self._curved()
        return -self.c1 / (2 * self.c2)

    @property
    def saddle_node(self) -> float:
        """The current of the saddle-node bifurcation, J = 1/4.

        I = ((1 - c1)^2 - 4 c2 c0) / (4 c2 g). Above it there is no fixed point, and u grows without
        bound. It is also the rheobase if V_th lies above the merged fixed points, see `rheobase`.
        """
        return self.current_of(0.25)

    @property
    def flip(self) -> float:
        """The current of the flip bifurcation, J = -3/4. Below it rest is unstable."""
        return self.current_of(-0.75)

    @property
    def crisis(self) -> float:
        """The current of the boundary crisis, J = -2. Below it almost every orbit escapes."""
        return self.current_of(-2.0)

    def fixed_points(self, current: float = 0.0) -> FixedPoints | None:
        """Both fixed points at a constant current, or None above the saddle-node.

        u-+ = ((1 - c1) -+ sqrt D) / (2 c2) with the slopes 1 -+ sqrt D, where D = 1 - 4 J.
        """
        discriminant = 1 - 4 * self.canonical_current(current)
        if discriminant < 0:
            return None
        root = math.sqrt(discriminant)
        return FixedPoints((1 - self.c1 - root) / (2 * self.c2),
                           (1 - self.c1 + root) / (2 * self.c2), 1 - root, 1 + root)

    def basin(self, current: float = 0.0) -> Interval | None:
        """The potentials that stay bounded at a constant current, or None above the saddle-node.

        They lie between the unstable fixed point u+ and its other preimage 2 vertex - u+. For
        J < -2 only a Cantor set of them stays bounded. Threshold and reset play no part.
        """
        points = self.fixed_points(current)
        if points is None:
            return None
        return Interval(2 * self.vertex - points.escape, points.escape)

    # With threshold and reset ---------------------------------------------------------------------

    @property
    def start(self) -> float:
        """Where u starts: v_reset, or 0 with soft reset."""
        return 0.0 if self.v_reset is None else self.v_reset

    @property
    def rebound(self) -> float:
        """The potential below which the neuron spikes in the next time step without input.

        It is the lower root of c2 u^2 + c1 u + c0 = V_th: post-inhibitory rebound. For a linear
        neuron it is -inf; if every u spikes, it is inf.
        """
        if not self.c2 > 0:
            return -math.inf
        inside = self.c1 * self.c1 - 4 * self.c2 * (self.c0 - self.v_threshold)
        return (-self.c1 - math.sqrt(inside)) / (2 * self.c2) if inside >= 0 else math.inf

    def rate(self, current: Any, steps: int = 2000) -> np.ndarray:
        """The f-I curve: spikes per time step at constant currents, [currents].

        It simulates `steps` time steps from the start potential. A hard reset makes the spike train
        periodic. The rate is then 1 / (time of the first spike), or 0 without a spike.
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
        """The f-I curve of continuous time, du/dt = u'(u, I) - u, in closed form.

        With the current I_sn of the saddle-node, where both fixed points merge at m:

            rate = c2 b / (atan((V_th - m) / b) - atan((v_reset - m) / b))
            b = sqrt(g (I - I_sn) / c2),    m = (1 - c1) / (2 c2)

        It is 0 up to the saddle-node. The rate per time step tends to it if a spike takes many time
        steps. Just above the saddle-node both grow as the square root of I - I_sn, if m lies well
        inside v_reset..V_th: type I excitability, rate = c2 b / pi.
        """
        self._curved()
        drive = self.gain * (np.atleast_1d(np.asarray(current, np.float64)) - self.saddle_node)
        b = np.sqrt(np.where(drive > 0, drive, 1.0) / self.c2)
        middle = (1 - self.c1) / (2 * self.c2)
        angle = np.arctan((self.v_threshold - middle) / b) - np.arctan((self.start - middle) / b)
        return np.where(drive > 0, self.c2 * b / angle, 0.0)

    def rheobase(self, steps: int = 3000) -> float:
        """The rheobase: the least constant current that makes the neuron spike from its start.

        If the map rises on start..V_th, u climbs steadily, and there is a closed form:

        - the saddle-node, if both fixed points merge below V_th;
        - else the current with a fixed point at V_th, (V_th - u'(V_th)) / g.

        If the map falls somewhere in between, u can overshoot. The current is then found by search,
        with at most `steps` time steps per simulation. A strongly negative current also makes the
        neuron spike, by rebound; the rheobase leaves that out.
        """
        threshold = self.v_threshold
        if min(self.slope(self.start), self.slope(threshold)) >= 0 and self.start < threshold:
            if self.c2 > 0 and (1 - self.c1) / (2 * self.c2) < threshold:
                return self.saddle_node
            return (threshold - self(threshold)) / self.gain
        high = (threshold - self(self.start)) / self.gain       # spikes in the first time step
        low = self.flip if self.c2 > 0 else high - 10 * (1 + abs(high))
        for _ in range(6):      # ever finer grids around the least current that spikes
            grid = np.linspace(low, high, 201)
            silent = np.flatnonzero(self.rate(grid, steps) == 0)
            if not silent.size:
                break
            low, high = grid[silent[-1]], grid[silent[-1] + 1]
        return float(high)

    def bounds(self, i_max: float) -> Interval:
        """Bounds of u' before the reset, for any sequence of currents within -i_max..i_max.

        Let f be the map without input. With hard reset u' is always bounded. After the reset, u is
        v_reset or in lower..V_th. Hence lower = min f - g i_max over these u, and
        upper = max(f(lower), f(V_th), f(v_reset)) + g i_max.

        With soft reset a u above V_th returns through u' - V_th. That map has a fixed point only if
        g i_max <= V_th + g I_sn. u' stays below it only if the step after the lowest u does.
        Otherwise upper is inf. Raises ValueError if i_max is below 0.
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
        """`bounds` of a linear neuron; reach = g i_max."""
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
        """The limits of w that change no spike, for hard reset and currents within -i_max..i_max.

        A w of theta or more spikes and is reset, so theta itself may stand for it. A w below
        -sqrt(theta - J_min) spikes in the next time step whatever J is, so that limit may stand for
        it. Raises ValueError with soft reset.
        """
        if self.v_reset is None:
            raise ValueError("with soft reset any clamp within reach changes spikes")
        theta = float(self.to_canonical(self.v_threshold))
        lowest = self.canonical_current(-i_max)
        return Interval(-math.sqrt(max(theta - lowest, 0.0)), theta)

    def integer_bits(self, i_max: float) -> int:
        """Integer bits, sign included, with which w never saturates for currents within +-i_max.

        Raises ValueError if u is not bounded.
        """
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
