"""What all tests share: Hypothesis profiles, and the simulators that there are."""

import os

import hypothesis
import pytest

from quadfire.sim.verilator import toolchain

# Tests run in parallel processes: threads inside of them would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("default", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.register_profile("full", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(params=toolchain.simulators())
def simulator(request: pytest.FixtureRequest) -> str:
    """Every simulator that cocotb can use here, one test each."""
    return request.param
