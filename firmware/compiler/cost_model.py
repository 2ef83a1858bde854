"""Estimate: how long a pass takes where only the rates of spikes are known, in closed form.

With e events in a slot at a site of which a share f reads anything, the first source of a site
takes f (e / f + exp(-e / f)) + 1 - f cycles (a slot without an event takes one all the same, events
are Poisson distributed), the others take their events. Where events go on with sums of a slot that
others came between, a cycle loads these (`quadfire.rtl.array.cell`; not without running sums). A pass cannot be
faster than its words are fetched, nor than the neurons scan its outputs. `quadfire.sim.cycles.network_model` knows better,
from actual spikes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from quadfire.firmware.compiler.passes import Pass, Source
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS_WORDS, SOURCE_WORDS

__all__ = ["RATE", "Estimate", "estimate", "weight_words"]

#: Cycles from the start of a pass to its first event, and from its last to the next pass, roughly.
_OVERHEAD = 40

#: Spikes per neuron and time step where nothing is known; ones per bit of a pixel are as many.
RATE = 0.15


@dataclass(frozen=True)
class Estimate:
    """Cycles of a pass, its events and nulls, words that it fetches, scans by the neurons."""

    cycles: float
    events: float
    nulls: float
    fetches: float
    scans: float


def _read(source: Source, item: Pass, rate: float, first: bool
          ) -> tuple[float, float, float, float]:
    """(events, nulls, slots with an event, fetches) of a source over all sites and slots."""
    inside = math.prod(source.inside(item.width, item.height))
    window = source.window_width * source.window_height
    share = min(1.0, inside / window)
    pixels = inside if not source.any else share
    if source.any and inside:
        rate = 1 - (1 - rate) ** (inside / share)
    events = rate * source.channels * pixels
    some = share * (1 - math.exp(-events / share)) if share else 0.0
    nulls = 1 - some if first else 0.0
    fetches = share * source.words * window * item.slots + \
        (1 - share) * (item.slots if first else 1)
    slots = item.sites * item.slots
    return events * slots, nulls * slots, some * slots, fetches * item.sites


def estimate(item: Pass, config: ArrayConfig, *, steps: int, planes: bool,
             rate: Callable[[int], float] = lambda source: RATE) -> Estimate:
    """Estimate of all runs of a pass; `rate` of a map: spikes per channel, pixel and slot."""
    events = nulls = fetches = 0.0
    for index, source in enumerate(item.sources):
        parts = _read(source, item, rate(source.map), index == 0)
        events, nulls, fetches = events + parts[0], nulls + parts[1], fetches + parts[3]
        if config.running_sums and index == 0 and item.own:
            nulls += item.sites * item.slots
        elif config.running_sums and item.slots > 1 and (index or item.join):
            nulls += parts[2] * (1 if index else 1 - 1 / item.sites)
    scans = 0
    if item.drain:
        scans = item.outputs * item.tiles * (item.slots + (steps - 1 if planes else 0))
    added = events + nulls
    if not item.taps:
        added += scans
    elif planes:
        added += item.outputs * (steps - 1)
    neurons = scans * config.scan_period
    cycles = max(added, fetches, neurons)
    if item.join:
        cycles = max(events + nulls, fetches) + neurons
    cycles += _OVERHEAD + config.banks + config.groups
    if item.pixels > 1:             # a PASS for every output
        cycles = max(cycles, 2 + PASS_WORDS + SOURCE_WORDS * len(item.sources))
    return Estimate(*(item.pixels * value for value in (cycles, events, nulls, fetches, scans)))


def weight_words(item: Pass, config: ArrayConfig) -> int:
    """Words that the weights of a pass are, of all banks that it uses."""
    return item.rows * config.groups * (config.banks if item.taps else item.tiles)
