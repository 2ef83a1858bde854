"""Closed-form estimate of how long a pass takes at given spike rates.

Let a source bring e events per slot on average, and let a share f of its sites read anything.
The first source of a site then takes

    f (e / f + exp(-e / f)) + 1 - f     cycles per slot,

as events are Poisson distributed and a slot without an event takes one cycle all the same. Every
other source takes e cycles. With running sums, one cycle more reloads the sums of a slot when
events return to it after other slots (`quadfire.rtl.array.cell`). A pass is never faster than its
words are fetched, nor than the neurons read out its outputs.

`quadfire.sim.cycles.network_model` computes the exact cycles from actual spikes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from quadfire.firmware.compiler.passes import Pass, Source
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS_WORDS, SOURCE_WORDS

__all__ = ["RATE", "Estimate", "estimate"]

#: Cycles before the first and after the last event of a pass, roughly.
_OVERHEAD = 40

#: Default rate: spikes per neuron and time step, or ones per bit of a pixel.
RATE = 0.15


@dataclass(frozen=True)
class Estimate:
    """What all runs of a pass take.

    | field | meaning |
    |---|---|
    | cycles | of the array |
    | events, nulls | cycles with an event, cycles of slots without one |
    | fetches | spike words that are read |
    | readouts | sets of lanes that the neurons read |
    """

    cycles: float
    events: float
    nulls: float
    fetches: float
    readouts: float


def _read(source: Source, a_pass: Pass, rate: float, first: bool
          ) -> tuple[float, float, float, float]:
    """(events, nulls, slots with an event, fetches) of a source, over all sites and slots."""
    inside = math.prod(source.inside(a_pass.width, a_pass.height))
    window = source.window_width * source.window_height
    share = min(1.0, inside / window)
    pixels = inside if not source.max_pool else share
    if source.max_pool and inside:
        rate = 1 - (1 - rate) ** (inside / share)
    events = rate * source.channels * pixels
    some = share * (1 - math.exp(-events / share)) if share else 0.0
    nulls = 1 - some if first else 0.0
    fetches = share * source.words * window * a_pass.slots + \
        (1 - share) * (a_pass.slots if first else 1)
    slots = a_pass.sites * a_pass.slots
    return events * slots, nulls * slots, some * slots, fetches * a_pass.sites


def estimate(a_pass: Pass, config: ArrayConfig, *, steps: int, planes: bool,
             rate: Callable[[int], float] = lambda source: RATE) -> Estimate:
    """Estimate of all runs of a pass.

    | argument | meaning |
    |---|---|
    | steps | time steps of the network |
    | planes | the slots are bit planes of pixels |
    | rate | rate of a map: spikes per channel, pixel and slot |
    """
    events = nulls = fetches = 0.0
    for index, source in enumerate(a_pass.sources):
        more, empty, some, words = _read(source, a_pass, rate(source.map), index == 0)
        events, nulls, fetches = events + more, nulls + empty, fetches + words
        if config.running_sums and index == 0 and a_pass.accumulate:
            nulls += a_pass.sites * a_pass.slots
        elif config.running_sums and a_pass.slots > 1 and (index or a_pass.dense):
            nulls += some * (1 if index else 1 - 1 / a_pass.sites)
    readouts = 0
    if a_pass.drain:
        readouts = a_pass.outputs * a_pass.tiles * (a_pass.slots + (steps - 1 if planes else 0))
    added = events + nulls
    if not a_pass.kernel_taps:
        added += readouts
    elif planes:
        added += a_pass.outputs * (steps - 1)
    neurons = readouts * config.readout_period
    cycles = max(added, fetches, neurons)
    if a_pass.dense:
        cycles = max(events + nulls, fetches) + neurons
    cycles += _OVERHEAD + config.banks + config.groups
    if a_pass.runs > 1:             # one PASS packet per output
        cycles = max(cycles, 2 + PASS_WORDS + SOURCE_WORDS * len(a_pass.sources))
    return Estimate(*(a_pass.runs * value
                      for value in (cycles, events, nulls, fetches, readouts)))
