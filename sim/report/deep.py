"""Deep networks in RTL: one image through a whole network, every spike compared with PyTorch.

The networks have their published form and full width. Their weights are random, because there is
nothing to download. So a run shows that the hardware computes what PyTorch computes, and how long
that takes at the activity of a network whose batch norms are calibrated.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from quadfire.arguments import PlainConsole
from quadfire.files import write_text
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.driver.outputs import Outputs
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.networks.untrained import random_pictures, untrained
from quadfire.models.neurons import make_neuron
from quadfire.models.quantize.quantize import quantize
from quadfire.paths import PACKAGE
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.config_file import read_config
from quadfire.sim.cycles import network_model
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["INPUTS", "network_of", "run", "sources_hash", "summary_of"]

#: {network: shape of its input}.
INPUTS = {"resnet19": (3, 32, 32), "vgg11": (3, 32, 32), "vggsnn": (2, 48, 48)}
#: Networks whose input is the spikes of an event camera, not pixels.
EVENTS = {"vggsnn"}

#: Cycles without a transfer after which a simulation counts as dead.
_PATIENCE = 20_000_000

#: The files of sim/ that a summary depends on, beside all of rtl/, firmware/ and models/.
_MAKERS = ("cycles/network_model.py", "cycles/pass_model.py", "cycles/pass_timer.py",
           "report/compare.py", "report/deep.py", "verilator/core.py", "verilator/cpp/design.h",
           "verilator/cpp/harness.cpp")


def _check_name(name: str) -> None:
    if name not in INPUTS:
        raise ValueError(f"no deep network is called {name!r}; there are {', '.join(INPUTS)}")


def network_of(name: str, config: ArrayConfig, *, width: float = 1.0, steps: int = 4
               ) -> IntegerNetwork:
    """The integer network of a name, with random weights and QIF neurons (a 0.25, u1 0, u2 0.5).

    It reads pixels of 8 bits, or, if it is one of EVENTS, spikes. Raises
    ValueError if no network has this name.
    """
    _check_name(name)
    floating = untrained(name, make_neuron("qif", a=0.25, u1=0.0, u2=0.5),
                         input_shape=INPUTS[name], steps=steps, width=width,
                         events=name in EVENTS)
    return quantize(floating, weight_bits=config.weight_bits, state_bits=config.state_bits,
                    fraction_bits=config.fraction_bits,
                    accumulator_bits=config.accumulator_bits,
                    input_bits=0 if name in EVENTS else 8)


def summary_of(program: Program, inputs: np.ndarray, outputs: Outputs, plain: Outputs,
               expected: reference.Result, seconds: float) -> dict:
    """The figures of one image, over all layers and by layer.

    outputs: of a profiled run that reads all spikes back. plain: of a run that reads the answer
    alone, as a user's does.

    | key | meaning |
    |---|---|
    | `cycles` | cycles of all passes |
    | `predicted_cycles` | the same by the cycle model |
    | `streamed_cycles` | with the loading that computing does not hide, and all spikes read back |
    | `image_cycles` | with that loading, but nothing read back that the next layers or the caller |
    |  | do not need; not by layer |
    | `active_sop` | synaptic additions that the spikes call for |
    | `utilisation` | active_sop per cycle and lane |
    | `events_per_cycle` | share of the cycles in which an event adds |

    A lane counts as idle where a kernel tap falls off the border of a map, and where a branch has
    fewer weights than there are lanes.
    """
    network, config = program.network, program.config
    compared, mismatched, first = first_mismatch(outputs, expected, network)
    spikes = [layer.numpy() for layer in expected.spikes]
    predicted = np.zeros(len(network.layers), np.int64)
    busy_of_passes = network_model.predict(program, inputs, spikes)[:, :, 0].sum(axis=0)
    for item, busy in zip(program.passes, busy_of_passes, strict=True):
        predicted[item.layer] += busy
    operations = network_model.synaptic_operations(network, inputs, spikes)
    layers = []
    fired = iter(spikes)
    for index, (layer, counters) in enumerate(zip(network.layers, outputs.layer_counters,
                                                  strict=True)):
        layers.append({
            "layer": layer.name, "map": list(network.shapes[index]),
            "cycles": counters["busy"], "predicted_cycles": int(predicted[index]),
            **{name: counters[name] for name in ("events", "nulls", "drains", "starved")},
            "streamed_cycles": counters["cycles"], "active_sop": int(operations[index]),
            "spike_rate": float(next(fired).mean()) if layer.neuron is not None else None})
    total = {name: sum(layer[name] for layer in layers)
             for name in ("cycles", "predicted_cycles", "events", "nulls", "drains", "starved",
                          "streamed_cycles", "active_sop")}
    return {
        "mismatched_spikes": mismatched["spike"], "compared_spikes": compared["spike"],
        "mismatched_logits": mismatched.get("logit", 0)
        + int((plain.outputs != expected.logits.numpy()).sum()),
        "first_mismatch": None if first is None else str(first),
        "layers": len(layers), **total, "image_cycles": plain.counters["cycles"],
        "utilisation": total["active_sop"] / (total["cycles"] * config.outputs),
        "events_per_cycle": total["events"] / total["cycles"],
        "simulation_seconds": seconds, "lanes": config.outputs,
        "spike_rate": float(np.concatenate([layer.ravel() for layer in spikes]).mean()),
        "by_layer": layers}


def sources_hash() -> str:
    """A hash of the content of every source file that a summary depends on."""
    files = [path for room in ("rtl", "firmware", "models")
             for path in (PACKAGE / room).rglob("*.py")]
    files += [PACKAGE / "sim" / name for name in _MAKERS]
    digest = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(PACKAGE)} {content}\n".encode())
    return digest.hexdigest()


def run(name: str, config_name: str, folder: Path, *, width: float = 1.0, steps: int = 4,
        changes: Iterable[str] = (), console: Console | None = None) -> dict:
    """Run a network on one synthetic image. Prints, writes `summary.json`, returns the summary.

    | argument | meaning |
    |---|---|
    | `name` | of INPUTS |
    | `config_name`, `changes` | an array, and fields of it to change, as NAME=NUMBER |
    | `width` | factor of all numbers of channels |
    | `steps` | time steps |
    """
    _check_name(name)
    console, changes = console or PlainConsole(), list(changes)
    config, sources = read_config(config_name, changes), sources_hash()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                  console=console) as progress:
        def stage(text: str) -> None:
            for task in progress.tasks:
                progress.stop_task(task.id)
            progress.add_task(text, total=None)

        stage(f"{escape(name)}: random weights, batch norms calibrated, quantised")
        network = network_of(name, config, width=width, steps=steps)
        inputs = random_pictures(1, network.input_shape, seed=5,
                                 steps=0 if network.input_bits else steps).numpy()
        stage("PyTorch integers")
        expected = reference.run(network, inputs, record=True)
        stage(f"compiling it for {escape(config_name)}")
        program = compile_network(network, config)
        stage("building the simulation")
        with Accelerator(VerilatedTransport(config, idle_limit=_PATIENCE), config) as device:
            device.load(program)
            stage("RTL: one image, every spike read back")
            begin = time.perf_counter()
            outputs = device.run(inputs, spikes=True, profile=True)
            seconds = time.perf_counter() - begin
            stage("RTL: the same image, only its answer read back")
            plain = device.run(inputs)
        stage("cycle model")
        result = {"network": name, "configuration": config_name, "changes": changes,
                  "width": width, "steps": steps, "weights": "random", "sources": sources,
                  "input": "synthetic image" if network.input_bits else "synthetic events",
                  **summary_of(program, inputs, outputs, plain, expected, seconds)}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "summary.json", json.dumps(result, indent=2) + "\n")
    _print(console, config, result)
    console.print(f"\n{folder}/summary.json")
    return result


def _print(console: Console, config: ArrayConfig, result: dict) -> None:
    """The table of layers, and what is said below it."""
    table = Table("layer", "map", "spikes", "cycles", "predicted", "adding",
                  title=f"{result['network']}, random weights, {result['input']}, T = "
                        f"{result['steps']}\n{result['configuration']}: {config}")
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"

    def row(name: str, shape: str, of: dict) -> None:
        rate = of["spike_rate"]
        table.add_row(name, shape, "" if rate is None else f"{rate:.1%}", f"{of['cycles']:,}",
                      f"{of['predicted_cycles']:,}", f"{of['events'] / of['cycles']:.1%}")

    for layer in result["by_layer"]:
        row(layer["layer"], "x".join(map(str, layer["map"])), layer)
    table.add_section()
    row("total", "", result)
    console.print(table)
    wrong = result["mismatched_spikes"]
    console.print(
        f"mismatched spikes: [{'red' if wrong else 'green'}]{wrong:,}[/] of "
        f"{result['compared_spikes']:,}\n"
        f"additions: {result['active_sop']:,} in {result['cycles']:,} cycles of "
        f"{result['lanes']} lanes, {result['utilisation']:.1%}; events in "
        f"{result['events_per_cycle']:.1%} of the cycles\n"
        f"with weights streamed in: {result['image_cycles']:,} cycles; with all spikes read back: "
        f"{result['streamed_cycles']:,} cycles, simulated in {result['simulation_seconds']:.0f} s",
        markup=True)
    if result["first_mismatch"]:
        console.print(f"[red]first:[/] {escape(result['first_mismatch'])}", soft_wrap=True,
                      markup=True)
