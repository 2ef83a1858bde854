"""The transport to a device behind a serial port: a board, or its simulation."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import serial

from quadfire.firmware.transports.serial_link import HostLink
from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Answer

__all__ = ["BAUD", "SerialTransport", "from_address"]

#: Baud rate if none is named.
BAUD = 1_000_000


class SerialTransport(Transport):
    """The transport to the device at a serial port.

    | argument | meaning |
    |---|---|
    | port, baud | such as /dev/ttyUSB0, 1000000 |
    | patience | seconds without progress after which an exchange fails |
    | pause | seconds of silence after which the device is asked for its state |
    | reconnect | seconds for which a vanished port is looked for |

    A device that is found running keeps its network. After a failed exchange, the next one first
    waits until the device has finished with the old one. A device whose link does not come to rest
    is reset. Raises OSError if the port cannot be opened, TimeoutError if nothing answers there.
    """

    def __init__(self, port: str, baud: int, *, patience: float = 10.0, pause: float = 0.25,
                 reconnect: float = 5.0):
        if not 0 < pause <= patience:
            raise ValueError(f"pause must be positive and at most patience = {patience!r}, "
                             f"not {pause!r}")
        self.port, self.baud = port, baud
        self.patience, self.pause, self.reconnect = patience, pause, reconnect
        self._link = HostLink()
        self._serial: serial.Serial | None = None
        self._closed = False
        self._open()
        try:
            self._settle()
        except TimeoutError:
            self.close()
            raise

    # The port ------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the port; OSError says in one line why it cannot be."""
        try:
            self._serial = serial.Serial(self.port, self.baud, timeout=0.0,
                                         write_timeout=self.patience, exclusive=True)
        except ValueError as error:
            raise OSError(f"{self.port} cannot be used at {self.baud} baud: {error}") from None
        except serial.SerialException as error:     # its text has the name and the number twice
            if error.errno == errno.ENOENT:
                raise FileNotFoundError(f"there is no port {self.port}: `quadfire devices` lists "
                                        "those there are") from None
            if error.errno == errno.EAGAIN:
                raise OSError(f"another program has {self.port} open") from None
            if error.errno is None:
                raise
            raise OSError(f"{self.port} cannot be opened: {os.strerror(error.errno)}") from None
        with contextlib.suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._serial.set_low_latency_mode(True)     # FTDI: 1 ms instead of 16

    def _turn(self, wait: float) -> bool:
        """Write what may go, read what comes within `wait` seconds; returns if any came."""
        if self._closed:
            raise ValueError(f"the transport to {self.port} is closed")
        link, port = self._link, self._serial
        try:
            if port is None:
                raise OSError("it was not there before either")
            if out := link.take():
                port.write(out)
            port.timeout = wait
            data = port.read(1)
            if waiting := port.in_waiting:
                data += port.read(waiting)
        except serial.SerialTimeoutException:
            raise TimeoutError(f"{self.port} takes no bytes any more") from None
        except OSError as error:
            self._find_again(error)
        link.feed(data)
        return bool(data)

    def _find_again(self, error: OSError) -> None:
        """Open a port that has vanished again, reset the device, and raise TimeoutError."""
        self._let_go()
        end = time.monotonic() + self.reconnect
        while True:
            try:
                self._open()
                break
            except OSError:
                if time.monotonic() > end:
                    raise TimeoutError(f"{self.port} has vanished ({error}), and did not come back "
                                       f"within {self.reconnect:g} s") from None
                time.sleep(0.1)
        self._link = HostLink()
        self.reset()
        raise TimeoutError(f"{self.port} had vanished ({error}); the device was found again and "
                           "reset")

    def _until(self, done: Callable[[], bool], limit: float) -> bool:
        """Move bytes until `done` (True), or until nothing moves for `limit` seconds (False)."""
        link = self._link
        moved = polled = time.monotonic()
        news, resets = link.news, link.resets
        while not done():
            quiet = not self._turn(min(self.pause, limit) / 4)
            now = time.monotonic()
            if link.news != news:
                news, moved, polled = link.news, now, now
            if link.resets != resets:
                return done()
            if now - moved > limit:
                return False
            if quiet and now - polled > self.pause:
                polled = now
                link.poll()
        return True

    # The device ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Find the device, and wait until it has nothing left to do or say."""
        link = self._link
        link.clear()
        link.window = 0
        self._settled = False
        resets, replies = link.resets, link.replies
        link.poll()
        found = self._until(lambda: link.window > 0 and link.last_ack is not None,
                            min(4 * self.pause, self.patience))
        if found and link.resets == resets and link.last_ack is not None:
            link.resume(link.last_ack)
            link.queue(b"")         # ends a packet that is perhaps half sent
            if self._until(lambda: link.idle and not link.waiting, self.patience):
                quiet = link.news
                while self._until(lambda quiet=quiet: link.news != quiet, self.pause):
                    quiet = link.news
        if not found or link.waiting or link.resets != resets:
            self._restart(replies)
        link.clear()
        self._settled = True

    def _restart(self, replies: int) -> None:
        """Reset the device until it confirms that."""
        link = self._link
        for _ in range(3):
            resets = link.resets
            link.reset()
            self._until(lambda resets=resets: link.resets != resets, self.patience / 3)
            if link.resets != resets and self._until(lambda: link.window > 0, self.patience / 3):
                return
        raise TimeoutError(
            f"nothing at {self.port} answers at {self.baud} baud: is the bitstream loaded, and "
            "made for that baud rate?" if link.replies == replies else
            f"the device at {self.port} answers in pieces only, at {self.baud} baud: is that what "
            "the bitstream was made for, and is the line undisturbed?")

    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        """As `Transport.exchange`.

        Raises TimeoutError if nothing moves for `patience` seconds, the device was reset, or its
        port had vanished. A damaged answer is returned as it came: its checksum shows the damage.
        """
        if any(len(packet) == 0 for packet in packets):
            raise ValueError("a packet must have at least one word")
        if not self._settled:
            self._settle()
        link = self._link
        for packet in packets:
            link.queue(np.ascontiguousarray(packet, dtype="<u4").tobytes())
        total, resets = link.unsent, link.resets
        self._settled = False       # unless all goes well
        finished = self._until(lambda: self._finished(answers), self.patience)
        if link.resets != resets:
            raise TimeoutError(f"the device at {self.port} was reset while it worked")
        if not finished:
            raise TimeoutError(
                f"the device at {self.port} made no progress for {self.patience:g} s: it was sent "
                f"{total - link.unsent} of {total} bytes, has yet to take {link.waiting}, and gave "
                f"{len(link.frames)} of {answers} answers")
        self._settled = True
        return self._collect(answers)

    def _finished(self, answers: int) -> bool:
        """Whether all is sent and answered, or an ERROR has come and no packet is half sent."""
        link = self._link
        if any(_opcode(frame) == Answer.ERROR for frame in link.frames):
            link.drop()
            return link.idle
        return link.idle and len(link.frames) >= answers

    def _collect(self, answers: int) -> list[np.ndarray]:
        """The answers that have come, up to an ERROR."""
        received: list[np.ndarray] = []
        frames = self._link.frames
        while frames and len(received) < answers:
            frame = frames.popleft()
            frame += bytes(-len(frame) % 4)
            received.append(np.frombuffer(frame, "<u4").astype(np.uint32))
            if int(received[-1][0]) >> 24 == Answer.ERROR:
                break
        return received

    def reset(self) -> None:
        """Reset the core and the link; raises TimeoutError if the device does not confirm it."""
        self._restart(self._link.replies)
        self._link.clear()
        self._settled = True

    def close(self) -> None:
        """Release the port; the device stays as it is."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        """Close the port, if it is open."""
        if self._serial is not None:
            with contextlib.suppress(OSError):
                self._serial.close()
            self._serial = None


def _opcode(frame: bytes) -> int:
    """The opcode of a frame; 0 if it is too short."""
    return frame[3] if len(frame) > 3 else 0


def from_address(address: str, config: ArrayConfig | None) -> SerialTransport:
    """The transport of the address `PORT[:BAUD]`, 1 Mbaud by default.

    The name of a port may hold colons: an address that exists as a file is a port without a rate.
    The device has its own configuration, so `config` is not used.
    """
    port, colon, baud = address.rpartition(":")
    if not colon or Path(address).exists():
        port, baud = address, str(BAUD)
    if not port or not baud.isdigit():
        raise ValueError("a serial device is named serial:PORT[:BAUD], such as "
                         f"serial:/dev/ttyUSB0:3000000, not serial:{address}")
    return SerialTransport(port, int(baud))
