"""Signals that ask a run to end: it goes on to the end of its batch, and keeps its state."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Asked", "asked_to_stop"]


class Asked:
    """Whether a signal came, and which one. As a function: whether to stop."""

    signal: int = 0

    def __call__(self) -> bool:
        return bool(self.signal)

    @property
    def status(self) -> int:
        """The exit status of a shell for it."""
        return 128 + self.signal


@contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Within the block the first Ctrl-C or SIGTERM is noted; the second one acts as ever.

    A signal that was ignored before, as Ctrl-C is in the background of a script, stays ignored.
    """
    asked = Asked()
    before = {number: handler for number in (signal.SIGINT, signal.SIGTERM)
              if (handler := signal.getsignal(number)) != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        asked.signal = number
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
