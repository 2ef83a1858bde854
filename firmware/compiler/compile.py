"""The compiler: an integer network and a configuration in, a `Program` out.

A layer becomes passes, in the one of three ways (see `quadfire.firmware.compiler.passes`) that is estimated to be the
fastest of those that the array can do. Weights and parameters stay on chip where those of the whole
network fit; otherwise the largest are written anew before every run. Spikes stay on chip between
layers where they fit; otherwise the largest maps are kept by the host.
"""

from dataclasses import replace

from quadfire.firmware.compiler.overflow import CompileError, check_layer, idle_bias
from quadfire.firmware.compiler.cost_model import estimate, weight_words
from quadfire.firmware.compiler.allocation import (
    Memory, place_maps, place_parameters, place_weights, region_of,
)
from quadfire.firmware.compiler.mapping import plans
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.report import layer_report
from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.schedule import Streams, schedule
from quadfire.firmware.compiler.time_chunks import parts_of, place_states
from quadfire.models.integer import INPUT, ConvBranch, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["CompileError", "compile"]


def compile(network: IntegerNetwork, config: ArrayConfig) -> Program:
    """Compile `network` for the array `config`.

    Raises CompileError, naming layer and channel where it can, if a sum could overflow or if the
    array is too small; the message says what would help.
    """
    _check_format(network, config)
    bounds = [check_layer(layer, config, steps=network.steps, input_bits=network.bits_of(layer))
              for layer in network.layers]
    idle = _idle_biases(network, config)
    parts = parts_of(network, config)
    inner = _flat_input(replace(network, steps=network.steps // parts))
    passes = [item for layer in range(len(inner.layers))
              for item in _fastest(inner, layer, config)]
    passes = place_parameters(place_weights(passes, config), config)
    memory = _place_maps(inner, config, passes)
    program = Program(network, inner, config, passes=tuple(passes), memory=memory,
                      steps=schedule(inner, config, passes, memory), idle_biases=tuple(idle),
                      parts=parts,
                      states=place_states(inner, config, passes) if parts > 1 else {})
    program.layers = tuple(layer_report(program, index, bound)
                           for index, bound in enumerate(bounds))
    return program


def _check_format(network: IntegerNetwork, config: ArrayConfig) -> None:
    for name, what in (("state_bits", "membrane bits"), ("fraction_bits", "fraction bits")):
        if getattr(network, name) != getattr(config, name):
            raise CompileError(f"the network has {getattr(network, name)} {what}, the array "
                               f"{getattr(config, name)}: quantise the network for this array, or "
                               f"use one with {name} = {getattr(network, name)}")
    if (bits := network.input_bits) > config.slots:
        raise CompileError(f"the network has {bits} bits of a pixel, the array only {config.slots} "
                           f"slots: use one with slots = {bits}")


def _idle_biases(network: IntegerNetwork, config: ArrayConfig) -> list[int]:
    biases = []
    for layer in network.layers:
        try:
            biases.append(idle_bias(layer.neuron, config, network.steps)
                          if layer.outputs % config.lanes else 0)
        except CompileError as error:
            raise CompileError(f"layer {layer.name!r}: {error}") from None
    return biases


def _flat_input(network: IntegerNetwork) -> IntegerNetwork:
    """The network with a vector for its input, if every layer that reads it is fully connected.

    So a word of the input holds as many pixels as it has bits, not the channels of one.
    """
    _, *sides = network.input_shape

    def flat(branch) -> bool:
        return isinstance(branch, ConvBranch) and branch.pool is None and \
            [*branch.kernel] == sides and not branch.padding

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
    """The passes of a layer: of those that the array can do, the estimated fastest."""
    found, reasons = plans(network, layer, config)
    if not found:
        why = "; ".join(f"as {kind}: {reason}" if len(reasons) > 1 else reason
                        for kind, reason in reasons.items())
        raise CompileError(f"layer {network.layers[layer].name!r}: {why}")
    return min(found.values(), key=lambda passes: _cost(passes, network, config))


def _cost(passes: list[Pass], network: IntegerNetwork, config: ArrayConfig) -> float:
    """Estimated cycles of a layer; no less than its weights take if they do not fit at once."""
    planes = network.bits_of(network.layers[passes[0].layer]) > 0
    compute = sum(estimate(item, config, steps=network.steps, planes=planes).cycles
                  for item in passes)
    if sum(item.rows for item in passes) <= config.weight_rows:
        return compute
    return max(compute, sum(weight_words(item, config) * (item.pixels if item.again else 1)
                            for item in place_weights(passes, config)))


def _place_maps(network: IntegerNetwork, config: ArrayConfig, passes: list[Pass]) -> Memory:
    taps = {item.layer for item in passes if item.taps}
    of_layer: dict[int, list[Pass]] = {}
    for item in passes:
        of_layer.setdefault(item.layer, []).append(item)

    def needs(layer: int, on_host: set[int]) -> int:
        return Streams(network, config, on_host).least(of_layer[layer])

    placed = place_maps(network, config, taps, needs)
    if placed is None:
        layers = range(len(network.layers))
        sizes = {layer: region_of(network, layer, config).size for layer in layers}
        everything = {INPUT, *layers[:-1]}
        needed, layer = max((needs(layer, everything)
                             + (sizes[layer] if layer == layers[-1] else 0), layer)
                            for layer in layers)
        raise CompileError(
            f"layer {network.layers[layer].name!r}: a part of its inputs and outputs needs "
            f"{needed} spike words at least, the array has {config.spike_words}: use one with "
            f"spike_words = {needed}, fewer time steps, or a narrower layer")
    return placed
