"""Sequences in chunks of time: inputs are divided, outputs are joined.

The chunks of an image follow each other as if they were images: chunk k of image n is image
n * chunks + k of the tapes. `quadfire.firmware.compiler.time_chunks` says why. Arrays that hold
all chunks, [steps, N * chunks, ...], have the steps of the longest one; the others leave their
last step empty.
"""

from dataclasses import replace

import numpy as np

from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.outputs import Outputs

__all__ = ["divide", "join_chunks"]


def divide(inputs: np.ndarray, program: Program) -> list[np.ndarray]:
    """The inputs of every chunk. Pixels [N, ...] are the same in all of them."""
    if program.network.input_bits:
        return [inputs] * program.chunks
    return [inputs[span.start:span.stop] for span in program.spans]


def _join_steps(values: np.ndarray, program: Program) -> np.ndarray:
    """[steps, N * chunks, ...] as [T, N, ...]."""
    return np.concatenate([values[:len(span), chunk::program.chunks]
                           for chunk, span in enumerate(program.spans)])


def join_chunks(outputs: Outputs, program: Program) -> Outputs:
    """The outputs of whole sequences, from those of their chunks."""
    if (chunks := program.chunks) == 1:
        return outputs
    membranes = [_join_steps(values, program) for values in outputs.membranes]
    if program.network.layers[-1].neuron is not None:
        last = _join_steps(outputs.outputs, program)
    else:
        width = outputs.outputs.shape[1]
        last = outputs.outputs.reshape(len(outputs.outputs) // chunks, chunks, width)
        if membranes:       # a readout starts every chunk at 0: add the sums of those before
            before = np.moveaxis(last.cumsum(axis=1) - last, 1, 0)
            membranes[-1] += before.repeat([*map(len, program.spans)], axis=0).astype(np.int32)
        last = last.sum(axis=1)
    profile = outputs.profile
    if profile is not None:
        profile = profile.reshape(len(profile) // chunks, chunks, *profile.shape[1:]).sum(1)
    return replace(
        outputs, outputs=last, membranes=membranes, profile=profile,
        spikes=[None if values is None else _join_steps(values, program)
                for values in outputs.spikes])
