"""Estimates: close to the cycle model, cycles divided into classes, a Pareto front."""

from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware.compiler.compile import compile_network
from quadfire.rtl.contract.config import preset
from quadfire.sim.cycles import estimate, network_model

from tests.firmware.networks import residual_network

CONFIG = replace(preset("default"), current_bits=24)


@pytest.fixture(scope="module")
def program():
    return compile_network(residual_network(CONFIG, 12, (32, 64), steps=4, input_bits=0), CONFIG)


def test_closed_form_is_near(program):
    """The closed form that the compiler chooses by is close to the cycle model."""
    for layer, report in zip(estimate.estimate(program, 0.15), program.layers, strict=True):
        if layer.busy > 5000:
            assert report.estimated_cycles == pytest.approx(layer.busy, rel=0.1), layer.name


def test_cycles_are_divided(program):
    layers = estimate.estimate(program, 0.15)
    for layer in layers:
        assert layer.busy == layer.events + layer.nulls + layer.drains + layer.starved
        assert 0 < layer.utilisation <= 1 and layer.cycles >= layer.words
    more = estimate.estimate(program, 0.3)
    assert sum(layer.events for layer in more) > 1.8 * sum(layer.events for layer in layers)
    with pytest.raises(ValueError, match="rate must lie in"):
        estimate.estimate(program, 1.5)


def test_operations_are_those_of_the_definition():
    """One spike in the middle of a map reaches 9 outputs of a 3 x 3 kernel, in a corner 4."""
    network = residual_network(CONFIG, 12, (32,), steps=1, input_bits=0)
    inputs = np.zeros((1, 1, *network.input_shape), bool)
    spikes = [np.zeros((1, 1, *shape), bool) for shape in network.shapes]
    assert not network_model.synaptic_operations(network, inputs, spikes).any()
    inputs[0, 0, 1, 5, 5] = True
    assert network_model.synaptic_operations(network, inputs, spikes)[0] == 9 * 32
    inputs[0, 0, 1, 0, 0] = True
    assert network_model.synaptic_operations(network, inputs, spikes)[0] == 13 * 32


def test_pareto():
    network = residual_network(CONFIG, 8, (32,), steps=2, input_bits=0)
    designs, refused = estimate.sweep(network, CONFIG, {
        "lanes": (16, 32, 48), "weight_rows": (128, 1024)})
    assert len(designs) == 4 and sum(refused.values()) == 2
    assert any("power of two" in reason for reason in refused)
    front = estimate.pareto(designs)
    assert front and all(a.resources < b.resources and a.cycles > b.cycles
                         for a, b in zip(front, front[1:], strict=False))
    for design in designs:
        assert any(best.cycles <= design.cycles and best.resources <= design.resources
                   for best in front)
