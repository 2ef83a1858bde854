"""What the driver needs of a device: a stream of words to it, and one back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["Transport"]


class Transport(ABC):
    """A way to a device. Packets are uint32 arrays, each one transfer whose last word is marked.

    config: what the device was made from, where the transport knows it.
    """

    config: ArrayConfig | None = None

    @abstractmethod
    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        """Send `packets` in order while receiving; return once `answers` answers have come.

        Returns early, with what has come, after an ERROR answer; the rest of `packets` may then
        stay unsent, but a packet that was begun must be sent to its end. Answers that come later
        are returned by the next call. Raises TimeoutError when nothing moves any more.
        """

    @abstractmethod
    def reset(self) -> None:
        """Reset the device, and drop every word under way. The device then knows no network."""

    def close(self) -> None:  # noqa: B027  (nothing to let go of is the usual case)
        """Let go of the device."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
