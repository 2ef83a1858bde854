"""The simulated board at a terminal: its link, and the error that ends it."""

from pathlib import Path

import pytest

from quadfire.rtl.contract.config import preset
from quadfire.sim.verilator import uart
from quadfire.sim.verilator.uart import UartServer

pytestmark = pytest.mark.fast


class Port:
    """A stand-in for `UartPort`: a device that sends nothing."""

    unsent = 0
    failure: Exception | None = None

    def __init__(self, config, **options):
        pass

    def send(self, data: bytes) -> None:
        pass

    def run(self, cycles: int) -> bytes:
        if self.failure is not None:
            raise self.failure
        return b""

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def port(monkeypatch):
    monkeypatch.setattr(uart, "UartPort", Port)


def test_a_link_is_put_and_taken_away(tmp_path):
    link = tmp_path / "tty"
    link.symlink_to("nowhere")      # of a server that was killed
    with UartServer(preset("tiny"), link=link) as server:
        assert str(link.readlink()) == server.slave
    assert not link.is_symlink()


def test_what_is_no_link_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(uart, "UartPort", None)     # nothing is started
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    for place in (path, tmp_path):
        with pytest.raises(ValueError, match=f"{place} exists and is no symbolic link"):
            UartServer(preset("tiny"), link=place)
    assert path.read_text() == "years of work"


def test_a_file_in_place_of_the_link_stays(tmp_path):
    link: Path = tmp_path / "tty"
    with UartServer(preset("tiny"), link=link):
        link.unlink()
        link.write_text("something else")
    assert link.read_text() == "something else"


def test_a_failure_of_the_thread_is_told(monkeypatch):
    monkeypatch.setattr(Port, "failure", RuntimeError("the model is broken"))
    server = UartServer(preset("tiny"))
    with pytest.raises(RuntimeError, match="the model is broken"):
        server.wait()
    server.close()                                  # not told twice
    with pytest.raises(RuntimeError, match="the model is broken"), UartServer(preset("tiny")) as it:
        it._thread.join()
