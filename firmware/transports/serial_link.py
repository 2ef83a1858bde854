"""The host's end of the serial line, without the line: packets to bytes and back.

`quadfire.rtl.contract.serial_protocol` says what the bytes mean.

Nothing here waits. `SerialTransport` moves the bytes; tests move them as they like.
"""

from collections import deque

from quadfire.rtl.contract.serial_protocol import BLOCK, ESCAPE, MODULUS, Code

__all__ = ["HostLink"]

#: Most MARKs without an answer: no number may be ambiguous.
_MARKS = MODULUS // 2

_LITERAL = bytes([ESCAPE, Code.LITERAL])


class HostLink:
    """Packets in by `queue`, bytes out by `take`; bytes in by `feed`, packets out in `frames`.

    frames: packets received, each as bytes. resets: how often the device said that it was reset.
    window: symbols that the device has room for, 0 as long as it has not said so. last_ack: number
    of its last ACK. news: counts all that shows that packets move. replies: counts ACK, WINDOW and
    MARK received, which show that there is a device.
    """

    def __init__(self):
        self.frames: deque[bytes] = deque()
        self.resets = self.news = self.replies = 0
        self._queue: deque[bytes] = deque()     # packets not begun; the first may be begun
        self._begun = 0                         # bytes of it that were sent
        self.window = 0
        self.last_ack: int | None = None
        self._commands = bytearray()
        self._frame = bytearray()
        self._escaped = False
        self._restart(0)

    def _restart(self, number: int) -> None:
        """Count marks from `number`."""
        self._number = number                   # of the last MARK
        self._sent = self._acked = 0            # symbols
        self._block = 0                         # symbols since the last MARK
        self._marks: deque[tuple[int, int]] = deque()   # (number, symbols up to it), no ACK yet
        self._polls: deque[int] = deque()               # symbols before each POLL not answered yet

    # To the device -------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes of packets that were not given to the line yet."""
        return sum(map(len, self._queue)) - self._begun

    @property
    def waiting(self) -> int:
        """Symbols that the device has not acknowledged."""
        return self._sent - self._acked

    @property
    def idle(self) -> bool:
        """Everything queued has been given to the line."""
        return not self._queue

    def queue(self, packet: bytes) -> None:
        """Send a packet once there is room for it; an empty one is only an END."""
        self._queue.append(packet)

    def drop(self) -> None:
        """Forget the packets not begun."""
        while len(self._queue) > (self._begun > 0):
            self._queue.pop()

    def clear(self) -> None:
        """Forget all packets, in both directions, also one that was begun."""
        self._queue.clear()
        self._begun = 0
        self._frame.clear()
        self.frames.clear()

    def poll(self) -> None:
        """Ask the device to repeat what it has said: makes good any MARK or ACK that was lost."""
        self._command(Code.POLL)
        self._polls.append(self._sent)

    def reset(self) -> None:
        """Reset the device, and forget everything. It will answer with `resets`, then `window`."""
        self.clear()
        self._commands.clear()
        self._command(Code.RESET)
        self.window = 0

    def resume(self, number: int) -> None:
        """Go on with a device that has been used before: `number` is that of its last ACK."""
        self._restart((number + _MARKS) % MODULUS)

    def _command(self, code: int) -> None:
        self._commands += bytes([ESCAPE, code])

    def _mark(self, out: bytearray) -> None:
        self._number = (self._number + 1) % MODULUS
        self._sent += 1
        self._block = 0
        self._marks.append((self._number, self._sent))
        out += bytes([ESCAPE, Code.MARK | self._number])

    def _room(self) -> int:
        """Symbols that may follow, and a MARK after them."""
        if len(self._marks) >= _MARKS:
            return 0
        return max(0, self.window - self.waiting - 1)

    def take(self) -> bytes:
        """Bytes that may go to the device now."""
        out = self._commands
        self._commands = bytearray()
        while self._queue and (room := self._room()):
            packet = self._queue[0]
            count = min(room, BLOCK - 1 - self._block, len(packet) - self._begun)
            part = packet[self._begun:self._begun + count]
            out += part.replace(bytes([ESCAPE]), _LITERAL)
            self._begun += count
            self._count(count)
            if self._begun == len(packet) and self._room() and self._block < BLOCK - 1:
                out += bytes([ESCAPE, Code.END])
                self._queue.popleft()
                self._begun = 0
                self._count(1)
            if self._block == BLOCK - 1 or not self._queue or not self._room():
                self._mark(out)
        return bytes(out)

    def _count(self, symbols: int) -> None:
        self._sent += symbols
        self._block += symbols

    # From the device -----------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes from the line."""
        at = 0
        while at < len(data):
            if self._escaped:
                self._escaped = data[at] == ESCAPE
                if not self._escaped:
                    self._code(data[at])
                at += 1
                continue
            end = data.find(ESCAPE, at)
            end = len(data) if end < 0 else end
            if end > at:
                self.news += 1
                self._frame += data[at:end]
            self._escaped = end < len(data)
            at = end + 1

    def _code(self, code: int) -> None:
        if code < Code.ACK:
            self.replies += 1
            self._command(Code.ACK | code)      # what came before is in memory already
        elif code < Code.WINDOW:
            self.replies += 1
            self._acknowledged(code - Code.ACK)
        elif code < Code.END:
            self.replies += 1
            self.window = code % 32 * BLOCK
            before = self._polls.popleft() if self._polls else 0
            if code >= Code.EMPTY:
                self._consumed(before)
        elif code == Code.LITERAL:
            self.news += 1
            self._frame.append(ESCAPE)
        elif code == Code.END:
            self.news += 1
            if self._frame:
                self.frames.append(bytes(self._frame))
            self._frame.clear()
        elif code == Code.RESET:
            self.resets += 1
            self._frame.clear()
            self._restart(0)

    def _acknowledged(self, number: int) -> None:
        self.last_ack = number
        for mark, symbols in self._marks:
            if mark == number:
                return self._consumed(symbols)

    def _consumed(self, symbols: int) -> None:
        """So many symbols, in all, have left the device's buffer."""
        self.news += symbols > self._acked
        self._acked = max(self._acked, symbols)
        while self._marks and self._marks[0][1] <= self._acked:
            self._marks.popleft()
