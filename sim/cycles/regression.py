"""Regression of cycles: the trained dense network on the simulated array, against a baseline.

The counters of ten digits must be those of the baseline exactly.
"""

from dataclasses import dataclass

__all__ = ["CASES", "Case", "changed", "measure_cycles"]

#: Held-out digits, taken evenly from all classes.
_IMAGES = 10


@dataclass(frozen=True)
class Case:
    """A preset, and the weight bits of the network that runs on it."""

    preset: str
    weight_bits: int


CASES = (Case("small", 4), Case("default", 8))


def measure_cycles(case: Case) -> dict:
    """Run ten digits. Returns {"network", "preset", "images", and every counter: its value}.

    The simulation is compiled if the cache does not have it.
    """
    # only here: PyTorch and the simulation take long to import
    import numpy as np

    from quadfire.firmware.driver.accelerator import Accelerator
    from quadfire.models.datasets import mnist5k
    from quadfire.models.integer import IntegerNetwork
    from quadfire.paths import PRETRAINED
    from quadfire.rtl.contract.config import preset
    from quadfire.sim.verilator.core import VerilatedTransport

    name = f"mnist5k-784-128-10-int{case.weight_bits}"
    held_out = mnist5k().held_out_set[0].numpy()
    images = held_out[np.linspace(0, len(held_out), _IMAGES, endpoint=False).astype(int)]
    config = preset(case.preset)
    with Accelerator(VerilatedTransport(config), config) as device:
        device.load(IntegerNetwork.load(PRETRAINED / f"{name}.safetensors"))
        counters = device.run(images).counters
    return {"network": name, "preset": case.preset, "images": _IMAGES,
            **{counter: int(value) for counter, value in counters.items()}}


def changed(rows: list[dict], baseline: list[dict]) -> list[str]:
    """A line for each figure that differs. Rows that the baseline lacks are skipped."""
    known = {(row["network"], row["preset"]): row for row in baseline}
    lines = []
    for row in rows:
        before = known.get((row["network"], row["preset"]), row)
        lines += [f"{row['network']} on {row['preset']}: {name} {before.get(name)} -> {value}"
                  for name, value in row.items() if before.get(name) != value]
    return lines
