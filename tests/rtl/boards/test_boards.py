# amaranth: UnusedElaboratable=no
"""Boards: clocks that their PLLs make, and bitstreams (slow: place and route takes minutes)."""

import json
import re
import subprocess
import sys

import pytest
from amaranth import Module, Signal

from quadfire.paths import CHECKOUT
from quadfire.rtl.boards import flow
from quadfire.rtl.boards.flow import TimingError, build
from quadfire.rtl.boards.pll import PLLS, ecp5_pll, ice40_pll
from quadfire.rtl.boards.targets import BOARDS
from quadfire.rtl.boards.top import BoardTop


@pytest.mark.parametrize("pll, reference, good, bad", [
    (ecp5_pll, 25e6, [25e6, 40e6, 50e6, 62.5e6, 75e6, 100e6], 33.37e6),
    (ice40_pll, 12e6, [12e6, 18e6, 24e6, 30e6, 36e6, 48e6], 13.7e6)])
def test_clocks(pll, reference, good, bad):
    for frequency in good:
        pll(Module(), Signal(), Signal(), Signal(), reference, frequency)
    with pytest.raises(ValueError, match=re.escape(f"makes {bad:g} Hz of {reference:g} Hz")):
        pll(Module(), Signal(), Signal(), Signal(), reference, bad)


@pytest.mark.parametrize("name", BOARDS)
def test_pins_and_verilog(name, tmp_path):
    """The files of a design: pins of the UART, clock, Verilog of the core."""
    board = BOARDS[name]
    top = BoardTop(board.config, pll=PLLS[board.family.pll], clock=board.clock, baud=board.baud,
                   buffer=board.buffer)
    files = board.platform_class()().build(top, name="top", do_build=False,
                                   build_dir=str(tmp_path)).files
    pins = files[f"top.{board.family.constraints}"]
    pins = pins if isinstance(pins, str) else pins.decode()
    expected = {"ulx3s-85f": ("M1", "L4", "G2"), "icebreaker": ("6", "9", "35")}[name]
    for pin, what in zip(expected, ("uart_0__rx", "uart_0__tx", "clk"), strict=True):
        assert re.search(rf"{what}\S*\"? (SITE )?\"?{pin}\b", pins), (what, pins)
    assert "module quadfire_uart(" in str(files["quadfire_uart.v"])


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_bitstream(name, tmp_path):
    board = BOARDS[name]
    result = build(name, board, board.config, tmp_path, clock=board.clock, baud=board.baud,
                   seeds=range(1, 6), progress=lambda text: None)
    assert result.path.stat().st_size > 100_000 and result.reached_mhz >= result.wanted_mhz


@pytest.mark.slow
def test_a_clock_out_of_reach_leaves_no_bitstream(tmp_path):
    board = BOARDS["ulx3s-85f"]
    with pytest.raises(TimingError, match="reaches .* MHz with seed 1, not 300"):
        build("x", board, board.config, tmp_path, clock=300e6, baud=board.baud, seeds=[1],
              progress=lambda text: None)
    assert not (tmp_path / "x.bit").exists()


def test_placements_are_tried_until_one_is_good(tmp_path, monkeypatch):
    board, found = BOARDS["icebreaker"], [RuntimeError("no legal placement"), 10.0, 30.0, 40.0]

    def place(command, board, folder, seed):
        if isinstance(found[seed - 1], RuntimeError):
            raise found[seed - 1]
        return found[seed - 1], {}

    monkeypatch.setattr(flow, "_place", place)
    for name in ("synthesise", "fit", "run"):
        monkeypatch.setattr(flow, name, lambda *arguments, **options: None)

    def made(seeds):
        return build("x", board, board.config, tmp_path, clock=board.clock, baud=board.baud,
                     seeds=seeds, progress=lambda text: None)

    assert made(range(1, 5)).seed == 3
    assert json.loads((tmp_path / "summary.json").read_text())["seed"] == 3
    with pytest.raises(RuntimeError, match="no legal placement"):
        made([1])
    with pytest.raises(TimingError, match="x reaches 10.0 MHz with seed 2, not 24"):
        made([1, 2])
    assert not (tmp_path / "summary.json").exists()     # that of the placement before


def test_boards_are_data_that_needs_no_amaranth():
    code = ("import sys, quadfire.rtl.boards.targets; "
            "sys.exit('amaranth' in sys.modules or 'amaranth_boards' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True)
    for board in BOARDS.values():
        assert board.platform_class().default_clk and board.family.pll in PLLS
