"""`from_module` and its kin: a trained torch module becomes an `Imported` network.

The module's own `forward` runs once on an example (`recording`), what it did is translated
(`translation`), and input and answer are given their meaning here.
"""

import importlib.metadata
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends.answers import check_pixel, membrane_answer
from quadfire.models.frontends.imported import Imported, ImportProblems
from quadfire.models.frontends.recording import Node, Recording, Traced, record
from quadfire.models.frontends.translation import Translation, form_of, kind_of
from quadfire.models.integer import Shape
from quadfire.models.quantize.folded import FoldedAnswer
from quadfire.models.quantize.lowering import Lowering
from quadfire.models.quantize.values import Value

__all__ = ["INPUTS", "OUTPUTS", "from_module", "from_norse", "from_sinabs", "from_snntorch",
           "from_spikingjelly", "input_value", "translated"]

INPUTS = ("pixels", "spikes", "counts")
OUTPUTS = ("count", "current", "membrane")
#: Packages by the module's name that its neurons come from.
LIBRARIES = {"snntorch": "snntorch", "spikingjelly": "spikingjelly", "norse": "norse",
             "sinabs": "sinabs", "quadfire": "quadfire"}


def input_value(graph: Lowering, kind: str, *, mean: Any = 0.0, std: Any = 1.0,
                count_bits: int = 0) -> Value:
    """The input as the network was trained on it.

    A pixel p of the array stands for p / 256; the network was trained on (p / 255 - mean) / std.
    """
    if kind == "counts":
        return graph.count_planes(count_bits)
    if kind == "spikes":
        return graph.input
    mean, std = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, std))
    if (std <= 0).any():
        raise ValueError(f"std must be above 0, not {std.tolist()}")
    return graph.affine(graph.input, 256 / 255 / std, -mean / std)


def from_module(module: nn.Module, example: Tensor, *, steps: int | None = None,
                input: str = "spikes", output: str | None = None,  # noqa: A002
                mean: Any = 0.0, std: Any = 1.0, count_bits: int | None = None,
                move_pools: bool = False) -> Imported:
    """A trained module as a graph that `to_grid`, `calibrate` and `to_integer` take.

    | argument | meaning |
    |---|---|
    | module | of layers of torch and neurons of snnTorch, SpikingJelly, Norse, Sinabs or ours |
    | example | an input as `module` takes it: spikes or counts [T, N, ...], pixels [N, ...] |
    | steps | time steps T, where the module runs one step a call; else it must be the module's |
    | input | "pixels" (the same in every step), "spikes" (0 or 1), "counts" (0, 1, 2...) |
    | output | "count" of spikes, mean "current" or "membrane"; None: what the module gives |
    | mean, std | what the pixels p / 255 were normalised with: numbers, or one for every channel |
    | count_bits | bits of the counts, 1..5; None: as many as the example needs |
    | move_pools | put a max pool of currents behind the neurons, which changes the network |

    Raises `ImportProblems` (a ValueError) with everything that cannot be honoured, by layer.
    """
    if input not in INPUTS:
        raise ValueError(f"input must be {', '.join(INPUTS)}, not {input!r}")
    if output is not None and output not in OUTPUTS:
        raise ValueError(f"output must be {', '.join(OUTPUTS)}, not {output!r}")
    bits = _check_example(example, input, count_bits)
    recording = record(module, example, known=kind_of, form=form_of)
    count = _steps(recording, steps)
    _check_time(recording, example, input)
    shape = _input_shape(recording, example)
    translation = translated(recording, shape, count, input, bits=bits, mean=mean, std=std,
                             move_pools=move_pools)
    if translation.problems:
        raise ImportProblems(translation.problems, translation.lines)
    last, answer, text = _answer(translation, output)
    return translation.graph.folded(
        count, 8 if input == "pixels" else 0, last=last, made=Imported,
        lines=tuple(translation.lines), library=_library(recording), input=input, output=text,
        answer=answer, count_bits=bits, layout=_layout(recording, input), mean=mean, std=std,
        repeat=0 if recording.steps > 1 else count, move_pools=move_pools)


def _only(library: str, module: nn.Module) -> None:
    """Raise ValueError for neurons of another library."""
    for name, each in module.named_modules():
        found = type(each).__module__.split(".")[0]
        if kind_of(each) == "neuron" and found in LIBRARIES and found != library:
            raise ValueError(f"layer {name!r}: {type(each).__name__} is a neuron of "
                             f"{LIBRARIES[found]}: use from_module, which takes all")


def from_snntorch(module: nn.Module, example: Tensor, **options: Any) -> Imported:
    """`from_module` for a network whose neurons are snnTorch's."""
    _only("snntorch", module)
    return from_module(module, example, **options)


def from_spikingjelly(module: nn.Module, example: Tensor, **options: Any) -> Imported:
    """`from_module` for a network whose neurons are SpikingJelly's."""
    _only("spikingjelly", module)
    return from_module(module, example, **options)


def from_norse(module: nn.Module, example: Tensor, **options: Any) -> Imported:
    """`from_module` for a network whose neurons are Norse's."""
    _only("norse", module)
    return from_module(module, example, **options)


def from_sinabs(module: nn.Module, example: Tensor, **options: Any) -> Imported:
    """`from_module` for a network whose neurons are Sinabs's."""
    _only("sinabs", module)
    return from_module(module, example, **options)


def translated(recording: Recording, shape: Shape, steps: int, kind: str, *, bits: int = 0,
               mean: Any = 0.0, std: Any = 1.0, move_pools: bool = False) -> Translation:
    """The translation of a recording, run. shape: of the input; of counts, of the counts."""
    planes = (shape[0] * max(bits, 1), *shape[1:])
    translation = Translation(
        recording, shape, lambda graph: input_value(graph, kind, mean=mean, std=std,
                                                    count_bits=bits),
        steps, Lowering(planes, move_pools=move_pools, relays=True))
    translation.run()
    return translation


def _check_example(example: Tensor, kind: str, wanted: int | None) -> int:
    """Raise ValueError unless an example holds what its kind says. Returns the bits of counts."""
    low, high = (float(example.min()), float(example.max())) if example.numel() else (0.0, 0.0)
    whole = not example.is_floating_point() or bool((example == example.round()).all())
    if kind == "spikes" and not (whole and low >= 0 and high <= 1):
        raise ValueError(f"the example holds values {low:g}..{high:g}, which are no spikes of 0 "
                         "or 1: say --input pixels or --input counts, or draw spikes first")
    if kind == "counts":
        if not whole or low < 0:
            raise ValueError(f"the example holds values {low:g}..{high:g}, which are no counts")
        bits = max(int(high).bit_length(), 1)
        if wanted is not None and not bits <= wanted <= 5:
            raise ValueError(f"count_bits must be {bits} to 5, as the example holds counts up to "
                             f"{high:g}, not {wanted}")
        bits = wanted or bits
        if bits > 5:
            raise ValueError(f"the example holds counts up to {high:g}: the array takes up to 31 "
                             "(gains up to 16); clip them, or use shorter time steps")
        return bits
    return 0


def _steps(recording: Recording, steps: int | None) -> int:
    """Time steps of the network."""
    found = recording.steps
    if steps is None:
        if found == 1:
            raise ValueError("the module runs one time step a call: say how many with --steps")
        return found
    if steps < 1:
        raise ValueError(f"steps must be above 0, not {steps!r}")
    if found not in (1, steps):
        raise ValueError(f"the module runs {found} time steps, not {steps}")
    return steps


def _check_time(recording: Recording, example: Tensor, kind: str) -> None:
    """Raise ValueError where the example's time axis does not go with the kind of input."""
    if kind == "pixels" and recording.time_axis is not None:
        if bool((example != example.narrow(recording.time_axis, 0, 1)).any()):
            raise ValueError("the input changes from step to step, pixels are the same in every "
                             "one: say --input spikes or --input counts")
    elif kind != "pixels" and recording.time_axis is None and recording.steps > 1:
        raise ValueError("the module reads the same input in every time step: say --input pixels, "
                         "or give it [T, N, ...]")


def _input_shape(recording: Recording, example: Tensor) -> Shape:
    """(C, H, W) of one sample in one time step."""
    squeezed = any(node.kind == "neuron" and form_of(node.module).layout == "(NT)"
                   for node in recording.nodes if node.module is not None)
    lead = 2 if recording.time_axis is not None and not squeezed else 1
    if example.ndim <= lead:
        axes = "[T, N, ...]" if lead == 2 else "[N, ...]"
        raise ValueError(f"the example must have the axes {axes}, not {list(example.shape)}")
    sides = tuple(example.shape[lead:])
    if len(sides) == 1:
        return (sides[0], 1, 1)
    if len(sides) == 2:
        return (sides[0], 1, sides[1])
    if len(sides) == 3:
        return (sides[0], sides[1], sides[2])
    raise ValueError(f"a sample must have one to three axes, not {list(sides)}")


def _answer(translation: Translation, wanted: str | None
            ) -> tuple[str | None, FoldedAnswer | None, str]:
    """(layer that the graph ends with, which potentials are the answer, kind of answer).

    A readout is added where one is needed: then the layer is None, the last one.
    """
    kind, output, node = translation.answer(wanted)
    if kind == "count":
        if output.over == "last":
            raise ValueError("the answer is the spikes of the last time step alone: count them "
                             "over all steps, or read currents or membranes")
        try:
            check_pixel(translation.values[node].shape)
        except ValueError as error:
            raise ValueError(f"{node.label}: {error}") from None
        return translation.layer_of[node], None, "count"
    if kind == "membrane":
        return _membrane(translation, output, node)
    if output.over == "last":
        raise ValueError("the answer is the current of the last time step alone: take the mean "
                         "over all steps")
    value = translation.values[node]
    translation.graph.readout(value, node.name if node.module is not None else "readout")
    return None, None, "current"


def _membrane(translation: Translation, output: Traced, node: Node
              ) -> tuple[str | None, FoldedAnswer | None, str]:
    """The answer that is a potential, as `_answer` gives it.

    The last potential of an integrator without leak and reset is the sum of its currents, which a
    readout adds up without reading a membrane.
    """
    mapped, over = translation.mapped[node], output.over or "last"
    form, name, text = mapped.form, translation.layer_of[node], f"membrane-{over}"
    shape = next(layer.shape for layer in translation.graph.layers if layer.name == name)
    try:
        answer = membrane_answer(mapped, shape, over)
    except ValueError as error:
        raise ValueError(f"{node.label}: {error}") from None
    free = not mapped.spiking or form.soft and form.delta == 0
    if over == "last" and form.factor == 1 and free and form.lo == -math.inf:
        assert isinstance(form.scale, float | int) and isinstance(form.center, float | int)
        gain, offset = (torch.tensor(v, dtype=torch.float64) / form.scale
                        for v in (form.gain, form.offset))
        start = form.initial / form.scale + form.center
        graph = translation.graph
        read = graph.current(translation.values[node.inputs[0].node])
        if graph.layers[-1].name == name:
            del graph.layers[-1]
        graph.readout(graph.affine(read, gain, offset + start / translation.steps), node.name,
                      node.name)
        at = next(at for at, line in enumerate(translation.lines) if line.name == node.name)
        translation.lines[at] = replace(translation.lines[at], condition="", becomes=(
            f"readout {graph.layers[-1].name!r}: the sum of its currents is its last potential"))
        return None, None, text
    return name, answer, text


def _layout(recording: Recording, kind: str) -> str:
    """The axes of the module's input before those of a sample, as it will be given whole."""
    squeezed = any(node.module is not None and node.kind == "neuron"
                   and form_of(node.module).layout == "(NT)" for node in recording.nodes)
    if squeezed:
        return "(NT)"
    if recording.time_axis is None:
        return "N" if kind == "pixels" else "TN"
    return ("TN", "NT")[recording.time_axis]


def _library(recording: Recording) -> str:
    """Name and version of the library that the neurons come from."""
    found = {type(node.module).__module__.split(".")[0] for node in recording.nodes
             if node.kind == "neuron"}
    names = []
    for name in sorted(found & LIBRARIES.keys()):
        try:
            names.append(f"{name} {importlib.metadata.version(LIBRARIES[name])}")
        except importlib.metadata.PackageNotFoundError:
            names.append(name)
    return ", ".join(names) or "torch"
