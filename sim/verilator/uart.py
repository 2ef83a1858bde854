"""The Verilated core behind a UART, and a server that puts it at a pseudo-terminal.

    with UartServer(preset("tiny")) as server:
        transport = SerialTransport(server.path, server.baud)
"""

import contextlib
import ctypes
import os
import select
import threading
import time
import tty
from pathlib import Path

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.verilator import build

__all__ = ["BAUD", "CLOCK", "UartPort", "UartServer"]

#: Four clock cycles per bit, the least that the UART can do: so it takes the fewest to simulate.
CLOCK, BAUD = 12_000_000, 3_000_000

_HARNESS = Path(__file__).parent / "cpp" / "uart.cpp"


def _load(path: Path) -> ctypes.CDLL:
    handle, u64, pointer = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p
    lib = ctypes.CDLL(str(path))
    for name, result, arguments in (
            ("uart_open", handle, (ctypes.c_double,)), ("uart_close", None, (handle,)),
            ("uart_send", None, (handle, ctypes.c_char_p, u64)),
            ("uart_reset", None, (handle, u64)), ("uart_run", u64, (handle, u64)),
            ("uart_take", u64, (handle, pointer, u64)), ("uart_status", None, (handle, pointer))):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


class UartPort:
    """A simulated device, and a serial port at its pins.

    | argument | meaning |
    |---|---|
    | `clock`, `baud` | of the device, in Hz |
    | `buffer` | size of the device's buffer, see `quadfire.rtl.shell.uart` |
    | `drift` | bit time of the port / bit time of the device |
    """

    def __init__(self, config: ArrayConfig, *, clock: float = CLOCK, baud: float = BAUD,
                 buffer: int = 2048, drift: float = 1.0):
        def generate() -> str:
            from quadfire.rtl.shell.uart import uart_verilog  # only here: Amaranth is slow
            return uart_verilog(config, clock=clock, baud=baud, buffer=buffer)

        text = build.generated(config, "quadfire_uart", generate, clock, baud, buffer)
        self._lib = _load(build.library(text, top="quadfire_uart", harness=_HARNESS))
        self._port = self._lib.uart_open(clock / baud * drift)

    def send(self, data: bytes) -> None:
        """Queue bytes for the device's rx."""
        self._lib.uart_send(self._port, data, len(data))

    def run(self, cycles: int) -> bytes:
        """Clock for some cycles. Returns the bytes that the device has sent."""
        count = self._lib.uart_run(self._port, cycles)
        data = ctypes.create_string_buffer(count)
        self._lib.uart_take(self._port, data, count)
        return data.raw

    def reset(self, cycles: int = 4) -> None:
        """Hold reset for some cycles."""
        self._lib.uart_reset(self._port, cycles)

    def _status(self) -> list[int]:
        values = (ctypes.c_uint64 * 5)()
        self._lib.uart_status(self._port, values)
        return list(values)

    @property
    def cycles(self) -> int:
        """Clock cycles since the simulation began."""
        return self._status()[0]

    @property
    def unsent(self) -> int:
        """Queued bytes that the device has not got yet."""
        return self._status()[1]

    @property
    def errors(self) -> int:
        """Bytes from the device without a stop bit."""
        return self._status()[3]

    @property
    def lost(self) -> bool:
        """Whether the device had no room for a symbol."""
        return bool(self._status()[4])

    def close(self) -> None:
        """End the simulation. May be called again."""
        if self._port is not None:
            self._lib.uart_close(self._port)
            self._port = None


class UartServer:
    """A simulated device at a pseudo-terminal. A thread clocks it as fast as it can.

    | argument, attribute | meaning |
    |---|---|
    | `link` | where to put a symbolic link to the terminal |
    | `options` | see `UartPort` |
    | `path`, `baud` | what `SerialTransport` needs |
    | `tamper` | may be set to a function (direction, bytes) -> bytes that arrive |

    A direction is "in" or "out". Raises ValueError if anything but a symbolic link is at `link`.
    """

    #: Cycles between two looks at the terminal, while bytes move and while they do not.
    _BUSY, _REST = 4096, 20_000

    def __init__(self, config: ArrayConfig, *, link: Path | None = None, **options):
        if link is not None and link.exists() and not link.is_symlink():
            raise ValueError(f"{link} exists and is no symbolic link")
        self.port = UartPort(config, **options)
        self.baud = int(options.get("baud", BAUD))
        self.link = link
        self.tamper = lambda way, data: data
        self._stop, self._reset = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self.plug()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """Path of the terminal, or of the link to it."""
        return self.slave if self.link is None else str(self.link)

    def plug(self) -> None:
        """Open a terminal."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.slave = os.ttyname(self._slave)
        if self.link is not None:
            self._unlink()
            self.link.symlink_to(self.slave)

    def _unlink(self) -> None:
        if self.link is not None and self.link.is_symlink():
            self.link.unlink()

    def unplug(self) -> None:
        """Close the terminal, as if the cable were pulled. `plug` opens another one."""
        master, self._master = self._master, -1
        time.sleep(0.1)
        os.close(self._slave)
        os.close(master)

    def reset(self) -> None:
        """Press the device's reset button."""
        self._reset.set()

    def _serve(self) -> None:
        try:
            self._clock()
        except BaseException as error:  # `wait` raises it in the caller's thread
            self._failure = error

    def _clock(self) -> None:
        """Clock the device, and move bytes between it and the terminal, until `close`."""
        out, quiet = b"", 0
        while not self._stop.is_set():
            if self._reset.is_set():
                self._reset.clear()
                self.port.reset()
            busy = self.port.unsent > 0 or quiet < 200
            data, master = b"", self._master        # `unplug` may come at any time
            with contextlib.suppress(OSError):      # nothing there, or no terminal
                if master < 0:
                    out = b""
                elif select.select([master], [], [], 0 if busy else 0.005)[0] \
                        and self.port.unsent < 1024:
                    data = self.tamper("in", os.read(master, 1024))
            self.port.send(data)
            sent = self.port.run(self._BUSY if busy else self._REST)
            out += self.tamper("out", sent)
            with contextlib.suppress(OSError):
                out = out[os.write(self._master, out):] if out else b""
            quiet = 0 if data or sent else quiet + 1

    def wait(self) -> None:
        """Serve until the thread ends. Raises the error that ended it, once."""
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """End the server. Raises the errors of `wait`."""
        self._stop.set()
        self._thread.join()
        self.port.close()
        for end in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(end)
        self._unlink()
        self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
