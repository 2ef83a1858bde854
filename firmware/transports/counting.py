"""A transport that counts the bytes of another one."""

from collections.abc import Sequence

import numpy as np

from quadfire.firmware.transports.transport import Transport

__all__ = ["CountingTransport"]


class CountingTransport(Transport):
    """Counts the bytes of another transport: `sent` to the device, `received` from it."""

    def __init__(self, transport: Transport):
        self.transport, self.sent, self.received = transport, 0, 0
        self.config = transport.config

    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        self.sent += 4 * sum(map(len, packets))
        got = self.transport.exchange(packets, answers)
        self.received += 4 * sum(map(len, got))
        return got

    def reset(self) -> None:
        self.transport.reset()

    def close(self) -> None:
        self.transport.close()
