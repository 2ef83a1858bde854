"""Tests of a device: registers, spike memory, and a network whose answers are known."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.errors import CompileError, DeviceError
from quadfire.firmware.tape.packets import decode, encode
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.tape import COUNTERS, Answer, Opcode

__all__ = ["GOLDEN", "TESTS", "golden", "selftest"]

#: A small network. The .npz beside it holds inputs, and the logits of the integer reference.
GOLDEN = Path(__file__).with_name("golden.safetensors")


def golden() -> tuple[IntegerNetwork, np.ndarray, np.ndarray]:
    """(network, inputs, logits) of the golden network."""
    with np.load(GOLDEN.with_suffix(".npz"), allow_pickle=False) as data:
        return IntegerNetwork.load(GOLDEN), data["inputs"], data["logits"]


def _answers(device: Accelerator, packets: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Payloads of the answers to one tape; raises DeviceError for a refusal."""
    payloads: list[np.ndarray] = []
    while len(payloads) < count:
        for words in device.transport.exchange(packets, count - len(payloads)):
            answer = decode(words)
            if answer.opcode == Answer.ERROR:
                raise DeviceError(f"the device refused a packet: fault {answer.payload[0]}")
            payloads.append(answer.payload)
        packets = []
    return payloads


def _registers(device: Accelerator) -> str:
    """INFO is right; counters count and are cleared by a REPORT."""
    info = device.info()
    if info.configuration != device.config.hash:
        raise DeviceError(f"the device has configuration {info.configuration:#010x}, not "
                          f"{device.config.hash:#010x}")
    packets = [encode(Opcode.BEGIN, 0, [device.config.hash, 0]),
               *(encode(Opcode.REPORT, number) for number in (1, 2))]
    first, second = (dict(zip(COUNTERS, map(int, payload), strict=True))
                     for payload in _answers(device, packets, 2))
    if not 0 < second["cycles"] or first["busy"] or second["busy"] or second["events"]:
        raise DeviceError(f"counters of an idle device are {first}, then {second}")
    return f"configuration {info.configuration:#010x}, version {info.version >> 16}"


def _memory(device: Accelerator) -> str:
    """Every word of the spike memory holds a random word, then its inverse."""
    config = device.config
    words = np.random.default_rng(1).integers(0, 1 << 32, config.spike_words * config.stream_words,
                                              dtype=np.uint32)
    for pattern in (words, ~words):
        packets = [encode(Opcode.BEGIN, 0, [config.hash, 0])]
        for at in range(0, len(words), config.payload_words - 1):
            piece = pattern[at:at + config.payload_words - 1]
            packets.append(encode(Opcode.SPIKES, len(packets), [at, *piece]))
        reads = range(0, len(words), config.payload_words)
        for at in reads:
            packets.append(encode(Opcode.READ, len(packets),
                                  [at, min(config.payload_words, len(words) - at)]))
        got = np.concatenate(_answers(device, packets, len(reads)))
        if len(wrong := np.flatnonzero(got != pattern)):
            at = int(wrong[0])
            raise DeviceError(f"{len(wrong)} words of the spike memory are wrong, the first at "
                              f"{at}: {int(got[at]):#010x} instead of {int(pattern[at]):#010x}")
    return f"{len(words)} words"


def _network(device: Accelerator) -> str:
    """The golden network gives the stored logits, in two runs."""
    network, inputs, logits = golden()
    try:
        device.load(network)
    except CompileError as error:
        return f"left out: the golden network does not fit this array ({error})"
    for _ in range(2):
        got = device.run(inputs).outputs
        if len(wrong := np.argwhere(got != logits)):
            image, output = wrong[0]
            raise DeviceError(f"{len(wrong)} of {logits.size} logits of the golden network are "
                              f"wrong, the first of image {image}, output {output}: "
                              f"{got[image, output]} instead of {logits[image, output]}")
    return f"{logits.size} logits"


#: Every test returns what it saw, and raises DeviceError if something is wrong.
TESTS: dict[str, Callable[[Accelerator], str]] = {
    "registers": _registers, "spike memory": _memory, "golden network": _network}


def selftest(device: Accelerator) -> Iterator[tuple[str, str]]:
    """Run all tests: yields (test, what it saw) for each that passes.

    Raises DeviceError if one fails. The device forgets the network that it held.
    """
    device.program = None
    for name, test in TESTS.items():
        yield name, test(device)
