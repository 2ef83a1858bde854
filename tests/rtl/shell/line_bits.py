"""A serial line in continuous time: bits of bytes as edges, and bytes out of sampled edges."""

import random
from itertools import pairwise


def edges(data: bytes, *, period: float, rng: random.Random, gap: float = 0.0, start: float = 50.0,
          jitter: float = 0.0) -> list[tuple[float, int]]:
    """(time, level) of 8N1 `data`, in clock cycles; up to `gap` idle bits between bytes."""
    out, now = [], start
    for byte in data:
        bits = [0, *(byte >> i & 1 for i in range(8)), 1]
        for bit in bits:
            out.append((now + rng.uniform(0, jitter), bit))
            now += period
        now += rng.uniform(0, gap) * period
    return out


def levels(changes: list[tuple[float, int]], cycles: int) -> list[int]:
    """The level in every clock cycle."""
    out: list[int] = []
    for (_, before), (time, _) in pairwise([(0.0, 1), *changes]):
        out += [before] * max(0, round(time) - len(out))
    return (out + [changes[-1][1]] * cycles)[:max(cycles, len(out))]


def received(samples: list[int], period: float) -> list[int]:
    """Bytes of a sampled line; -1 for one without a stop bit."""
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
