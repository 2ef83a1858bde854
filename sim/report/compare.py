"""Reference and RTL side by side: the first value that differs, and a waveform of its layer.

    report = compare(network, inputs, config)
    report.mismatch          # None, or layer, time step, channel, pixel, expected, got

Values are compared layer by layer, within a layer by time step, image, pixel and channel. So the
first mismatch is the earliest cause.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.driver.inputs import checked
from quadfire.firmware.driver.outputs import Outputs
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["Mismatch", "Report", "compare", "first_mismatch"]

#: Cycles before and after a layer that its waveform shows as well.
_MARGIN = 200


@dataclass(frozen=True)
class Mismatch:
    """A value that differs.

    what: "spike", "membrane" or "logit". step: the time step, of a logit the last one. y, x: 0
    where the layer's map is one pixel.
    """

    layer: str
    what: str
    step: int
    image: int
    channel: int
    y: int
    x: int
    expected: int
    got: int

    def __str__(self) -> str:
        return (f"layer {self.layer!r}, step {self.step}, image {self.image}, channel "
                f"{self.channel}, pixel ({self.y}, {self.x}): {self.what} is {self.got}, "
                f"expected {self.expected}")


@dataclass(frozen=True)
class Report:
    """The result of a comparison.

    | field | meaning |
    |---|---|
    | `compared`, `mismatched` | {"spike", "membrane" or "logit": number of values} |
    | `mismatch` | the first mismatch, None where there is none |
    | `counters` | counters of the device |
    | `waveform` | of the first mismatch, where it was asked for |
    """

    compared: dict[str, int]
    mismatched: dict[str, int]
    mismatch: Mismatch | None
    counters: dict[str, int]
    waveform: Path | None = None

    def as_dict(self) -> dict:
        """The report as JSON has it."""
        return {**asdict(self), "waveform": str(self.waveform) if self.waveform else None}


def _pairs(outputs: Outputs, result: reference.Result, network: IntegerNetwork
           ) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """(layer, what, expected, got) of all values to compare, arrays [T, N, C, H, W]."""
    def shaped(values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape, *[1] * (5 - values.ndim))

    pairs, neurons = [], 0
    for index, layer in enumerate(network.layers):
        if layer.neuron is not None:
            if outputs.spikes:
                pairs.append((layer.name, "spike", result.spikes[neurons].numpy(),
                              outputs.spikes[index]))
            neurons += 1
        if outputs.membranes:
            pairs.append((layer.name, "membrane", result.membranes[index].numpy(),
                          outputs.membranes[index]))
    if network.layers[-1].neuron is None or network.answer is not None:
        pairs.append((network.layers[-1].name, "logit", result.logits.numpy()[None],
                      outputs.outputs[None]))
    return [(layer, what, shaped(np.asarray(expected)), shaped(np.asarray(got)))
            for layer, what, expected, got in pairs]


def first_mismatch(outputs: Outputs, result: reference.Result, network: IntegerNetwork
                   ) -> tuple[dict[str, int], dict[str, int], Mismatch | None]:
    """(compared, mismatched, first mismatch), see `Report`."""
    compared: dict[str, int] = {}
    mismatched: dict[str, int] = {}
    first = None
    for layer, what, expected, got in _pairs(outputs, result, network):
        compared[what] = compared.get(what, 0) + expected.size
        wrong = expected != got
        mismatched[what] = mismatched.get(what, 0) + int(wrong.sum())
        if first is None and wrong.any():
            in_order = np.argwhere(wrong.transpose(0, 1, 3, 4, 2))[0]
            step, image, y, x, channel = (int(i) for i in in_order)
            place = step, image, channel, y, x
            first = Mismatch(layer, what, network.steps - 1 if what == "logit" else step, image,
                             channel, y, x, int(expected[place]), int(got[place]))
    return compared, mismatched, first


def _one(inputs: np.ndarray, image: int, network: IntegerNetwork) -> np.ndarray:
    """The inputs of one image."""
    return inputs[image:image + 1] if network.input_bits else inputs[:, image:image + 1]


def _waveform(program: Program, image: np.ndarray, layer: str, path: Path) -> Path:
    """Write the waveform of a layer that runs on one image. Returns `path`.

    The first run finds the cycles of the layer, the second one traces them.
    """
    config, network = program.config, program.network
    transport = VerilatedTransport(config)
    with Accelerator(transport, config) as device:
        device.load(program)
        begin = transport.cycles
        outputs = device.run(image, profile=True)
    place = [entry.name for entry in network.layers].index(layer)
    cycles = [counters["cycles"] for counters in outputs.layer_counters]
    window = (max(0, begin + sum(cycles[:place]) - _MARGIN),
              begin + sum(cycles[:place + 1]) + _MARGIN)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Accelerator(VerilatedTransport(config, trace=path, trace_cycles=window), config) as device:
        device.load(program)
        device.run(image, profile=True)
    return path


def compare(network: IntegerNetwork, inputs: np.ndarray, config: ArrayConfig, *,
            program: Program | None = None, probe: bool = True, waveform: Path | None = None,
            progress: Callable[[int, int], object] | None = None) -> Report:
    """Run inputs through reference and Verilated RTL, and compare every value.

    | argument | meaning |
    |---|---|
    | `program` | what the device runs, by default `network` compiled for `config` |
    | `probe` | compare membranes as well, which takes the device longer |
    | `waveform` | a VCD file to write if there is a mismatch |
    | `progress` | called with (images done, images) |

    Raises the errors of `Accelerator`, and ValueError if there are no inputs.
    """
    inputs = checked(network, inputs)
    if not inputs.size:
        raise ValueError("there are no inputs to compare")
    expected = reference.run(network, inputs, record=True)
    with Accelerator(VerilatedTransport(config), config) as device:
        program = device.load(network if program is None else program)
        outputs = device.run(inputs, probe=probe, spikes=True, progress=progress)
    compared, mismatched, first = first_mismatch(outputs, expected, network)
    if first is not None and waveform is not None:
        waveform = _waveform(program, _one(inputs, first.image, network), first.layer, waveform)
    return Report(compared, mismatched, first, outputs.counters,
                  waveform if first is not None else None)
