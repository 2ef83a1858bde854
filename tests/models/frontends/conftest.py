"""What tests of front ends share."""

import pytest

from quadfire.models.frontends import nir_file


@pytest.fixture(autouse=True)
def read_here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """NIR files are read at once, not by another process first, which takes half a second a file.

    Tests with "process" in their names do as users do.
    """
    if "process" not in request.node.name:
        monkeypatch.setattr(nir_file, "_try", lambda path: None)
