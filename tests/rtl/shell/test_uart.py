"""The UART through generated Verilog, in both simulators, and the whole core behind it."""

import numpy as np
import pytest
from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from quadfire.firmware.tape.packets import decode, encode
from quadfire.firmware.transports.serial_link import HostLink
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import INFO_WORDS, MAGIC, Answer, Opcode
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.shell.uart import Uart
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb.run import run_module
from quadfire.sim.verilator.uart import UartPort

CLOCK, BAUD = 16e6, 3e6


class UartLoop(wiring.Component):
    """A UART that sends every packet back."""

    def __init__(self):
        self.uart = Uart(clock=CLOCK, baud=BAUD, buffer=192)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "lost": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = self.uart
        fifo = SyncFIFO(width=STREAM_WORD.size, depth=8)
        m.submodules.fifo = ResetInserter(uart.reset)(fifo)
        m.d.comb += [
            uart.rx.eq(self.rx), self.tx.eq(uart.tx), self.lost.eq(uart.lost),
            fifo.w_data.eq(uart.o.payload), fifo.w_en.eq(uart.o.valid), uart.o.ready.eq(fifo.w_rdy),
            uart.i.payload.eq(fifo.r_data), uart.i.valid.eq(fifo.r_rdy), fifo.r_en.eq(uart.i.ready),
        ]
        return m


@pytest.fixture(scope="module")
def loop() -> str:
    return component_verilog(UartLoop(), "uart_loop")


@pytest.mark.cocotb
@pytest.mark.parametrize("drift", [0.98, pytest.param(1.02, marks=pytest.mark.slow)])
def test_bits_in_their_own_time(loop, simulator, drift, tmp_path):
    """Clocks that differ by 2 %, breaks, glitches, framing errors."""
    environment = {"QUADFIRE_BIT": str(CLOCK / BAUD * drift), "QUADFIRE_SEED": str(drift)}
    assert run_module(simulator, loop, "uart_loop", "quadfire.sim.cocotb.testbench_uart", tmp_path,
                      environment=environment) == 3


def test_the_core_behind_it():
    """INFO, whole, damaged and again; the buffer reset by the host."""
    config = preset("tiny")
    port, host = UartPort(config), HostLink()

    def until(done):
        for _ in range(2000):
            if done():
                return
            port.send(host.take())
            host.feed(port.run(500))
        raise AssertionError("nothing happens")

    def ask(words):
        host.queue(words.astype("<u4").tobytes())
        until(lambda: host.frames)
        return decode(np.frombuffer(host.frames.popleft(), "<u4"))

    until(lambda: host.window)
    for _ in range(2):
        answer = ask(encode(Opcode.INFO, 0))
        assert answer.opcode == Answer.INFO and len(answer.payload) == len(INFO_WORDS)
        assert (answer.payload[0], answer.payload[2]) == (MAGIC, config.hash)
        damaged = encode(Opcode.INFO, 0)
        damaged[-1] ^= 1
        assert ask(damaged).opcode == Answer.ERROR
        host.reset()
        until(lambda: host.window)
    assert not port.lost and not port.errors
    port.close()
