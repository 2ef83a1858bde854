"""Pass check: what a PASS may say on an array."""

from amaranth import *
from amaranth.lib import data

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS, PASS_WORDS, Emit

__all__ = ["pass_word_faults", "pass_field_bits"]


def pass_field_bits(config: ArrayConfig) -> dict[str, tuple[int, int]]:
    """(lowest bit in its word, bits that a possible PASS uses) of every field."""
    most = {"slots": config.slots - 1, "steps": config.slots - 1, "rounds": config.banks - 1,
            "column": config.tiles_per_word - 1, "sources": config.sources - 1,
            "output_base": config.spike_words - 1, "output_stride": config.spike_words - 1,
            "parameters": config.parameter_words - 1, "tile": config.parameter_words - 1,
            "site_rows": config.weight_rows - 1, "unused": 0}
    if not config.kernel_taps:
        most |= dict.fromkeys(("taps", "start", "stride", "row", "x_low", "x_high", "y_low",
                               "y_high", "line"), 0)
    if not config.state_words:
        most |= dict.fromkeys(("load", "store", "state"), 0)
    result, at = {}, 0
    for name, bits in PASS.items():
        width = min(bits, most[name].bit_length()) if name in most else bits
        result[name], at = (at % 32, width), at + bits
    return result


def pass_word_faults(config: ArrayConfig, word: Value, fields: data.View) -> list[Value]:
    """Whether `word` is impossible on the array as word 0, 1, ... of a PASS; one bit a place.

    fields: what the words before it have said. Combinational; the executor registers the result.
    """
    sums: list[list] = [[] for _ in range(PASS_WORDS)]
    here, at = {}, 0
    for name, bits in PASS.items():
        here[name] = word[at % 32:at % 32 + bits], sums[at // 32]
        at += bits
    bounds = {"slots": config.slots, "steps": config.slots, "rounds": config.banks,
              "emit": len(Emit), "column": config.tiles_per_word, "sources": config.sources,
              "output_base": config.spike_words, "parameters": config.parameter_words,
              "tile": config.parameter_words}
    for name, bound in bounds.items():
        value, wrong = here[name]
        wrong.append(value >= bound)

    def never(name: str, when: Value):
        here[name][1].append(when)

    taps, rounds = here["taps"][0], here["rounds"][0]
    never("taps", taps & (rounds != 0) if config.kernel_taps else taps)
    if config.kernel_taps:
        never("line", fields.taps & (here["line"][0] > config.line_words - 2))
    if config.state_words:
        never("state", (fields.load | fields.store) & (here["state"][0] >= config.state_words))
    else:
        never("load", here["load"][0] | here["store"][0])
    return [Cat(*terms).any() for terms in sums]
