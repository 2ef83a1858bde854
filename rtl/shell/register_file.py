"""The register file: the hardware of the register table."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Member, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.registers import REGISTERS, Access, Field, Register, constants
from quadfire.rtl.shell.axi_lite import REGISTER_BUS

__all__ = ["COUNT_BITS", "RegisterFile"]

#: Width of a counter's increment. The largest is the 16 bytes of a 128-bit beat.
COUNT_BITS = 5


def _ports(name: str, field: Field) -> dict:
    """Ports of a field; `name` is what they are called after."""
    return {
        Access.CONSTANT: {},
        Access.STATUS: {name: In(field.bits)},
        Access.COUNTER: {f"count_{name}": In(COUNT_BITS)},
        Access.CONTROL: {name: Member(
            Flow.Out, field.bits, init=field.reset)},   # pyright: ignore[reportCallIssue]
        Access.STROBE: {name: Out(field.bits)},
        Access.STICKY: {name: Out(field.bits), f"set_{name}": In(field.bits)},
    }[field.access]


def _name(register: Register, field: Field) -> str:
    return register.name if field.name == "value" else f"{register.name}_{field.name}"


class RegisterFile(wiring.Component):
    """All registers of the table, read and written through `bus`.

    A field has ports according to its access. NAME is `register_field`, or `register` for a
    register that is one number.

    | access | port | shape | meaning |
    |---|---|---|---|
    | CONSTANT | none | | |
    | STATUS | NAME, in | as the field | the value that software reads |
    | COUNTER | count_NAME, in | 5 | the increment in this cycle |
    | CONTROL | NAME, out | as the field | the value that software wrote last |
    | STROBE | NAME, out | as the field | high for one cycle after software wrote 1 |
    | STICKY | NAME, out | as the field | set by hardware, cleared by software |
    | STICKY | set_NAME, in | as the field | sets those bits |

    Hardware wins over software: an increment in the cycle of a clear is counted, and a bit that is
    set in the cycle in which software clears it stays set.

    Latency: 1 cycle from a write to the port. Reads are combinational. Reset: all but constants.
    """

    def __init__(self, config: ArrayConfig, stream_bits: int):
        self.values = constants(config, stream_bits)
        ports = {"bus": In(REGISTER_BUS)}
        for register in REGISTERS:
            for field in register.fields:
                ports |= _ports(_name(register, field), field)
        super().__init__(ports)
        self._counters = {register.name: Signal(32, name=register.name) for register in REGISTERS
                          if register.fields[0].access is Access.COUNTER}

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        mask = Cat(bit.replicate(8) for bit in bus.write_strobe)
        with m.Switch(bus.read_address):
            for register in REGISTERS:
                with m.Case(register.offset):
                    m.d.comb += [bus.read_ok.eq(1), bus.read_data.eq(self._value(register))]
        with m.Switch(bus.write_address):
            for register in (register for register in REGISTERS if register.writable):
                with m.Case(register.offset):
                    m.d.comb += bus.write_ok.eq(1)
        for register in REGISTERS:
            for field in register.fields:
                chosen = C(0, field.bits)
                if field.access.writable:
                    chosen = Signal(field.bits, name=f"write_{_name(register, field)}")
                    with m.If(bus.write & (bus.write_address == register.offset)):
                        m.d.comb += chosen.eq(mask[field.low:field.low + field.bits])
                bits = bus.write_data[field.low:field.low + field.bits]
                self._update(m, _name(register, field), field, chosen, bits)
        return m

    def _value(self, register: Register) -> Value:
        """The 32 bits that a read of the register returns."""
        parts, width = [], 0
        for field in register.fields:
            name = _name(register, field)
            match field.access:
                case Access.CONSTANT:
                    value = C(self.values[name], field.bits)
                case Access.COUNTER:
                    value = self._counters[name]
                case Access.STROBE:
                    value = C(0, field.bits)
                case _:
                    value = getattr(self, name)
            parts += [C(0, field.low - width), value]
            width = field.low + field.bits
        return Cat(*parts)

    def _update(self, m: Module, name: str, field: Field, chosen: Value, bits: Value) -> None:
        """Add the flip-flops of a field.

        chosen: the mask of its bits that software writes in this cycle. bits: what it writes.
        """
        match field.access:
            case Access.CONTROL:
                value = getattr(self, name)
                m.d.sync += value.eq(value & ~chosen | bits & chosen)
            case Access.STROBE:
                m.d.sync += getattr(self, name).eq(bits & chosen)
            case Access.STICKY:
                value = getattr(self, name)
                m.d.sync += value.eq(value & ~(bits & chosen) | getattr(self, f"set_{name}"))
            case Access.COUNTER:
                value, growth = self._counters[name], getattr(self, f"count_{name}")
                m.d.sync += value.eq(Mux(self.control_clear, 0, value) + growth)
