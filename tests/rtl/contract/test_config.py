"""The configuration: every refusal with its reason, presets, identity."""

import re
from dataclasses import fields

import pytest

from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset

pytestmark = pytest.mark.fast

#: An array to which any field can be changed on its own.
BASE = {**PRESETS["tiny"].as_dict(), "banks": 9}

#: A change of every field that leaves that a valid array.
CHANGES = {"lut_ram": 0, "readout_queue": 1, "banks": 3, "lanes": 8, "group_lanes": 1,
           "weight_bits": 4, "weight_rows": 65,
           "weight_ports": 1, "accumulator_bits": 17, "slots": 7, "sources": 8, "line_words": 8,
           "state_bits": 13,
           "fraction_bits": 9, "current_bits": 23, "spike_words": 65, "state_words": 1,
           "parameter_words": 65, "packet_words": 256,
           "pipelined": 0, "running_lanes": 0}

LIMITS = {"lut_ram": (0, 1), "readout_queue": (0, 16), "banks": (1, 16), "lanes": (1, 128),
          "group_lanes": (1, 8), "weight_bits": (4, 8),
          "weight_rows": (8, 65536), "weight_ports": (1, 2),
          "accumulator_bits": (8, 32), "slots": (1, 16),
          "sources": (1, 16), "line_words": (0, 4096), "state_bits": (8, 18),
          "fraction_bits": (4, 16), "current_bits": (12, 24), "spike_words": (16, 65536),
          "state_words": (0, 4096), "parameter_words": (16, 65536), "packet_words": (32, 4096),
          "pipelined": (0, 1), "running_lanes": (0, 2048)}


def changed(**changes) -> ArrayConfig:
    return ArrayConfig(**{**BASE, **changes})


def test_every_field_has_limits_and_a_change_here():
    names = {field.name for field in fields(ArrayConfig)}
    assert names == set(CHANGES) == set(LIMITS)


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    low, high = LIMITS[name]
    for value in (low - 1, high + 1, -1, float(high), str(low), True, None):
        with pytest.raises(ValueError, match=rf"{name} \(.+\) must be an integer in {low}..{high}, "
                                             f"not {value!r}"):
            changed(**{name: value})


@pytest.mark.parametrize("changes", [
    {"packet_words": 64}, {"sources": 10}, {"sources": 16}, {"lanes": 2, "group_lanes": 4},
    {"current_bits": 12, "state_bits": 13}])
def test_the_value_that_a_refusal_names_does(changes):
    with pytest.raises(ValueError, match="must be at") as caught:
        changed(**changes)
    name, value = re.match(r"(\w+) must be at (?:least|most) (?:\w+ = )?(\d+),",
                           str(caught.value)).groups()
    assert changed(**changes | {name: int(value)})


@pytest.mark.parametrize(("changes", "message"), [
    ({"lanes": 12}, "lanes must be a power of two, not 12"),
    ({"group_lanes": 3}, "group_lanes must be a power of two, not 3"),
    ({"packet_words": 100}, "packet_words must be a power of two, not 100"),
    ({"packet_words": 64}, "packet_words must be at least 128, so that a pass with 9 sources"),
    ({"sources": 10}, "packet_words must be at least 256, so that a pass with 10 sources"),
    ({"line_words": 4}, "a power of two from 8 on, and 0 unless banks is 9, not 4"),
    ({"line_words": 24}, "a power of two from 8 on, .* not 24 with banks = 9"),
    ({"line_words": 64, "banks": 9, "lut_ram": 0}, "line buffers need LUT RAM .* not 0 and 16"),
    ({"line_words": 64, "banks": 9, "readout_queue": 2}, "lut_ram = 1 .* not 1 and 2"),
    ({"line_words": 64, "banks": 8}, "0 unless banks is 9, not 64 with banks = 8"),
    ({"weight_bits": 6}, "weight_bits must be 4 or 8, not 6"),
    ({"lanes": 2, "group_lanes": 4}, "group_lanes must be at most lanes = 2, not 4"),
    ({"lanes": 8, "group_lanes": 8}, "one memory word, not 64"),
    ({"state_bits": 11}, "fraction_bits must be at most state_bits - 2, .* not 10"),
    ({"current_bits": 12, "state_bits": 13}, "current_bits must be at least state_bits = 13"),
])
def test_combinations_that_cannot_be_built(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(**changes)


def test_extremes_that_can_be_built():
    smallest = ArrayConfig(**{name: low for name, (low, _) in LIMITS.items()})
    assert (smallest.groups, smallest.outputs, smallest.word_bits) == (1, 1, 32)
    assert not smallest.kernel_taps
    assert (smallest.tiles_per_word, smallest.word_columns, smallest.readout_period) == (32, 32, 6)
    largest = ArrayConfig(**{name: high for name, (_, high) in LIMITS.items()}
                          | {"group_lanes": 4, "line_words": 0})
    assert (largest.groups, largest.outputs, largest.word_bits) == (32, 2048, 128)
    assert (largest.stream_words, largest.word_columns, largest.tiles_per_word) == (4, 4, 1)
    assert ArrayConfig(**{**largest.as_dict(), "banks": 9, "line_words": 4096}).kernel_taps
    assert changed(lanes=8, weight_bits=4, group_lanes=8).readout_period == 8


def test_running_sums_need_lut_ram_stages_and_few_lanes():
    lanes = changed().outputs
    assert changed(running_lanes=lanes).running_sums
    assert not changed(running_lanes=lanes - 1).running_sums
    assert not changed(lut_ram=0).running_sums
    assert not changed(pipelined=0).running_sums
    eight = {"lanes": 8, "weight_bits": 4, "group_lanes": 8}
    assert changed(**eight).cell_halves == changed(**eight, pipelined=0).cell_halves == 1
    assert changed(**eight, running_lanes=0).cell_halves == 2


def test_the_pipeline_is_chosen_apart_from_the_memories():
    for lut_ram in (0, 1):
        assert changed(lut_ram=lut_ram).stage_domain == "sync"
        assert changed(lut_ram=lut_ram, pipelined=0).stage_domain == "comb"
        assert changed(lut_ram=lut_ram, pipelined=0).forwards == bool(lut_ram)


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = preset(name)
    assert config is PRESETS[name]
    assert config.kernel_taps == (config.line_words > 0) == (config.banks == 9)
    assert config.wide_bits + (config.group_lanes - 1).bit_length() == config.row_bits <= 32
    assert config.lanes == config.groups * config.group_lanes
    assert config.word_columns * config.column_bits == config.word_bits
    assert config.word_bits == config.stream_words * 32 == config.tiles_per_word * config.lanes
    assert config.state_min == -config.state_max - 1 == -(2 ** (config.state_bits - 1))
    assert ArrayConfig.from_dict(config.as_dict()) == config
    assert f"{config.banks} x {config.lanes} lanes" in str(config)


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ValueError, match="'huge'; there are tiny, tiny-conv, small, medium, def"):
        preset("huge")


@pytest.mark.parametrize("name", CHANGES)
def test_the_hash_changes_with_every_field(name):
    assert changed(**{name: CHANGES[name]}).hash != changed().hash


def test_hashes_fit_32_bits_and_differ():
    hashes = [changed().hash, *(changed(**{name: value}).hash for name, value in CHANGES.items())]
    assert len(set(hashes)) == len(hashes)
    assert all(0 <= number < 1 << 32 for number in hashes)
    assert changed().hash == ArrayConfig.from_dict(changed().as_dict()).hash


def test_from_dict_names_an_unknown_field():
    with pytest.raises(ValueError, match="unknown configuration field 'colour'; known are accumu"):
        ArrayConfig.from_dict({**changed().as_dict(), "colour": 1})
    with pytest.raises(ValueError, match="banks"):
        ArrayConfig.from_dict({"banks": 0})
