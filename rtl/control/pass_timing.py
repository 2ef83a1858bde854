"""Cycles of a pass, from the latencies of the blocks: for the sequencer and for the cycle model."""

from quadfire.rtl.array.chain import probe_latency, spike_latency
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fetch.event_encoder import EventEncoder
from quadfire.rtl.fetch.raster import Raster
from quadfire.rtl.fetch.word_reader import WordReader
from quadfire.rtl.lib.chain_layouts import AddressKind

__all__ = ["DRAIN_INTERVAL", "backlog_limit", "command_queue_depth", "first_event_latency",
           "probe_cycles", "settle_cycles", "start_addresses"]

#: Least number of cycles from one readout of a drain to the next.
DRAIN_INTERVAL = 2


def first_event_latency(config: ArrayConfig) -> int:
    """Cycles from the start of a pass until its first event can be sent."""
    return (Raster.latency_of(config) + WordReader.latency_of(config)
            + EventEncoder.latency_of(config) + 1)


def start_addresses(config: ArrayConfig) -> list[AddressKind]:
    """What a pass tells the groups before its first event, one a cycle."""
    return [AddressKind.NEURON, AddressKind.TILE,
            *([AddressKind.LINE] if config.kernel_taps else []),
            *([AddressKind.STATE] if config.state_words else [])]


def command_queue_depth(config: ArrayConfig) -> int:
    """Commands that can wait to be sent."""
    return 2 if config.pipelined else 1


def backlog_limit(config: ArrayConfig) -> int:
    """Cycles of queued readouts at which another one may still be sent."""
    return max(config.readout_queue - 2, 0) * config.readout_period


def settle_cycles(config: ArrayConfig) -> int:
    """Cycles from the end of the last readout's turn at the neurons until its spikes can be read.

    With forwarding, that turn may come a cycle later than `backlog` says, see
    `quadfire.rtl.neuron.input_current`.
    """
    return spike_latency(config) + 2 + config.forwards - config.readout_period


def probe_cycles(config: ArrayConfig) -> int:
    """Cycles from a readout that emits probe words to the next command; no other one waits."""
    return probe_latency(config) + 3
