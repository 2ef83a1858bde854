"""The core in a cocotb simulation behind the driver's transport.

The simulator runs in the background. Its test bench `quadfire.sim.cocotb.testbench_remote` obeys
this end over a socket. So the unmodified driver also runs on Icarus, which knows X.
"""

import socket
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.cocotb.run import CocotbFailure, run_module
from quadfire.sim.verilator import build
from quadfire.sim.verilator.core import ProtocolError

__all__ = ["CocotbTransport"]


class CocotbTransport(Transport):
    """The driver's transport to a core that cocotb simulates.

    | argument | meaning |
    |---|---|
    | `simulator` | "verilator" or "icarus" |
    | `idle`, `backpressure` | probability that a cycle offers no input word, takes no output word |
    | `seed` | makes both repeatable |
    | `idle_limit` | cycles without a transfer after which `exchange` gives up |
    | `verilog` | simulate this text instead of the core of `config` |

    Raises CocotbFailure if the simulator does not start.
    """

    def __init__(self, config: ArrayConfig, simulator: str = "verilator", *, idle: float = 0.0,
                 backpressure: float = 0.0, seed: int = 1, idle_limit: int = 100_000,
                 verilog: str | None = None):
        self.config = config
        self.idle_limit = idle_limit
        self.cycles = 0
        self._connection: Connection | None = None
        self._failure: BaseException | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="quadfire-")
        text = build.core_verilog(config) if verilog is None else verilog
        environment = {"QUADFIRE_SOCKET": str(Path(self._folder.name) / "socket"),
                       "QUADFIRE_IDLE": str(idle), "QUADFIRE_BACKPRESSURE": str(backpressure),
                       "QUADFIRE_SEED": str(seed)}

        def simulate() -> None:
            try:
                run_module(simulator, text, "quadfire", "quadfire.sim.cocotb.testbench_remote",
                           self._folder.name, waves=False, environment=environment, seed=seed)
            except (Exception, SystemExit) as error:    # `_ask` raises it in the caller's thread
                self._failure = error

        self._thread = threading.Thread(target=simulate, daemon=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(environment["QUADFIRE_SOCKET"])
            server.listen(1)
            server.settimeout(0.1)
            self._thread.start()
            while self._connection is None:
                try:
                    accepted = server.accept()[0]
                except TimeoutError:
                    if not self._thread.is_alive():
                        raise CocotbFailure("the simulator did not start") from self._failure
                else:
                    accepted.setblocking(True)
                    self._connection = Connection(accepted.detach())

    def _ask(self, name: str, *arguments: Any) -> Any:
        """Call a method of the far end."""
        if self._connection is None:
            raise ValueError("the simulation is closed")
        try:
            self._connection.send((name, arguments))
            error, result, self.cycles = self._connection.recv()
        except (EOFError, OSError):
            self._thread.join()
            raise CocotbFailure("the simulator ended before its time") from self._failure
        if error is not None:
            raise (TimeoutError if error == "TimeoutError" else ProtocolError)(result)
        return result

    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        """Send packets while receiving. Returns the next `answers` packets from the core.

        It behaves as `VerilatedTransport.exchange`. An X on a valid output raises ProtocolError.
        """
        if any(len(packet) == 0 for packet in packets):
            raise ValueError("a packet must have at least one word")
        received = self._ask("exchange", [np.asarray(packet).tolist() for packet in packets],
                             answers, self.idle_limit)
        return [np.array(packet, dtype=np.uint32) for packet in received]

    def send_partial(self, words: np.ndarray, last: bool = False) -> None:
        """Queue words, by default without the end of a packet. `run` sends them."""
        self._ask("send", np.asarray(words).tolist(), last)

    def run(self, cycles: int) -> None:
        """Clock for some cycles."""
        self._ask("run", cycles)

    def reset(self, cycles: int = 2) -> None:
        """Reset the core, whatever it is doing, and forget all words that are under way."""
        self._ask("reset", cycles)

    def close(self) -> None:
        """End the simulation. May be called again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._thread.join()
            self._folder.cleanup()
