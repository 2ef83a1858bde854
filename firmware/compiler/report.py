"""What became of every layer, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quadfire.firmware.compiler.allocation import Memory, region_of
from quadfire.firmware.compiler.cost_model import estimate
from quadfire.firmware.compiler.overflow import Bounds, saturation
from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.schedule import Action, Load, Run
from quadfire.firmware.compiler.weights import weight_words
from quadfire.firmware.tape.memory_layout import tiles_of
from quadfire.models.integer import IntegerNetwork
from quadfire.models.integer.bounds import signed_bits
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS

__all__ = ["LayerReport", "layer_report", "sum_of_chunks"]


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What became of a layer. Its bit widths are proved from its weights, for the worst input."""

    name: str
    reads: str              # C x H x W of its maps
    makes: str
    outputs: int            # channels
    mode: str               # kernel, tiles, dense: see `quadfire.firmware.compiler.passes`
    passes: int
    sources: int            # most of a pass
    sites: int              # of all passes
    rows: int               # of the weight memory
    parameter_words: int    # of a group's parameter memory
    spike_words: int        # of its output map
    map: str                # first spike word of that map, or "host"
    streamed_words: int     # weights and parameters sent for every image; 0: they stay on chip
    map_words: int          # spikes sent and fetched for every image, of maps that the host keeps
    estimated_cycles: int   # at 15 % spikes
    accumulator_bits: int
    current_bits: int
    saturation: str         # see `quadfire.firmware.compiler.overflow.saturation`


def sum_of_chunks(reports: Sequence[LayerReport]) -> LayerReport:
    """The report of a layer for an image, from its reports for the image's chunks of time."""
    per_image = ("streamed_words", "map_words", "estimated_cycles")
    return replace(reports[0], **{name: sum(getattr(report, name) for report in reports)
                                  for name in per_image})


def _shape(shape: tuple[int, int, int]) -> str:
    """C x H x W, or C of a single pixel."""
    return str(shape[0]) if shape[1:] == (1, 1) else " x ".join(map(str, shape))


def _streamed_words(passes: Sequence[Pass], config: ArrayConfig) -> int:
    """Words of weights and parameters that passes have written for every image."""
    words = 0
    for a_pass in passes:
        if a_pass.loads_parameters:
            words += config.groups * (len(NEURON_WORDS) + a_pass.tiles * config.group_lanes)
        if a_pass.streamed:
            words += weight_words(a_pass, config)
    return words


def _map_words(network: IntegerNetwork, config: ArrayConfig, layer: int,
               actions: Sequence[Action]) -> int:
    """Stream words of the host's maps that a layer has sent and fetched for every image."""
    words, loaded = 0, 0
    for action in actions:
        if isinstance(action, Load):
            row = region_of(network, action.map, config).size // network.shape_of(action.map)[1]
            loaded += len(action.rows) * row
        elif isinstance(action, Run):
            words += loaded if action.a_pass.layer == layer else 0
            loaded = 0
        elif action.layer == layer:
            words += action.count * network.steps * action.words
    return words * config.stream_words


def layer_report(network: IntegerNetwork, config: ArrayConfig, index: int, bounds: Bounds, *,
                 passes: Sequence[Pass], memory: Memory, actions: Sequence[Action]) -> LayerReport:
    """The report of layer `index` for one chunk of time.

    passes, memory and actions are those of the whole network.
    """
    layer = network.layers[index]
    mine = [a_pass for a_pass in passes if a_pass.layer == index]
    region = memory.outputs[index]

    def bits(low, high) -> int:
        return signed_bits(int(low.min()), int(high.max()))

    planes = network.bits_of(layer) > 0
    cycles = sum(estimate(a_pass, config, steps=network.steps, planes=planes).cycles
                 for a_pass in mine)
    return LayerReport(
        name=layer.name, reads=" + ".join(_shape(network.shape_of(source))
                                          for source in layer.sources),
        makes=_shape(network.shapes[index]), outputs=layer.outputs, mode=mine[0].mode,
        passes=len(mine), sources=max(len(a_pass.sources) for a_pass in mine),
        sites=sum(a_pass.sites for a_pass in mine), rows=sum(a_pass.rows for a_pass in mine),
        parameter_words=len(NEURON_WORDS) + tiles_of(layer.outputs, config) * config.group_lanes,
        spike_words=region_of(network, index, config).size,
        map="host" if region is None else str(region.base),
        streamed_words=_streamed_words(mine, config),
        map_words=_map_words(network, config, index, actions),
        estimated_cycles=round(cycles),
        accumulator_bits=bits(bounds.sum_low, bounds.sum_high),
        current_bits=bits(bounds.current_low, bounds.current_high),
        saturation=saturation(layer, bounds, config.fraction_bits))
