"""The payload of a PASS packet: the one place where a `Pass` meets the field names of the tape.

| `Pass`, `Source` | field of `quadfire.rtl.contract.tape` |
|---|---|
| accumulate | PASS.own |
| kernel_taps | PASS.taps |
| dense | PASS.join |
| max_pool | SOURCE.any |
"""

import numpy as np

from quadfire.firmware.compiler.allocation import region_of
from quadfire.firmware.compiler.passes import Pass, Source
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.schedule import Run
from quadfire.firmware.tape.packets import pack
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.tape import PASS, SOURCE, Emit

__all__ = ["emit_of", "pass_payload"]


def emit_of(network: IntegerNetwork, layer: int, *, probe: bool = False) -> Emit:
    """What the passes of a layer answer with. probe: the membranes of all layers are asked for.

    Of a layer of neurons the word after the last time step is its last membrane.
    """
    if probe:
        return Emit.MEMBRANES
    if network.layers[layer].neuron is None:
        return Emit.LOGITS
    if network.answer is None or layer < len(network.layers) - 1:
        return Emit.NONE
    return Emit.LOGITS if network.answer.over == "last" else Emit.MEMBRANES


def pass_payload(program: Program, run: Run, bases: dict[int, int], emit: Emit, chunk: int = 0
                 ) -> np.ndarray:
    """The words of the PASS of a run, uint32.

    | argument | meaning |
    |---|---|
    | bases | {map: spike word of its first pixel} |
    | emit | what the pass answers with, if it drains |
    | chunk | number of the chunk of time, of which `program` is the program |
    """
    a_pass = run.a_pass
    emit = emit if a_pass.drain else Emit.NONE
    head = _pass_words(program, run, emit, _kept_states(program, a_pass, chunk))
    return np.concatenate([head, *(_source_words(program, source, a_pass, bases[source.map])
                                   for source in a_pass.sources)])


def _kept_states(program: Program, a_pass: Pass, chunk: int) -> dict[str, int]:
    """Fields of a pass whose membranes are kept between chunks."""
    state = program.states.get((a_pass.layer, a_pass.tile))
    if state is None or not a_pass.drain:
        return {}
    return {"load": chunk > 0, "store": chunk < program.chunks - 1,
            "state": state + a_pass.first_output * a_pass.tiles}


def _pass_words(program: Program, run: Run, emit: Emit, kept: dict[str, int]) -> np.ndarray:
    """The table PASS of a run."""
    a_pass, inner = run.a_pass, program.inner
    return pack(
        PASS, slots=a_pass.slots - 1, steps=inner.steps - 1,
        planes=inner.bits_of(inner.layers[a_pass.layer]) > 0, own=a_pass.accumulate,
        drain=a_pass.drain, emit=emit, taps=a_pass.kernel_taps, join=a_pass.dense,
        start=a_pass.start, flush=a_pass.flush, column=run.column, rounds=a_pass.tiles - 1,
        sources=len(a_pass.sources) - 1, stride=a_pass.stride.bit_length() - 1,
        width=a_pass.width - 1, height=a_pass.height - 1, row=a_pass.row, x_low=a_pass.x_low,
        x_high=a_pass.x_high, y_low=a_pass.y_low, y_high=a_pass.y_high, output_stride=run.stride,
        output_base=run.target + a_pass.first_output * inner.steps * run.stride,
        parameters=a_pass.parameters, tile=a_pass.tile_parameters,
        site_rows=a_pass.rows // a_pass.sites if a_pass.dense else 0, line=a_pass.line, **kept)


def _source_words(program: Program, source: Source, a_pass: Pass, base: int) -> np.ndarray:
    """The table SOURCE of a source whose map has its first pixel at spike word `base`."""
    region = region_of(program.inner, source.map, program.config)
    pixel = region.slots * region.words
    row = pixel * program.inner.shape_of(source.map)[2]
    values = {
        "base": base + source.y0 * row + source.x0 * pixel + source.first_word,
        "slot_stride": region.words, "x_stride": source.step_x * pixel,
        "y_stride": source.step_y * row, "window_x_stride": pixel, "window_y_stride": row,
        "x0": source.x0, "y0": source.y0}
    values = {name: value & (1 << SOURCE[name]) - 1 for name, value in values.items()}
    return pack(SOURCE, **values, weights=a_pass.weights + source.offset, words=source.words - 1,
                wide=source.wide, any=source.max_pool, pad=source.pad,
                window_width=source.window_width - 1,
                window_height=source.window_height - 1, map_width=source.map_width,
                map_height=source.map_height, step_x=source.step_x, step_y=source.step_y)
