"""The command line as a test calls it."""

import contextlib
import io
from typing import NamedTuple

from quadfire import cli

__all__ = ["Done", "quadfire"]


class Done(NamedTuple):
    """What a command ended with: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err


def quadfire(*words: object) -> Done:
    """`quadfire WORDS...` in this process. An error that the command does not tell is raised."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([*map(str, words)])
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Done(status, out.getvalue(), err.getvalue())
