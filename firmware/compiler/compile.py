"""The compiler: from an integer network and an array configuration to a `Program`.

Its steps, in order:

1. Prove that nothing overflows (`overflow`), divide long sequences (`time_chunks`).
2. Make the passes of every layer in each mode that the array can do (`mapping`), and take the mode
   that is estimated to be the fastest (`cost_model`).
3. Decide where weights, parameters and maps lie (`allocation`). Weights and parameters that do not
   fit are written again for every image, maps that do not fit are kept by the host.
4. Put the actions of an image in order (`schedule`, `segments`).
"""

from dataclasses import replace

from quadfire.firmware.compiler.allocation import (
    Memory,
    allocate_maps,
    allocate_parameters,
    allocate_weights,
    region_of,
)
from quadfire.firmware.compiler.cost_model import estimate
from quadfire.firmware.compiler.mapping import mappings
from quadfire.firmware.compiler.overflow import Bounds, check_layer, idle_bias
from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.remedy import array_with, remedies
from quadfire.firmware.compiler.report import LayerReport, layer_report, sum_of_chunks
from quadfire.firmware.compiler.schedule import schedule
from quadfire.firmware.compiler.segments import Segmentation
from quadfire.firmware.compiler.time_chunks import allocate_states, chunks_of, spans_of
from quadfire.firmware.compiler.weights import weight_words
from quadfire.firmware.errors import CompileError
from quadfire.models.integer import INPUT, ConvBranch, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["compile_network"]


def compile_network(network: IntegerNetwork, config: ArrayConfig) -> Program:
    """Compile `network` for the array `config`.

    Raises CompileError if a sum could overflow or the array is too small. It names layer and
    channel where it can, and says what would help.
    """
    _check_format(network, config)
    bounds = [check_layer(layer, config, steps=network.steps, input_bits=network.bits_of(layer))
              for layer in network.layers]
    idle = _idle_biases(network, config)
    spans = spans_of(network.steps, chunks_of(network, config))
    inner = _flat_input(replace(network, steps=len(spans[0]), count_bits=0,
                                input_shape=network.planes_shape))
    passes = [a_pass for layer in range(len(inner.layers))
              for a_pass in _fastest(inner, layer, config)]
    passes = allocate_parameters(allocate_weights(passes, config), config)
    memory = _allocate_maps(inner, config, passes)
    program = Program(
        network, inner, config, passes=tuple(passes), memory=memory,
        actions=schedule(inner, config, passes, memory), layers=(), idle_biases=tuple(idle),
        chunks=len(spans),
        states=allocate_states(network, config, passes) if len(spans) > 1 else {})
    if inner.steps * program.chunks > network.steps:
        program = replace(program, shorter=_shorter(program))
    return replace(program, layers=_reports(program, bounds))


def _check_format(network: IntegerNetwork, config: ArrayConfig) -> None:
    """Raise CompileError unless the array has the network's formats and enough slots."""
    for name, what in (("state_bits", "membrane bits"), ("fraction_bits", "fraction bits")):
        if getattr(network, name) != getattr(config, name):
            same = array_with(config, state_bits=network.state_bits,
                              fraction_bits=network.fraction_bits)
            raise CompileError(f"the network has {getattr(network, name)} {what}, the array "
                               f"{getattr(config, name)}: "
                               + remedies("quantise the network for this array", same))
    if (bits := network.input_bits) > config.slots:
        raise CompileError(f"the network has {bits} bits of a pixel, the array only {config.slots} "
                           f"slots: {array_with(config, slots=bits)}")


def _idle_biases(network: IntegerNetwork, config: ArrayConfig) -> list[int]:
    """Of every layer the bias that keeps the unused lanes of its last tile silent."""
    biases = []
    for layer in network.layers:
        try:
            biases.append(idle_bias(layer.neuron, config, network.steps)
                          if layer.outputs % config.lanes else 0)
        except CompileError as error:
            raise CompileError(f"layer {layer.name!r}: {error}") from None
    return biases


def _flat_input(network: IntegerNetwork) -> IntegerNetwork:
    """The network with a vector as its input, if all layers that read it are fully connected.

    A spike word of a vector holds as many pixels as it has bits; one of a map holds only the
    channels of one pixel.
    """
    _, *sides = network.input_shape

    def flat(branch) -> bool:
        return isinstance(branch, ConvBranch) and branch.pool is None and \
            [*branch.kernel] == sides and not any(branch.padding)

    branches = [branch for layer in network.layers for branch in layer.branches
                if branch.source == INPUT]
    if not all(map(flat, branches)):
        return network
    layers = []
    for layer in network.layers:
        flattened = [replace(branch, weight=branch.weight.reshape(branch.outputs, -1, 1, 1))
                     if branch.source == INPUT and isinstance(branch, ConvBranch) else branch
                     for branch in layer.branches]
        layers.append(replace(layer, branches=tuple(flattened)))
    return replace(network, input_shape=(network.inputs, 1, 1), layers=tuple(layers))


def _fastest(network: IntegerNetwork, layer: int, config: ArrayConfig) -> list[Pass]:
    """The passes of a layer in the mode that is estimated to be the fastest."""
    found, reasons = mappings(network, layer, config)
    if not found:
        why = "; ".join(f"in {mode} mode: {reason}" if len(reasons) > 1 else reason
                        for mode, reason in reasons.items())
        raise CompileError(f"layer {network.layers[layer].name!r}: {why}")
    return min(found.values(), key=lambda passes: _cost(passes, network, config))


def _cost(passes: list[Pass], network: IntegerNetwork, config: ArrayConfig) -> float:
    """Estimated cycles of a layer, no fewer than it takes to write weights that do not fit."""
    planes = network.bits_of(network.layers[passes[0].layer]) > 0
    compute = sum(estimate(a_pass, config, steps=network.steps, planes=planes).cycles
                  for a_pass in passes)
    if sum(a_pass.rows for a_pass in passes) <= config.weight_rows:
        return compute
    return max(compute, sum(weight_words(a_pass, config)
                            * (a_pass.runs if a_pass.every_output else 1)
                            for a_pass in allocate_weights(passes, config)))


def _shorter(program: Program) -> Program:
    """The program of a chunk that is a time step shorter. Everything lies where it did before."""
    config, inner = program.config, replace(program.inner, steps=program.inner.steps - 1)
    passes = tuple(a_pass if inner.bits_of(inner.layers[a_pass.layer])
                   else replace(a_pass, slots=inner.steps) for a_pass in program.passes)
    memory = program.memory.as_of(inner, config)
    return replace(program, inner=inner, passes=passes, memory=memory,
                   actions=schedule(inner, config, passes, memory))


def _reports(program: Program, bounds: list[Bounds]) -> tuple[LayerReport, ...]:
    """The report of every layer, for all chunks of an image."""
    parts = {part.inner.steps: part for part in (program, program.shorter) if part is not None}
    reports = {steps: [layer_report(part.inner, part.config, index, bound, passes=part.passes,
                                    memory=part.memory, actions=part.actions)
                       for index, bound in enumerate(bounds)] for steps, part in parts.items()}
    of_chunks = [reports[len(span)] for span in program.spans]
    return tuple(sum_of_chunks(layer) for layer in zip(*of_chunks, strict=True))


def _allocate_maps(network: IntegerNetwork, config: ArrayConfig, passes: list[Pass]) -> Memory:
    """The spike memory; raises CompileError where it is too small even with all maps on the host.
    """
    of_layer: dict[int, list[Pass]] = {}
    for a_pass in passes:
        of_layer.setdefault(a_pass.layer, []).append(a_pass)

    def needs(layer: int, on_host: set[int]) -> int:
        return Segmentation(network, config, on_host).least(of_layer[layer])

    kernel_layers = {a_pass.layer for a_pass in passes if a_pass.kernel_taps}
    if (memory := allocate_maps(network, config, kernel_layers, needs)) is not None:
        return memory
    layers = range(len(network.layers))
    everything = {INPUT, *layers[:-1]}
    needed, layer = max((needs(layer, everything)
                         + (region_of(network, layer, config).size if layer == layers[-1] else 0),
                         layer) for layer in layers)
    raise CompileError(
        f"layer {network.layers[layer].name!r}: a segment of its inputs and outputs needs "
        f"{needed} spike words at least, the array has {config.spike_words}: "
        + remedies(array_with(config, spike_words=needed), "use fewer time steps",
                   "a narrower layer"))
