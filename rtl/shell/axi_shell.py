"""The AXI shell: the core between AXI4-Stream and AXI4-Lite."""

from typing import Any

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.registers import REGISTERS, Access, constants
from quadfire.rtl.core import Core
from quadfire.rtl.shell.axi_lite import AXI_LITE, AxiLite
from quadfire.rtl.shell.register_file import RegisterFile
from quadfire.rtl.shell.streams import (
    WORD_BYTES,
    AnswerFramer,
    Narrower,
    PacketFramer,
    Widener,
    beat_layout,
)

__all__ = ["AxiShell"]


class AxiShell(wiring.Component):
    """The core with streams, registers and an interrupt.

    | argument | meaning |
    |---|---|
    | stream_bits | width of both streams, one of `STREAM_BITS` |
    | fifo_beats | depth of the FIFO of each stream, at least 2 |

    | port | shape | meaning |
    |---|---|---|
    | axi | AXI4-Lite | the registers (`quadfire.rtl.contract.registers`) |
    | tape | stream of beats | AXI4-Stream in |
    | answers | stream of beats | AXI4-Stream out |
    | irq | 1 | an enabled event has happened |

    Every port ends at a FIFO or a register. There are two domains with the same clock: "sync",
    reset from outside, and "core", also held in reset by `control.reset`. While "core" is held,
    input is taken and dropped, and an output frame under way is ended by one word 0. So neither
    side sees a broken transfer, and a DMA runs to its end. Raises ValueError for arguments out of
    range.
    """

    def __init__(self, config: ArrayConfig, *, stream_bits: int = 32, fifo_beats: int = 16):
        constants(config, stream_bits)      # raises ValueError for another width
        if fifo_beats < 2:
            raise ValueError(f"fifo_beats must be at least 2, not {fifo_beats!r}")
        self.config, self.stream_bits, self.fifo_beats = config, stream_bits, fifo_beats
        beat = beat_layout(stream_bits)
        super().__init__({
            "axi": Out(AXI_LITE),
            "tape": In(stream.Signature(beat)),
            "answers": Out(stream.Signature(beat)),
            "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        held = Signal(init=1)
        m.domains.core = ClockDomain(local=True)
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), ResetSignal("core").eq(held)]
        m.submodules.axi_lite = axi_lite = AxiLite()
        m.submodules.registers = registers = RegisterFile(self.config, self.stream_bits)
        wiring.connect(m, wiring.flipped(self.axi), axi_lite.axi)
        wiring.connect(m, axi_lite.bus, registers.bus)
        m.d.sync += held.eq(registers.control_reset)
        m.d.comb += registers.status_held.eq(held)

        in_core = DomainRenamer("core")
        narrow, framer = Narrower(self.stream_bits), PacketFramer(self.config)
        core, answers, widen = Core(self.config), AnswerFramer(), Widener(self.stream_bits)
        for name, part in (("narrow", narrow), ("framer", framer), ("core", core),
                           ("answer_frames", answers), ("widen", widen)):
            m.submodules[name] = in_core(part)
        wiring.connect(m, narrow.o, framer.i)
        wiring.connect(m, framer.o, core.i)
        wiring.connect(m, core.o, answers.i)
        wiring.connect(m, answers.o, widen.i)
        self._input(m, registers, held, narrow)
        self._output(m, registers, held, widen)

        packet_in = framer.o.valid & framer.o.ready & framer.o.payload.last
        m.d.comb += [
            registers.status_input_open.eq(framer.open),
            registers.count_cycles.eq(1),
            registers.count_input_packets.eq(packet_in & ~held),
            registers.count_output_packets.eq(answers.packet & ~held),
            answers.answers.eq(registers.frame_answers),
            registers.set_error_access.eq(axi_lite.bus.write & ~axi_lite.bus.write_ok
                                          | axi_lite.bus.read & ~axi_lite.bus.read_ok),
            registers.set_error_keep.eq(narrow.keep_error & ~held),
            registers.set_error_truncated.eq(framer.truncated & ~held),
            registers.set_error_oversize.eq(framer.oversize & ~held),
            registers.set_error_refused.eq(answers.refused & ~held),
        ]
        with m.If(registers.set_error_refused & ~registers.error_refused):
            m.d.sync += [registers.fault_cause.eq(answers.cause),
                         registers.fault_header.eq(answers.header)]
        self._interrupt(m, registers)
        return m

    def _queue(self, m: Module, name: str) -> Any:
        """Add a FIFO of beats to the module."""
        queue = SyncFIFOBuffered(width=beat_layout(self.stream_bits).size, depth=self.fifo_beats)
        m.submodules[name] = queue
        return queue

    def _count(self, m: Module, registers: Any, side: str, port: Any) -> None:
        """Feed the counters of a stream; side: "input" or "output", port: the stream."""
        move, beat = port.valid & port.ready, port.payload
        kept = Signal(range(self.stream_bits // 8 + 1), name=f"{side}_kept")
        total: Value = C(0)
        for bit in beat.keep:
            total = total + bit
        m.d.comb += kept.eq(total)
        for what, growth in (("bytes", Mux(move, kept, 0)), ("beats", move),
                             ("frames", move & beat.last), ("stalls", port.valid & ~port.ready)):
            m.d.comb += getattr(registers, f"count_{side}_{what}").eq(growth)

    def _input(self, m: Module, registers: Any, held: Signal, narrow: Narrower) -> None:
        """FIFO of the tape, in front of the core; drained while the core is held."""
        queue = self._queue(m, "tape_queue")
        m.d.comb += [
            queue.w_data.eq(self.tape.payload),
            queue.w_en.eq(self.tape.valid),
            self.tape.ready.eq(queue.w_rdy),
            narrow.i.payload.eq(queue.r_data),
            narrow.i.valid.eq(queue.r_rdy & ~held),
            queue.r_en.eq(narrow.i.ready | held),
            registers.status_input_waiting.eq(queue.level != 0),
        ]
        self._count(m, registers, "input", self.tape)

    def _output(self, m: Module, registers: Any, held: Signal, widen: Widener) -> None:
        """FIFO of the answers. While the core is held, it ends the frame under way."""
        queue = self._queue(m, "answer_queue")
        beat = Signal(widen.layout)
        begun = Signal()        # the last beat that went into the queue did not end its frame
        m.d.comb += [
            beat.eq(widen.o.payload),
            queue.w_en.eq(widen.o.valid),
            widen.o.ready.eq(queue.w_rdy & ~held),
        ]
        with m.If(held):
            m.d.comb += [beat.eq(0), beat.keep.eq((1 << WORD_BYTES) - 1), beat.last.eq(1),
                         queue.w_en.eq(begun)]
        with m.If(queue.w_en & queue.w_rdy):
            m.d.sync += begun.eq(~beat.last)
        port = self.answers
        open_ = registers.status_output_open
        m.d.comb += [
            queue.w_data.eq(beat),
            port.payload.eq(queue.r_data),
            port.valid.eq(queue.r_rdy),
            queue.r_en.eq(port.ready),
            registers.status_output_waiting.eq(queue.level != 0),
            registers.set_interrupt_answer.eq(port.valid & port.ready & port.payload.last),
        ]
        with m.If(port.valid & port.ready):
            m.d.sync += open_.eq(~port.payload.last)
        self._count(m, registers, "output", port)

    def _interrupt(self, m: Module, registers: Any) -> None:
        """Drive `irq` from a register: high while an enabled event has happened."""
        def fields(name: str, prefix: str = "") -> Value:
            register = next(item for item in REGISTERS if item.name == name)
            assert all(f.access in (Access.STICKY, Access.CONTROL) for f in register.fields)
            return Cat(getattr(registers, f"{prefix}{name}_{f.name}") for f in register.fields)

        m.d.comb += registers.set_interrupt_error.eq(fields("error", "set_").any())
        m.d.sync += self.irq.eq((fields("interrupt") & fields("interrupt_enable")).any())
