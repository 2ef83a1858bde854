"""A check that several end-to-end tests make of a device."""

from collections.abc import Sequence

import numpy as np

from quadfire.firmware import Accelerator
from quadfire.rtl.contract.tape import COUNTERS
from quadfire.sim.cycles import network_model

__all__ = ["assert_cycles"]


def assert_cycles(accelerator: Accelerator, inputs: np.ndarray, spikes: Sequence, note: str
                  ) -> None:
    """The counters of every image and layer are the predicted ones, class by class.

    spikes: of every layer, from the reference. Cycles in which the host took no answer
    do not count.
    """
    program = accelerator.program
    assert program is not None
    profile = accelerator.run(inputs, profile=True).profile
    assert profile is not None
    predicted = network_model.predict(program, inputs, [layer.numpy() for layer in spikes])
    layer_of = np.array([a_pass.layer for a_pass in program.passes])
    for layer in range(len(program.network.layers)):
        for column, name in enumerate(network_model.CLASSES):
            got = profile[:, layer, COUNTERS.index(name)]
            if name in ("busy", "drains"):
                got = got - profile[:, layer, COUNTERS.index("output_wait")]
            want = predicted[:, layer_of == layer, column].sum(axis=1)
            assert np.array_equal(got, want), f"{note}: {name} of layer {layer}: {got}, {want}"
