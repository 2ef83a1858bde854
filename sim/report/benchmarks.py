"""The benchmarks: named networks, run in RTL or put through the cycle model.

`quadfire.sim.report.figures` turns what they give, `Measurement`, into tables.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch.nn import functional

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.models.datasets import mnist5k
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.networks.untrained import untrained
from quadfire.models.neurons import make_neuron
from quadfire.models.quantize.quantize import quantize
from quadfire.paths import PRETRAINED, cache_folder
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.sim.cycles import network_model
from quadfire.sim.report import deep as deep_networks
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.report.demo import DEMOS
from quadfire.sim.report.figures import CLASSES, LayerFigures, Measurement
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["DEEP", "BENCHMARKS", "deep", "estimated", "of_summary", "static", "trained"]

#: Spikes per neuron and step of estimated networks: the rate of the trained 784-128-10.
RATE = 0.34
#: Time steps of the deep networks.
_STEPS = 4


def static(program: Program) -> list[dict[str, int]]:
    """What does not depend on spikes, by layer: dense_sop, updates and words of `LayerFigures`.

    A pixel counts as one synaptic operation per synapse and time step, whatever its bits.
    """
    network = program.network
    one = np.ones((1, *network.input_shape), np.uint8)      # one bit plane, or one time step
    if not network.input_bits:
        one = one[None]
    spikes = [np.ones((1, 1, *shape), bool) for shape in network.shapes]
    dense = network.steps * network_model.synaptic_operations(network, one, spikes)
    return [{"dense_sop": int(operations),
             "updates": network.steps * int(np.prod(shape)) if layer.neuron is not None else 0,
             "words": report.streamed_words + report.map_words
             + (0 if index else program.input_words)}
            for index, (operations, shape, layer, report) in enumerate(zip(
                dense, network.shapes, network.layers, program.layers, strict=True))]


def _digits(images: int) -> tuple[torch.Tensor, np.ndarray]:
    """(held-out digits of all classes, their labels)."""
    x, labels = mnist5k().held_out_set
    chosen = np.linspace(0, len(x), images, endpoint=False).astype(int)
    return x[chosen], labels[chosen].numpy()


# In RTL ------------------------------------------------------------------------------------------

def _runs(network: IntegerNetwork, config: ArrayConfig, pixels: np.ndarray, alone: int):
    """Run images many at a time, then some one at a time.

    alone: how many images to run one at a time, a divisor of their number. Returns (program,
    outputs with all spikes and the counters of layers, cycles of an image alone, of one of many).
    """
    with Accelerator(VerilatedTransport(config), config) as device:
        program = device.load(network)
        outputs = device.run(pixels, spikes=True, profile=True)
        many = device.run(pixels).counters["cycles"] / len(pixels)
        device.batch = 1
        one = device.run(pixels[::len(pixels) // alone]).counters["cycles"] / alone
    return program, outputs, one, many


def trained(title: str, demo: str, config: str, bits: int, images: int, alone: int = 20
            ) -> Measurement:
    """A trained network of the demo on held-out digits. Every spike is compared."""
    name = f"{DEMOS[demo].name}-int{bits}.safetensors"
    network, shape = IntegerNetwork.load(PRETRAINED / name), preset(config)
    x, labels = _digits(images)
    expected = reference.run(network, x, record=True)
    program, outputs, one, many = _runs(network, shape, x.numpy(), alone)
    compared, mismatched, _ = first_mismatch(outputs, expected, network)
    operations = network_model.synaptic_operations(
        network, x.numpy(), [fired.numpy() for fired in expected.spikes])
    layers = tuple(
        LayerFigures(name=layer.name, cycles=counters["busy"] / images,
              **{part: counters[part] / images for part in CLASSES},
              total_cycles=counters["cycles"] / images, active_sop=int(count) / images, **fixed)
        for layer, counters, count, fixed in zip(
            network.layers, outputs.layer_counters, operations, static(program), strict=True))
    return Measurement(
        network=title, array=config, preset=config, lanes=shape.outputs, steps=network.steps,
        what=f"trained, {bits} bits; held-out digits", made="RTL", images=images,
        latency_cycles=one, image_cycles=many, layers=layers,
        accuracy=float((outputs.outputs.argmax(axis=1) == labels).mean()),
        mismatches=mismatched["spike"], compared=compared["spike"])


def _is_fresh(path: Path) -> bool:
    """Whether a summary is there and made from the source files as they are now."""
    try:
        return json.loads(path.read_text()).get("sources") == deep_networks.sources_hash()
    except (OSError, ValueError):
        return False


def deep(title: str, name: str, config: str) -> Measurement:
    """A deep network, from the stored summary of `quadfire deep`, or from a new run.

    It runs anew where there is no summary, or where a source file has changed since. Raises
    ValueError where the summary is of another network, array, width or number of steps.
    """
    path = cache_folder() / f"{name}-{config}" / "summary.json"
    if not _is_fresh(path):
        deep_networks.run(name, config, path.parent, steps=_STEPS, console=Console(quiet=True))
    summary = json.loads(path.read_text())
    wanted = {"network": name, "configuration": config, "width": 1.0, "steps": _STEPS,
              "changes": []}
    for part, value in wanted.items():
        if summary.get(part) != value:
            raise ValueError(f"{path} is of {part} {summary.get(part)!r}, not {value!r}: remove it")
    shape = preset(config)
    program = compile_network(deep_networks.network_of(name, shape, steps=_STEPS), shape)
    return of_summary(title, summary, static(program))


def of_summary(title: str, summary: dict, fixed: Sequence[dict[str, int]]) -> Measurement:
    """The measurement that a summary of `quadfire deep` holds. fixed: see `static`.

    Latency and throughput are of the run that reads the answer alone; `total_cycles` of a layer
    has its spikes read back as well, as for `trained`.
    """
    layers = tuple(
        LayerFigures(name=layer["layer"], cycles=layer["cycles"],
              **{part: layer[part] for part in CLASSES}, active_sop=layer["active_sop"],
              total_cycles=layer["streamed_cycles"], **more)
        for layer, more in zip(summary["by_layer"], fixed, strict=True))
    total = summary["image_cycles"]
    return Measurement(
        network=title, array=summary["configuration"], preset=summary["configuration"],
        lanes=summary["lanes"], steps=summary["steps"], what=f"random; {summary['input']}",
        made="RTL", images=1, latency_cycles=total, image_cycles=total, layers=layers,
        mismatches=summary["mismatched_spikes"], compared=summary["compared_spikes"])


# By the model ------------------------------------------------------------------------------------

def _spikes(network: IntegerNetwork, images: int) -> list[np.ndarray]:
    """Random spikes of every layer at RATE."""
    rng = np.random.default_rng(0)
    return [rng.random((network.steps, images, *shape)) < RATE for shape in network.shapes]


def estimated(title: str, layers: str, side: int, steps: int, config: str, images: int = 20,
              **changes: int) -> Measurement:
    """A dense network by the cycle model: random weights, digits as input, hidden spikes at RATE.

    | argument | meaning |
    |---|---|
    | `layers` | sizes of the layers after the input, as 128-10 |
    | `side` | the digits are scaled to side x side pixels |
    | `config`, `changes` | a preset, and fields of it to change |
    """
    shape = replace(preset(config), **changes)
    network = quantize(
        untrained(layers, make_neuron("qif", a=0.25, u1=0.0, u2=0.5),
                  input_shape=(1, side, side), steps=steps),
        weight_bits=shape.weight_bits, state_bits=shape.state_bits,
        fraction_bits=shape.fraction_bits, accumulator_bits=shape.accumulator_bits)
    program = compile_network(network, shape)
    x = _digits(images)[0].reshape(-1, 1, 28, 28).float()
    pixels = functional.interpolate(x, (side, side), mode="area").to(torch.uint8).numpy()
    spikes = _spikes(network, images)
    predicted = network_model.predict(program, pixels, spikes).sum(axis=0) / images
    operations = network_model.synaptic_operations(network, pixels, spikes) / images
    of_layer = np.array([item.layer for item in program.passes])
    result = []
    for index, fixed in enumerate(static(program)):
        busy, *parts = predicted[of_layer == index].sum(axis=0).tolist()
        result.append(LayerFigures(
            name=network.layers[index].name, cycles=busy, **dict(zip(CLASSES, parts, strict=True)),
            total_cycles=max(busy, fixed["words"]), active_sop=float(operations[index]), **fixed))
    total, words = (sum(getattr(layer, name) for layer in result)
                    for name in ("total_cycles", "words"))
    array = ", ".join([config, *(f"{name} {value}" for name, value in changes.items())])
    return Measurement(
        network=title, array=array, preset="" if changes else config, lanes=shape.outputs,
        steps=steps, what="estimated, random weights; digits", made="model", images=images,
        latency_cycles=total + words, image_cycles=total, layers=tuple(result))


#: {name that is printed: the measurement}, in the order of the tables.
BENCHMARKS: dict[str, Callable[[], Measurement]] = {
    "784-128-10 on default": lambda: trained("784-128-10", "dense", "default", 8, 200),
    "784-128-10 on small": lambda: trained("784-128-10", "dense", "small", 4, 200),
    "convolutions": lambda: trained("16C3-P2-32C3-P2-128-10", "conv", "default", 8, 40),
    "256-128-10": lambda: estimated("256-128-10", "128-10", 16, 4, "default"),
    "256-128-10, T = 25":
        lambda: estimated("256-128-10", "128-10", 16, 25, "default", state_words=32),
    "784-128-64-10, T = 25":
        lambda: estimated("784-128-64-10", "128-64-10", 28, 25, "default", state_words=32),
}

#: Benchmarks that take a minute or more each.
DEEP: dict[str, Callable[[], Measurement]] = {
    "VGG-11 on large": lambda: deep("VGG-11", "vgg11", "large"),
    "VGG-11 on wide": lambda: deep("VGG-11", "vgg11", "wide"),
    "VGG-SNN": lambda: deep("VGG-SNN", "vggsnn", "wide"),
    "ResNet-19": lambda: deep("ResNet-19", "resnet19", "large"),
}
