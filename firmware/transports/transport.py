"""The interface between the driver and any device: packets there, packets back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["Transport"]


class Transport(ABC):
    """A way to a device. A packet is a uint32 array, sent as one transfer with its end marked.

    | member | meaning |
    |---|---|
    | `config` | what the device was made from, if the transport knows it, else None |
    | `exchange(packets, answers)` | send packets while receiving answers |
    | `reset()` | reset the device; it then knows no network |
    | `close()` | release the device |

    A transport is a context manager that closes itself.
    """

    config: ArrayConfig | None = None

    @abstractmethod
    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        """Send `packets` in order while receiving; return `answers` answers once they have come.

        An ERROR answer ends the exchange early: what came so far is returned, ERROR last. The rest
        of `packets` may then stay unsent, except that a packet that was begun is sent to its end.
        The next call returns answers that come later. Raises TimeoutError when nothing moves.
        """

    @abstractmethod
    def reset(self) -> None:
        """Reset the device and drop every word under way."""

    def close(self) -> None:  # noqa: B027  (most transports hold nothing)
        """Release the device."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
