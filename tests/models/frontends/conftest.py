"""What tests of front ends share."""

import sys

import pytest

from quadfire.models.frontends import nir_file


@pytest.fixture(autouse=True)
def read_here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """NIR files are read at once, not by another process first, which takes half a second a file.

    Tests with "process" in their names do as users do.
    """
    if "process" not in request.node.name:
        monkeypatch.setattr(nir_file, "_try", lambda path: None)


@pytest.fixture(autouse=True)
def no_neurons_of_other_tests() -> None:
    """snnTorch resets all neurons that were ever made, and fails on some that never ran."""
    if "snntorch" in sys.modules:
        from snntorch._neurons.neurons import SpikingNeuron

        SpikingNeuron.instances = []
