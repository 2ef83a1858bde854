# amaranth: UnusedElaboratable=no
"""The link: packets of words to bytes and back, with flow control, so that no symbol is lost.

What the bytes mean is told in `quadfire.rtl.contract.serial_protocol`. The bits that carry them
are in `link_bits`; the host's end is `quadfire.firmware.transports.serial_link`.
"""

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.serial_protocol import BLOCK, ESCAPE, HOST_WINDOW, MODULUS, Code
from quadfire.rtl.control.packet_receiver import STREAM_WORD

__all__ = ["SYMBOL", "Link", "LinkReceiver", "LinkSender", "window_blocks"]

#: An entry of the receive buffer: a byte of a packet, or with `control` set END or MARK | n.
SYMBOL = data.StructLayout({"byte": 8, "control": 1})

_NUMBER = range(MODULUS)


def window_blocks(buffer: int) -> int:
    """Window of the host, in blocks, for a receive buffer of `buffer` symbols.

    One block is kept in reserve for bytes that noise adds. If noise adds more than that, symbols
    may be lost (`LinkReceiver.lost`), and the core refuses the packet. Raises ValueError for a
    buffer of fewer than two blocks.
    """
    blocks = min(buffer // BLOCK - 1, ESCAPE - Code.WINDOW - 1)
    if blocks < 1:
        raise ValueError(f"buffer must have at least {2 * BLOCK} symbols, not {buffer!r}")
    return blocks


class LinkReceiver(wiring.Component):
    """Makes packets of words from received bytes, and decodes the host's commands.

    | port | shape | meaning |
    |---|---|---|
    | valid, byte | 1, 8 | strobe and byte that was received; there is no backpressure |
    | error | 1 | strobe: a damaged byte was dropped |
    | acked | number | number of the host's last ACK |
    | poll, reset | 1 | strobes: the host sent POLL, RESET |
    | marked, consumed | 1, number | strobe: a MARK has left the buffer; its number |
    | empty | 1 | the buffer is empty |
    | lost | 1 | since reset a symbol found the buffer full |
    | o | stream of STREAM_WORD | packets |

    Commands bypass the buffer. Latency: 3 cycles from the byte that follows a word to that word.
    """

    def __init__(self, *, buffer: int):
        window_blocks(buffer)
        self.symbols = SyncFIFOBuffered(width=SYMBOL.size, depth=buffer)
        super().__init__({
            "valid": In(1),
            "byte": In(8),
            "error": In(1),
            "acked": Out(_NUMBER),
            "poll": Out(1),
            "reset": Out(1),
            "consumed": Out(_NUMBER),
            "marked": Out(1),
            "empty": Out(1),
            "lost": Out(1),
            "o": Out(stream.Signature(STREAM_WORD)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.symbols = self.symbols
        self._take(m, self.symbols)
        self._words(m, self.symbols)
        return m

    def _take(self, m: Module, symbols: SyncFIFOBuffered):
        """Decode bytes: symbols go into the buffer, commands become strobes."""
        escaped = Signal()
        symbol, put = Signal(SYMBOL), Signal()
        byte = self.byte
        m.d.comb += [symbols.w_data.eq(symbol), symbols.w_en.eq(put)]
        m.d.sync += [put.eq(0), symbol.byte.eq(byte), symbol.control.eq(escaped),
                     self.poll.eq(0), self.reset.eq(0)]
        with m.If(put & ~symbols.w_rdy):
            m.d.sync += self.lost.eq(1)
        with m.If(self.valid):
            m.d.sync += escaped.eq(byte == ESCAPE)
            with m.If(~escaped):
                m.d.sync += put.eq(byte != ESCAPE)
            with m.Else():
                with m.Switch(byte):
                    with m.Case("00------", Code.END):
                        m.d.sync += put.eq(1)
                    with m.Case("01------"):
                        m.d.sync += self.acked.eq(byte[:6])
                    with m.Case(Code.LITERAL):
                        m.d.sync += [put.eq(1), symbol.byte.eq(ESCAPE), symbol.control.eq(0)]
                    with m.Case(Code.POLL):
                        m.d.sync += self.poll.eq(1)
                    with m.Case(Code.RESET):
                        m.d.sync += self.reset.eq(1)
        with m.Elif(self.error):
            m.d.sync += escaped.eq(0)

    def _words(self, m: Module, symbols: SyncFIFOBuffered):
        """Assemble words from the buffer. A word waits for the next symbol, in case that is END."""
        symbol = data.View(SYMBOL, symbols.r_data)
        count = Signal(range(5))        # bytes in the word so far
        end = symbol.control & (symbol.byte == Code.END)
        byte = ~symbol.control
        m.d.comb += [
            self.o.valid.eq(symbols.r_rdy & Mux(byte, count == 4, end & (count != 0))),
            self.o.payload.last.eq(symbol.control),
            symbols.r_en.eq(~self.o.valid | self.o.ready),
            self.marked.eq(symbols.r_rdy & symbol.control & ~end),
        ]
        with m.If(symbols.r_rdy & symbols.r_en):
            with m.If(byte):
                m.d.sync += [self.o.payload.data.eq(Cat(self.o.payload.data[8:], symbol.byte)),
                             count.eq(Mux(count == 4, 1, count + 1))]
            with m.Elif(end):
                m.d.sync += count.eq(0)
        m.d.comb += [self.consumed.eq(symbol.byte[:6]), self.empty.eq(symbols.level == 0)]


class LinkSender(wiring.Component):
    """Makes bytes from packets of words, and sends the receiver's announcements in between.

    `i` is a stream of STREAM_WORD, `o` a stream of bytes; the other ports come from `LinkReceiver`.
    blocks: the window of the host, which WINDOW and EMPTY tell it. The first bytes after a reset
    are RESET, ACK 0, MARK 0 and EMPTY.
    """

    def __init__(self, *, blocks: int):
        self.blocks = blocks
        super().__init__({
            "acked": In(_NUMBER),
            "poll": In(1),
            "consumed": In(_NUMBER),
            "marked": In(1),
            "empty": In(1),
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        ack, mark = Signal(_NUMBER), Signal(_NUMBER)
        due = {name: Signal(init=1, name=f"{name}_due")
               for name in ("reset", "ack", "mark", "window")}
        with m.If(self.poll):
            m.d.sync += [due[name].eq(1) for name in ("window", "ack", "mark")]
        with m.If(self.marked):
            m.d.sync += [due["ack"].eq(1), ack.eq(self.consumed)]

        symbols = Signal(range(BLOCK))      # sent since the last MARK
        index = Signal(2)                   # of the byte in the word
        ended = Signal()                    # END is due
        byte, code = Signal(8), Signal(8)
        word = self.i.payload
        open_ = Signal()
        m.d.comb += open_.eq((mark - self.acked)[:len(mark)] < HOST_WINDOW)

        def count():
            m.d.sync += symbols.eq(symbols + 1)
            with m.If(symbols == BLOCK - 1):
                m.d.sync += [mark.eq(mark + 1), due["mark"].eq(1)]

        def escape(value: ValueLike):
            m.d.sync += [byte.eq(ESCAPE), code.eq(value)]

        announcements = {
            "reset": Code.RESET, "ack": ack | Code.ACK, "mark": mark | Code.MARK,
            "window": Mux(self.empty, Code.EMPTY | self.blocks, Code.WINDOW | self.blocks)}
        with m.FSM():
            with m.State("PICK"):
                m.next = "BYTE"
                for place, (name, value) in enumerate(announcements.items()):
                    with m.If(due[name]) if place == 0 else m.Elif(due[name]):
                        escape(value)
                        # it may become due again in this very cycle
                        fresh = {"reset": C(0), "ack": self.poll | self.marked}.get(name, self.poll)
                        m.d.sync += due[name].eq(fresh)
                with m.Elif(ended & open_):
                    escape(Code.END)
                    m.d.sync += ended.eq(0)
                    count()
                with m.Elif(self.i.valid & ~ended & open_):
                    value = word.data.word_select(index, 8)
                    m.d.sync += [byte.eq(value), code.eq(Code.LITERAL), index.eq(index + 1)]
                    m.d.comb += self.i.ready.eq(index == 3)
                    with m.If(index == 3):
                        m.d.sync += ended.eq(word.last)
                    count()
                with m.Else():
                    m.next = "PICK"

            with m.State("BYTE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(byte)]
                with m.If(self.o.ready):
                    m.next = "PICK"
                    with m.If(byte == ESCAPE):
                        m.next = "CODE"

            with m.State("CODE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(code)]
                with m.If(self.o.ready):
                    m.next = "PICK"
        return m


class Link(wiring.Component):
    """Receiver and sender of the link, between the bytes of a UART and the core.

    | port | shape | meaning |
    |---|---|---|
    | valid, byte, error | 1, 8, 1 | received bytes, as for `LinkReceiver` |
    | tx | stream of 8 | bytes to send |
    | o | stream of STREAM_WORD | packets to the core |
    | i | stream of STREAM_WORD | packets from the core |
    | reset | 1 | strobe: the core must be reset in this cycle |
    | lost | 1 | since reset a symbol found the receive buffer full |
    """

    def __init__(self, *, buffer: int):
        self.receiver = LinkReceiver(buffer=buffer)
        self.sender = LinkSender(blocks=window_blocks(buffer))
        super().__init__({
            "valid": In(1),
            "byte": In(8),
            "error": In(1),
            "tx": Out(stream.Signature(8)),
            "o": Out(stream.Signature(STREAM_WORD)),
            "i": In(stream.Signature(STREAM_WORD)),
            "reset": Out(1),
            "lost": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        receiver, sender = self.receiver, self.sender
        m.submodules.receiver = ResetInserter(self.reset)(receiver)
        m.submodules.sender = ResetInserter(self.reset)(sender)
        m.d.comb += [
            receiver.valid.eq(self.valid),
            receiver.byte.eq(self.byte),
            receiver.error.eq(self.error),
            sender.acked.eq(receiver.acked),
            sender.poll.eq(receiver.poll),
            sender.consumed.eq(receiver.consumed),
            sender.marked.eq(receiver.marked),
            sender.empty.eq(receiver.empty),
            self.reset.eq(receiver.reset),
            self.lost.eq(receiver.lost),
        ]
        wiring.connect(m, sender.i, wiring.flipped(self.i))
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        wiring.connect(m, sender.o, wiring.flipped(self.tx))
        return m
