"""Patterns of spikes over time: counted by hand, and of a trained network."""

import itertools
import json

import numpy as np
import pytest
import torch

from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.quantize.patterns import Patterns, count, fewest, network_patterns, slots, word
from quadfire.paths import PRETRAINED

from tests.command import quadfire

pytestmark = pytest.mark.fast


def test_slots_and_words():
    assert [word(slot, 4) for slot in slots(4)] == ["1111", "0101", "1010"]
    assert [word(slot, 5) for slot in slots(5)] == ["11111", "01010", "10101"]
    assert [word(slot, 2) for slot in slots(2)] == ["11"] and not slots(1)
    assert [word(slot, 3) for slot in slots(3)] == ["111", "101"]


def test_fewest_events_that_add_up():
    """Against all ways to write a pattern as disjoint slots and single steps."""
    parts = [*slots(4), 1, 2, 4, 8]
    for pattern in range(16):
        best = min(len(some) for size in range(5) for some in itertools.combinations(parts, size)
                   if sum(some) == pattern and not any(
                       a & b for a, b in itertools.combinations(some, 2)))
        assert fewest(pattern, 4) == best
    text = {word(p, 4): fewest(p, 4) for p in range(16)}
    assert (text["1101"], text["0111"], text["1111"], text["0110"], text["0000"]) == (2, 2, 1, 2, 0)


def test_counts_by_hand():
    spikes = torch.tensor([[1, 0, 0, 1, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 1], [1, 1, 0, 1, 0]])
    found = Patterns("x", False, 4, 1, count(spikes))       # 1111 0101 0000 1101 0010
    assert {word(p, 4): n for p, n in enumerate(found.counts) if n} == \
        {"1111": 1, "0101": 1, "0000": 1, "1101": 1, "0010": 1}
    assert (found.direct, found.with_slots, found.with_sums, found.active) == (10, 6, 5, 4)
    assert found.rate == 10 / 20 and found.share(slots(4)[0]) == 1 / 4


def test_a_network_with_a_pool():
    network = IntegerNetwork.load(PRETRAINED / "mnist5k-conv-int8.safetensors")
    images = torch.randint(256, (6, 1, 28, 28), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(1))
    rows = network_patterns(network, iter([images[:4], images[4:]]))
    spikes = reference.run(network, images, record=True).spikes
    plain = [row for row in rows if not row.pooled]
    assert [row.direct for row in plain] == [int(map_.sum()) for map_ in spikes]
    assert all(row.images == 6 and row.counts.dtype == np.int64 for row in rows)
    pooled = [row for row in rows if row.pooled]
    assert pooled
    for row in rows:
        assert row.active <= row.with_sums <= row.with_slots <= row.direct
    first = next(row for row in plain if row.name == pooled[0].name)
    assert pooled[0].counts.sum() * 4 == first.counts.sum() and pooled[0].rate > first.rate


def test_the_command(tmp_path):
    net = PRETRAINED / "mnist5k-conv-int8.safetensors"
    picture, out = tmp_path / "p.png", tmp_path / "p.json"
    done = quadfire("patterns", net, "--images", 10, "--picture", picture, "--out", out)
    assert done.status == 0 and "1111" in done.out and "10 held-out images" in done.out, done.text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(out.read_text())["maps"][0]["images"] == 10
    done = quadfire("patterns", PRETRAINED / "mnist5k-conv.safetensors")
    assert done.status and "quadfire quantize" in done.text
