"""The compiler: an integer network and a configuration in, a `Program` out.

A layer becomes passes: for every `banks` tiles of outputs, one pass for every part of the inputs
that the weight memory holds. Weights and parameters stay on chip where those of the whole network
fit; otherwise the largest are written anew before every run. Spikes stay on chip between layers.
"""

from dataclasses import replace

from firmware.bounds import Bounds, CompileError, check_layer, idle_bias, saturation, signed_bits
from firmware.layout import tiles_of, words_of
from firmware.program import LayerReport, Memory, Pass, Program
from firmware.writer import Region
from models.integer import DenseLayer, IntegerNetwork
from rtl.config import ArrayConfig
from rtl.tape import NEURON_WORDS

__all__ = ["CompileError", "compile"]


def compile(network: IntegerNetwork, config: ArrayConfig) -> Program:
    """Compile `network` for the array `config`.

    Raises CompileError, naming layer and channel where it can, if a sum could overflow or if the
    array is too small; the message says what would help.
    """
    _check_format(network, config)
    layers = network.layers
    bounds = [check_layer(layer, config, steps=network.steps,
                          input_bits=0 if index else network.input_bits)
              for index, layer in enumerate(layers)]
    idle = []
    for layer in layers:
        try:
            idle.append(idle_bias(layer.neuron, config, network.steps)
                        if layer.outputs % config.lanes else 0)
        except CompileError as error:
            raise CompileError(f"layer {layer.name!r}: {error}") from None
    passes = [item for index, layer in enumerate(layers) for item in _tile(index, layer, config)]
    passes = _place_parameters(_place_weights(passes, config), config)
    memory = _place_maps(network, config)
    program = Program(network, config, passes=tuple(passes), memory=memory,
                      idle_biases=tuple(idle), layers=())
    program.layers = tuple(_report(program, index, bound) for index, bound in enumerate(bounds))
    return program


def _check_format(network: IntegerNetwork, config: ArrayConfig) -> None:
    for name, what in (("state_bits", "membrane bits"), ("fraction_bits", "fraction bits")):
        if getattr(network, name) != getattr(config, name):
            raise CompileError(f"the network has {getattr(network, name)} {what}, the array "
                               f"{getattr(config, name)}: quantise the network for this array, or "
                               f"use one with {name} = {getattr(network, name)}")
    for value, what in ((network.steps, "time steps"), (network.input_bits, "bits of a pixel")):
        if value > config.slots:
            raise CompileError(f"the network has {value} {what}, the array only {config.slots} "
                               f"slots: use one with slots = {value}" +
                               (", or fewer time steps" if value == network.steps else ""))


def _tile(index: int, layer: DenseLayer, config: ArrayConfig) -> list[Pass]:
    """The passes of a layer: output tiles in the outer loop, parts of the inputs in the inner."""
    room = config.weight_rows
    if layer.inputs > room:
        room -= room % config.word_bits
        if not room:
            raise CompileError(f"layer {layer.name!r}: {layer.inputs} inputs do not fit in "
                               f"{config.weight_rows} weight rows, and only whole spike words can "
                               f"be split: use an array with weight_rows = {config.word_bits} or "
                               "more")
    tiles = tiles_of(layer.outputs, config)
    most = min(config.banks,
               (config.parameter_words - len(NEURON_WORDS)) // config.group_lanes)
    return [Pass(layer=index, tile=tile, tiles=min(most, tiles - tile), first=first,
                 inputs=min(room, layer.inputs - first), own=first > 0,
                 drain=first + room >= layer.inputs)
            for tile in range(0, tiles, most) for first in range(0, layer.inputs, room)]


def _place_weights(passes: list[Pass], config: ArrayConfig) -> list[Pass]:
    """Give every pass its rows; where not all fit, the largest share the first ones in turn."""
    largest = sorted(range(len(passes)), key=lambda index: -passes[index].inputs)
    streamed, row = set(), 0
    while row + sum(item.inputs for index, item in enumerate(passes)
                    if index not in streamed) > config.weight_rows:
        streamed.add(largest[len(streamed)])
        row = passes[largest[0]].inputs
    placed = []
    for index, item in enumerate(passes):
        if index in streamed:
            placed.append(replace(item, row=0, streamed=True))
        else:
            placed.append(replace(item, row=row))
            row += item.inputs
    return placed


def _place_parameters(passes: list[Pass], config: ArrayConfig) -> list[Pass]:
    """Give every pass its parameters; where not all fit, each writes its own before it runs."""
    head, placed, address, parameters = len(NEURON_WORDS), [], 0, 0
    for item in passes:
        if item.own:
            item = replace(item, parameters=placed[-1].parameters,
                           tile_parameters=placed[-1].tile_parameters)
        else:
            if item.tile == 0:
                parameters, address = address, address + head
            item = replace(item, parameters=parameters, tile_parameters=address)
            address += item.tiles * config.group_lanes
        placed.append(item)
    if address <= config.parameter_words:
        return placed
    return [replace(item, parameters=0, tile_parameters=head, loads_parameters=not item.own)
            for item in passes]


def _place_maps(network: IntegerNetwork, config: ArrayConfig) -> Memory:
    """Two input buffers and a map for every layer; or one buffer; or maps that share the memory.

    Shared, maps lie alternately at the start and at the end: only neighbours are alive together.
    """
    shapes = [(network.input_bits or network.steps, words_of(network.inputs, config))]
    shapes += [(network.steps, words_of(layer.outputs, config)) for layer in network.layers]
    for buffers in (2, 1):
        regions, base = [], 0
        for slots, words in shapes[:1] * buffers + shapes[1:]:
            regions.append(Region(base, slots, words))
            base += slots * words
        if base <= config.spike_words:
            return Memory(tuple(regions[:buffers]), tuple(regions[buffers:]), shared=False)
    sizes = [slots * words for slots, words in shapes]
    needed, index = max((sum(sizes[i:i + 2]), i) for i in range(len(sizes) - 1))
    if needed > config.spike_words:
        raise CompileError(f"layer {network.layers[index].name!r}: its inputs and outputs need "
                           f"{needed} spike words, the array has {config.spike_words}: use one "
                           f"with spike_words = {needed}, fewer time steps, or a narrower layer")
    regions = [Region(config.spike_words - slots * words if index % 2 else 0, slots, words)
               for index, (slots, words) in enumerate(shapes)]
    return Memory(tuple(regions[:1]), tuple(regions[1:]), shared=True)


def _report(program: Program, index: int, bounds: Bounds) -> LayerReport:
    layer, config = program.network.layers[index], program.config
    passes = [item for item in program.passes if item.layer == index]

    def bits(low, high) -> int:
        return signed_bits(int(low.min()), int(high.max()))

    return LayerReport(
        name=layer.name, inputs=layer.inputs, outputs=layer.outputs, passes=len(passes),
        rows=sum(item.inputs for item in passes), streamed_words=program.streamed_words(index),
        parameter_words=len(NEURON_WORDS) + tiles_of(layer.outputs, config) * config.group_lanes,
        spike_words=program.memory.outputs[index].size,
        accumulator_bits=bits(bounds.sum_low, bounds.sum_high),
        current_bits=bits(bounds.current_low, bounds.current_high),
        saturation=saturation(layer, bounds, config.fraction_bits))
