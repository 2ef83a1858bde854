"""The host's end of the serial link: packets to bytes and back.

`quadfire.rtl.contract.serial_protocol` says what the bytes mean. Nothing here waits or does I/O:
`SerialTransport` moves the bytes, and tests move them as they like.
"""

from collections import deque

from quadfire.rtl.contract.serial_protocol import BLOCK, ESCAPE, MODULUS, Code

__all__ = ["HostLink"]

#: Most MARKs without an ACK; more would make their numbers ambiguous.
_MARKS = MODULUS // 2

_LITERAL = bytes([ESCAPE, Code.LITERAL])


class HostLink:
    """Packets become bytes, bytes become packets, and neither side sends more than fits.

    | member | meaning |
    |---|---|
    | `queue(packet)`, `take()` | a packet to send; bytes that may go to the device now |
    | `feed(data)`, `frames` | bytes that came; packets that are complete, each as bytes |
    | `resets` | how often the device said that it was reset |
    | `window` | symbols that the device has room for; 0 until it says so |
    | `last_ack` | number of its last ACK |
    | `news` | counts everything that shows that packets move |
    | `replies` | counts ACK, WINDOW and MARK, which show that there is a device |
    """

    def __init__(self):
        self.frames: deque[bytes] = deque()
        self.resets = self.news = self.replies = 0
        self._queue: deque[bytes] = deque()     # packets to send; the first may be begun
        self._begun = 0                         # bytes of the first that were sent
        self.window = 0
        self.last_ack: int | None = None
        self._commands = bytearray()
        self._frame = bytearray()
        self._escaped = False
        self._restart(0)

    def _restart(self, number: int) -> None:
        """Count MARKs from `number` on."""
        self._number = number                   # of the last MARK
        self._sent = self._acked = 0            # symbols
        self._block = 0                         # symbols since the last MARK
        self._marks: deque[tuple[int, int]] = deque()   # (number, symbols up to it) without an ACK
        self._polls: deque[int] = deque()               # symbols before each POLL without an answer

    # To the device -------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes of packets that have not been taken yet."""
        return sum(map(len, self._queue)) - self._begun

    @property
    def waiting(self) -> int:
        """Symbols that the device has not acknowledged."""
        return self._sent - self._acked

    @property
    def idle(self) -> bool:
        """Whether every queued packet has been taken."""
        return not self._queue

    def queue(self, packet: bytes) -> None:
        """Send a packet once there is room. An empty packet is only an END."""
        self._queue.append(packet)

    def drop(self) -> None:
        """Drop the packets that are not begun."""
        while len(self._queue) > (self._begun > 0):
            self._queue.pop()

    def clear(self) -> None:
        """Drop all packets in both directions, even one that is begun."""
        self._queue.clear()
        self._begun = 0
        self._frame.clear()
        self.frames.clear()

    def poll(self) -> None:
        """Ask the device to repeat its state, in case a MARK or an ACK was lost."""
        self._command(Code.POLL)
        self._polls.append(self._sent)

    def reset(self) -> None:
        """Reset the device and drop everything. It answers with a RESET, then with its window."""
        self.clear()
        self._commands.clear()
        self._command(Code.RESET)
        self.window = 0

    def resume(self, number: int) -> None:
        """Go on with a device that was used before. number: of its last ACK."""
        self._restart((number + _MARKS) % MODULUS)

    def _command(self, code: int) -> None:
        """Send a code ahead of all packets."""
        self._commands += bytes([ESCAPE, code])

    def _mark(self, out: bytearray) -> None:
        """Send a MARK with the next number."""
        self._number = (self._number + 1) % MODULUS
        self._sent += 1
        self._block = 0
        self._marks.append((self._number, self._sent))
        out += bytes([ESCAPE, Code.MARK | self._number])

    def _room(self) -> int:
        """Symbols that may be sent, with a place left for the MARK after them."""
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
            piece = packet[self._begun:self._begun + count]
            out += piece.replace(bytes([ESCAPE]), _LITERAL)
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
        """Note symbols that were sent."""
        self._sent += symbols
        self._block += symbols

    # From the device -----------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes that came from the device."""
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
        """Obey the code after an ESCAPE."""
        if code < Code.ACK:
            self.replies += 1
            self._command(Code.ACK | code)      # everything before it has been taken
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
        """An ACK came: everything up to the MARK of that number has left the device's buffer."""
        self.last_ack = number
        for mark, symbols in self._marks:
            if mark == number:
                return self._consumed(symbols)

    def _consumed(self, symbols: int) -> None:
        """So many symbols in all have left the device's buffer."""
        self.news += symbols > self._acked
        self._acked = max(self._acked, symbols)
        while self._marks and self._marks[0][1] <= self._acked:
            self._marks.popleft()
