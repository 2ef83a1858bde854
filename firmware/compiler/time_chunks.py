"""Sequences longer than an array has slots: in parts of equal length, membranes kept between them.

The parts of an image follow each other as if they were images, image by image: part k of image n is
image n * parts + k of the tapes. The first starts the neurons anew, each later one goes on from the
membranes that the part before has left in the array's state memory.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from quadfire.firmware.compiler.overflow import CompileError
from quadfire.firmware.tape.memory_layout import tiles_of
from quadfire.firmware.driver.outputs import Outputs
from quadfire.firmware.compiler.passes import Pass
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["joined", "part_inputs", "part_steps", "parts_of", "place_states"]


def parts_of(network: IntegerNetwork, config: ArrayConfig) -> int:
    """Number of parts, 1 where the slots suffice: the least that divides the time steps.

    Raises CompileError where the array keeps no membranes.
    """
    if network.steps <= config.slots:
        return 1
    if not config.state_words:
        raise CompileError(f"the network has {network.steps} time steps, the array only "
                           f"{config.slots} slots and no memory for membranes: use one with slots "
                           f"= {network.steps} or with state_words, or fewer time steps")
    return next(parts for parts in range(2, network.steps + 1)
                if network.steps % parts == 0 and network.steps // parts <= config.slots)


def place_states(network: IntegerNetwork, config: ArrayConfig, passes: Iterable[Pass]
                 ) -> dict[tuple[int, int], int]:
    """Place of the membranes of every (layer, first tile of a pass): one word an output and tile.

    Raises CompileError if the state memory is too small.
    """
    places, at = {}, 0
    for item in passes:
        layer = network.layers[item.layer]
        if layer.neuron is None or (item.layer, item.tile) in places:
            continue
        _, height, width = network.shapes[item.layer]
        places[item.layer, item.tile] = at
        at += height * width * item.tiles
    if at > config.state_words:
        needed = sum(h * w * tiles_of(c, config)
                     for (c, h, w), layer in zip(network.shapes, network.layers, strict=True)
                     if layer.neuron is not None)
        raise CompileError(f"the membranes of its neurons need {needed} state words, the array has "
                           f"{config.state_words}: use one with state_words = {needed}, or with "
                           f"slots for all time steps")
    return places


def part_inputs(inputs: np.ndarray, parts: int, pixels: bool) -> np.ndarray:
    """Inputs of N images as those of N * parts: pixels [N, ...] are those of every part."""
    return inputs.repeat(parts, axis=0) if pixels else part_steps(inputs, parts)


def part_steps(values: np.ndarray, parts: int) -> np.ndarray:
    """[T, N, ...] as [T / parts, N * parts, ...]."""
    steps, images = len(values) // parts, values.shape[1]
    split = np.moveaxis(values.reshape(parts, steps, images, *values.shape[2:]), 0, 2)
    return split.reshape(steps, images * parts, *values.shape[2:])


def _whole(values: np.ndarray, parts: int) -> np.ndarray:
    """The inverse of `part_steps`."""
    steps, images = len(values), values.shape[1] // parts
    split = np.moveaxis(values.reshape(steps, images, parts, *values.shape[2:]), 2, 0)
    return split.reshape(parts * steps, images, *values.shape[2:])


def joined(outputs: Outputs, parts: int, network: IntegerNetwork) -> Outputs:
    """The outputs of sequences, from those of their parts."""
    if parts == 1:
        return outputs
    membranes = [_whole(values, parts) for values in outputs.membranes]
    if network.layers[-1].neuron is not None:
        last = _whole(outputs.outputs, parts)
    else:
        last = outputs.outputs.reshape(-1, parts, outputs.outputs.shape[1])
        if membranes:       # the sum that a readout has when a part begins
            before = np.moveaxis(last.cumsum(axis=1) - last, 1, 0)
            membranes[-1] += before.repeat(network.steps // parts, axis=0).astype(np.int32)
        last = last.sum(axis=1)
    profile = outputs.profile
    return replace(
        outputs, outputs=last, membranes=membranes,
        spikes=[None if values is None else _whole(values, parts) for values in outputs.spikes],
        profile=None if profile is None else profile.reshape(-1, parts, *profile.shape[1:]).sum(1))
