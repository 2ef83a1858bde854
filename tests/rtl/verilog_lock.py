"""The lock: SHA-256 of the Verilog of every preset and top, and of the boards' UART tops.

    python -m tests.rtl.verilog_lock            # compare all, name what differs
    python -m tests.rtl.verilog_lock --renew    # make the Verilog of this tree the locked one

A move or a rename must leave all of it as it is. Whoever changes the hardware renews the lock in
the same commit and says why.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from quadfire.rtl import verilog
from quadfire.rtl.contract.config import PRESETS, preset
from quadfire.rtl.contract.registers import STREAM_BITS
from quadfire.rtl.shell import verilog as axi
from quadfire.rtl.shell.uart import uart_verilog

LOCK = Path(__file__).parents[1] / "baselines" / "verilog.json"

#: Clock, baud rate and receive buffer of a UART top: the usual one, and those of the boards.
_UART = {"clock": 50e6}
_BOARDS = {"medium": {"clock": 50e6, "baud": 3e6, "buffer": 2048},      # ULX3S
           "small": {"clock": 24e6, "baud": 1e6, "buffer": 256}}        # iCEBreaker


class Case(NamedTuple):
    """A preset, and a top around it."""

    preset: str
    top: str

    def __str__(self) -> str:
        return f"{self.preset}/{self.top}"

    def sha256(self) -> str:
        """Hash of the Verilog."""
        config = preset(self.preset)
        if self.top == "core":
            text, _ = verilog.generate(config)
        elif self.top.startswith("axi-"):
            text, _ = axi.generate(config, stream_bits=int(self.top.removeprefix("axi-")))
        else:
            text = uart_verilog(config, **(_UART if self.top == "uart" else _BOARDS[self.preset]))
        return hashlib.sha256(text.encode()).hexdigest()


def _cases() -> Iterator[Case]:
    for name in PRESETS:
        for top in ("core", *(f"axi-{bits}" for bits in STREAM_BITS), "uart"):
            yield Case(name, top)
    for name in _BOARDS:
        yield Case(name, "board")


CASES = tuple(_cases())


def locked() -> dict[str, str]:
    """Case -> hash, as it was locked."""
    return json.loads(LOCK.read_text())


def main() -> int:
    """Compare or renew; 1 where something differs."""
    with ProcessPoolExecutor(2) as pool:
        found = {str(case): value for case, value in
                 zip(CASES, pool.map(Case.sha256, CASES), strict=True)}
    if sys.argv[1:] == ["--renew"]:
        LOCK.write_text(json.dumps(found, indent=2) + "\n")
        print(f"{LOCK}: {len(found)} files are locked")
        return 0
    before = locked()
    different = sorted(name for name in {*found, *before} if found.get(name) != before.get(name))
    print(*(f"{name} differs" for name in different),
          f"{len(found)} files, {len(different)} differences", sep="\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
