"""A UART's pin in continuous time: bytes to edges, edges to samples, samples to bytes."""

import random
from itertools import pairwise


def edges(data: bytes, *, period: float, rng: random.Random, gap: float = 0.0, start: float = 50.0,
          jitter: float = 0.0) -> list[tuple[float, int]]:
    """Edges (time, level) of `data` as 8N1; all times in clock cycles.

    period: of a bit. gap: largest number of idle bits between bytes. start: time of the first edge.
    jitter: largest delay of an edge.
    """
    out, now = [], start
    for byte in data:
        bits = [0, *(byte >> i & 1 for i in range(8)), 1]
        for bit in bits:
            out.append((now + rng.uniform(0, jitter), bit))
            now += period
        now += rng.uniform(0, gap) * period
    return out


def levels(changes: list[tuple[float, int]], cycles: int) -> list[int]:
    """The level in each clock cycle, for at least `cycles` of them."""
    out: list[int] = []
    for (_, before), (time, _) in pairwise([(0.0, 1), *changes]):
        out += [before] * max(0, round(time) - len(out))
    return (out + [changes[-1][1]] * cycles)[:max(cycles, len(out))]


def received(samples: list[int], period: float) -> list[int]:
    """Bytes in sampled levels; -1 for one without a stop bit."""
    out, at = [], 0
    while at < len(samples):
        if samples[at]:
            at += 1
            continue
        places = [round(at + (bit + 0.5) * period - 0.5) for bit in range(10)]
        if places[-1] >= len(samples):
            break
        bits = [samples[place] for place in places]
        out.append(sum(bit << i for i, bit in enumerate(bits[1:9])) if bits[9] else -1)
        at = places[-1] + 1
        while not samples[min(at, len(samples) - 1)] and out[-1] < 0:
            at += 1
    return out
