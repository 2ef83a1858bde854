"""What became of a layer, in numbers."""

from dataclasses import dataclass

from quadfire.firmware.compiler.overflow import Bounds, saturation
from quadfire.firmware.compiler.cost_model import estimate
from quadfire.firmware.tape.memory_layout import tiles_of
from quadfire.firmware.compiler.allocation import region_of
from quadfire.firmware.compiler.program import Program
from quadfire.models.integer.bounds import signed_bits
from quadfire.rtl.contract.tape import NEURON_WORDS

__all__ = ["LayerReport", "layer_report"]


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What became of a layer. Widths are those its worst input needs, proved from its weights."""

    name: str
    reads: str              # C x H x W of its maps
    makes: str
    outputs: int            # channels
    mode: str               # taps, tiles, join: see `quadfire.firmware.compiler.passes`
    passes: int
    sources: int            # of a pass, at most
    sites: int              # of all passes
    rows: int               # of the weight memory
    parameter_words: int    # of a group's parameter memory
    spike_words: int        # of its output map
    map: str                # where that lies: a spike word, or "host"
    streamed_words: int     # weights and parameters sent for every image, 0: they stay on chip
    map_words: int          # spikes sent and fetched for every image, for maps that the host keeps
    estimated_cycles: int   # at 15 % spikes
    accumulator_bits: int
    current_bits: int
    saturation: str         # see `quadfire.firmware.compiler.overflow.saturation`


def _shape(shape: tuple[int, int, int]) -> str:
    return str(shape[0]) if shape[1:] == (1, 1) else " x ".join(map(str, shape))


def layer_report(program: Program, index: int, bounds: Bounds) -> LayerReport:
    """The report of layer `index` of a compiled network."""
    network, config = program.inner, program.config
    layer = network.layers[index]
    passes = [item for item in program.passes if item.layer == index]
    first, region = passes[0], program.memory.outputs[index]

    def bits(low, high) -> int:
        return signed_bits(int(low.min()), int(high.max()))

    planes = network.bits_of(layer) > 0
    cycles = sum(estimate(item, config, steps=network.steps, planes=planes).cycles
                 for item in passes)
    return LayerReport(
        name=layer.name, reads=" + ".join(_shape(network.shape_of(source))
                                          for source in layer.sources),
        makes=_shape(network.shapes[index]), outputs=layer.outputs,
        mode="taps" if first.taps else "join" if first.join else "tiles",
        passes=len(passes), sources=max(len(item.sources) for item in passes),
        sites=sum(item.sites for item in passes), rows=sum(item.rows for item in passes),
        parameter_words=len(NEURON_WORDS) + tiles_of(layer.outputs, config) * config.group_lanes,
        spike_words=region_of(network, index, config).size,
        map="host" if region is None else str(region.base),
        streamed_words=program.streamed_words(index), map_words=program.map_words(index),
        estimated_cycles=round(cycles),
        accumulator_bits=bits(bounds.sum_low, bounds.sum_high),
        current_bits=bits(bounds.current_low, bounds.current_high),
        saturation=saturation(layer, bounds, config.fraction_bits))
