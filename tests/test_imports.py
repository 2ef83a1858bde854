"""The arrows between the rooms run one way: the contracts in pyproject.toml, by import-linter."""

import subprocess
import sys
from pathlib import Path

import pytest

from quadfire.paths import CHECKOUT

pytestmark = pytest.mark.fast


def lint(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "importlinter.cli", "--no-cache"], cwd=folder,
                          text=True, capture_output=True, check=False)
