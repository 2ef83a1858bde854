"""The arithmetic of the array against rational numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadfire.rtl.contract.numerics import Neuron, clip, current, neuron_step, round_shift

pytestmark = pytest.mark.fast


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def rational_step(w: int, j: int, neuron: Neuron, fraction_bits: int) -> tuple[bool, int]:
    """The canonical map in rational numbers, in the words of the specification."""
    x = w if neuron.square else neuron.factor
    v = half_up(Fraction(w * x, 1 << fraction_bits)) + j
    saturated = sorted((neuron.lo, v, neuron.hi))[1]
    spike = saturated >= neuron.theta
    if not spike:
        return False, saturated
    return True, saturated - neuron.delta if neuron.soft else neuron.reset


def neuron(**changes) -> Neuron:
    values = {"square": True, "soft": False, "factor": 0, "theta": 6, "lo": -32, "hi": 31,
              "initial": -2, "reset": -2, "delta": 0}
    return Neuron(**{**values, **changes})


SMALL = [
    neuron(),
    neuron(theta=31),
    neuron(theta=-31, reset=-32),
    neuron(lo=-5, hi=7),
    neuron(soft=True, delta=8),
    neuron(soft=True, delta=31),
    neuron(soft=True, delta=0, lo=-20, hi=20),
    neuron(square=False, factor=8),
    neuron(square=False, factor=-32, reset=31),
    neuron(square=False, factor=13, soft=True, delta=6),
    neuron(square=False, factor=16, soft=True, delta=12, lo=-9, hi=30),
]


@pytest.mark.parametrize("shift", range(-4, 10))
def test_round_shift_is_rational_rounding_half_up(shift):
    values = range(-700, 700)
    expected = [half_up(Fraction(v) / Fraction(2) ** shift) for v in values]
    assert [round_shift(v, shift) for v in values] == expected
    assert round_shift(np.array(values), shift).tolist() == expected
    assert round_shift(torch.tensor(values), shift).tolist() == expected


def test_clip_for_every_kind_of_integer():
    values = [-9, -4, -3, 0, 5, 6, 99]
    expected = [-4, -4, -3, 0, 5, 5, 5]
    assert [clip(v, -4, 5) for v in values] == expected
    assert clip(np.array(values), -4, 5).tolist() == expected
    assert clip(torch.tensor(values), -4, 5).tolist() == expected


@given(st.integers(-2**31, 2**31), st.integers(-16, 31), st.integers(-2**23, 2**23))
def test_current(acc, shift, bias):
    assert current(acc, shift, bias) == half_up(Fraction(acc) / Fraction(2) ** shift) + bias


@pytest.mark.parametrize("values", SMALL, ids=str)
def test_neuron_step_exhaustively_in_six_bits(values):
    fraction_bits = 4
    values.check_width(6)
    cases = [(w, j) for w in range(values.lo, values.hi + 1) for j in range(-70, 71)]
    expected = [rational_step(w, j, values, fraction_bits) for w, j in cases]
    assert [neuron_step(w, j, values, fraction_bits) for w, j in cases] == expected
    for kind in (np.array, torch.tensor):
        w, j = (kind(column) for column in zip(*cases, strict=True))
        spike, after = neuron_step(w, j, values, fraction_bits)
        assert [*zip(spike.tolist(), after.tolist(), strict=True)] == expected


@st.composite
def step_cases(draw):
    bits = draw(st.integers(8, 18))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    lo = draw(st.integers(low, high - 1))
    theta = draw(st.integers(lo + 1, high))
    hi = draw(st.integers(theta, high))
    inside = st.integers(lo, hi)
    values = Neuron(square=draw(st.booleans()), soft=draw(st.booleans()),
                    factor=draw(st.integers(low, high)), theta=theta, lo=lo, hi=hi,
                    initial=draw(inside), reset=draw(inside),
                    delta=draw(st.integers(0, min(theta - lo, high))))
    return draw(inside), draw(st.integers(-2**23, 2**23 - 1)), values, draw(
        st.integers(4, bits - 2))


@given(step_cases())
def test_neuron_step_at_any_width(case):
    w, j, values, fraction_bits = case
    spike, after = neuron_step(w, j, values, fraction_bits)
    assert (spike, after) == rational_step(w, j, values, fraction_bits)
    assert values.lo <= after <= values.hi


@pytest.mark.parametrize(("change", "message"), [
    ({"theta": -32}, r"theta must lie in lo \+ 1..hi = -31..31, not -32"),
    ({"theta": 32}, "not 32"),
    ({"reset": 32}, "reset must lie in lo..hi = -32..31, not 32"),
    ({"initial": -33}, "initial must lie"),
    ({"soft": True, "delta": 39}, r"delta must lie in 0..theta - lo = 0..38, not 39"),
    ({"soft": True, "delta": -1}, "delta must lie"),
    ({"factor": 0.5}, "factor must be an integer, not 0.5"),
    ({"theta": True}, "theta must be an integer, not True"),
    ({"delta": -1}, "delta must lie in 0..theta - lo = 0..38, not -1"),
    ({"soft": 2}, "soft must be True or False, not 2"),
    ({"square": 1.0}, "square must be True or False, not 1.0"),
    ({"square": None}, "square must be True or False, not None"),
])
def test_neuron_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        neuron(**change)


def test_check_width_names_the_value():
    neuron().check_width(6)
    with pytest.raises(ValueError, match="lo must fit in 5 signed bits, not -32"):
        neuron().check_width(5)
    with pytest.raises(ValueError, match="factor must fit in 6 signed bits, not 32"):
        neuron(factor=32).check_width(6)
