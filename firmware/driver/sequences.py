"""Sequences in chunks of time: inputs are divided, outputs are joined.

The chunks of an image follow each other as if they were images: chunk k of image n is image
n * chunks + k of the tapes. `quadfire.firmware.compiler.time_chunks` says why.
"""

from dataclasses import replace

import numpy as np

from quadfire.firmware.driver.outputs import Outputs
from quadfire.models.integer import IntegerNetwork

__all__ = ["chunk_inputs", "chunk_steps", "join_chunks"]


def chunk_inputs(inputs: np.ndarray, chunks: int, pixels: bool) -> np.ndarray:
    """Inputs of N images as those of N * chunks. Pixels [N, ...] are the same in every chunk."""
    return inputs.repeat(chunks, axis=0) if pixels else chunk_steps(inputs, chunks)


def chunk_steps(values: np.ndarray, chunks: int) -> np.ndarray:
    """[T, N, ...] as [T / chunks, N * chunks, ...]."""
    steps, images = len(values) // chunks, values.shape[1]
    split = np.moveaxis(values.reshape(chunks, steps, images, *values.shape[2:]), 0, 2)
    return split.reshape(steps, images * chunks, *values.shape[2:])


def _join_steps(values: np.ndarray, chunks: int) -> np.ndarray:
    """The inverse of `chunk_steps`."""
    steps, images = len(values), values.shape[1] // chunks
    split = np.moveaxis(values.reshape(steps, images, chunks, *values.shape[2:]), 2, 0)
    return split.reshape(chunks * steps, images, *values.shape[2:])


def join_chunks(outputs: Outputs, chunks: int, network: IntegerNetwork) -> Outputs:
    """The outputs of whole sequences, from those of their chunks."""
    if chunks == 1:
        return outputs
    membranes = [_join_steps(values, chunks) for values in outputs.membranes]
    if network.layers[-1].neuron is not None:
        last = _join_steps(outputs.outputs, chunks)
    else:
        width = outputs.outputs.shape[1]
        last = outputs.outputs.reshape(len(outputs.outputs) // chunks, chunks, width)
        if membranes:       # a readout starts every chunk at 0: add the sums of those before
            before = np.moveaxis(last.cumsum(axis=1) - last, 1, 0)
            membranes[-1] += before.repeat(network.steps // chunks, axis=0).astype(np.int32)
        last = last.sum(axis=1)
    profile = outputs.profile
    if profile is not None:
        profile = profile.reshape(len(profile) // chunks, chunks, *profile.shape[1:]).sum(1)
    return replace(
        outputs, outputs=last, membranes=membranes, profile=profile,
        spikes=[None if values is None else _join_steps(values, chunks)
                for values in outputs.spikes])
