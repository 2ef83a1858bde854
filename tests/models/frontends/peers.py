"""The libraries that tests compare with: skipped where one is missing, required where it must be.

With QUADFIRE_PEERS=required in the environment, as in continuous integration, a missing library is
a failure.
"""

import importlib
import os
from typing import Any

import pytest

__all__ = ["peer"]


def peer(module: str) -> Any:
    """A module of another library; the running test is skipped where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if os.environ.get("QUADFIRE_PEERS") == "required":
            pytest.fail(f"QUADFIRE_PEERS=required, and {module} cannot be imported: {error}")
        pytest.skip(f"{module} is not installed: `make setup` installs what constraints.txt names")
