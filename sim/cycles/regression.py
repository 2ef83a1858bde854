"""Cycles of the trained dense network on the simulated array: figures that must not move at all."""

from dataclasses import dataclass

__all__ = ["CASES", "Case", "changed", "measure_cycles"]

#: Held-out digits, some of every class.
_IMAGES = 10


@dataclass(frozen=True)
class Case:
    """A preset, and the width of the weights of the network that runs on it."""

    preset: str
    weight_bits: int


CASES = (Case("small", 4), Case("default", 8))


def measure_cycles(case: Case) -> dict:
    """The counters of the device over a few images. Compiles the simulation where it has to."""
    # only here: PyTorch and the simulation are no part of the hardware
    import numpy as np

    from quadfire.firmware.driver.accelerator import Accelerator
    from quadfire.models.datasets import mnist5k
    from quadfire.models.integer import IntegerNetwork
    from quadfire.paths import PRETRAINED
    from quadfire.sim.report.demo import DEMOS
    from quadfire.sim.verilator.core import VerilatedTransport

    from quadfire.rtl.contract.config import preset

    name = f"{DEMOS['dense'].name}-int{case.weight_bits}"
    held_out = mnist5k().held_out_set[0].numpy()
    images = held_out[np.linspace(0, len(held_out), _IMAGES, endpoint=False).astype(int)]
    config = preset(case.preset)
    with Accelerator(VerilatedTransport(config), config) as device:
        device.load(IntegerNetwork.load(PRETRAINED / f"{name}.safetensors"))
        counters = device.run(images).counters
    return {"network": name, "preset": case.preset, "images": _IMAGES,
            **{counter: int(value) for counter, value in counters.items()}}


def changed(rows: list[dict], baseline: list[dict]) -> list[str]:
    """What differs from the baseline, a line a figure; rows that it does not have count for none.
    """
    known = {(row["network"], row["preset"]): row for row in baseline}
    lines = []
    for row in rows:
        before = known.get((row["network"], row["preset"]), row)
        lines += [f"{row['network']} on {row['preset']}: {name} {before.get(name)} -> {value}"
                  for name, value in row.items() if before.get(name) != value]
    return lines
