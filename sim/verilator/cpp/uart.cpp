// A Verilated design with the pins clk, rst, rx and tx, and a serial port (8N1) at these pins.
//
// The port has a clock of its own: its bit takes `period` clock cycles of the design, whose own bit
// time may differ. uart_run() clocks the design, so that Python is not called in every cycle.

#include <cstdint>
#include <deque>
#include <memory>

#include "design.h"

namespace {

struct Port : Design {
    double period;
    uint64_t errors = 0;

    std::deque<uint8_t> to_send, received;
    bool sending = false, receiving = false;
    uint32_t out = 0, in = 0;             // bits of the byte that is sent, that is received
    int out_left = 0, in_count = 0;
    double out_next = 0, in_next = 0;     // time of the next bit, in cycles

    // One clock cycle: drive rx, clock, sample tx in the middle of its bits.
    void step() {
        if (!sending && !to_send.empty()) {
            out = 0x200u | to_send.front() << 1;
            to_send.pop_front();
            out_left = 10;
            out_next = static_cast<double>(cycles);
            sending = true;
        }
        if (sending && static_cast<double>(cycles) >= out_next) {
            if (out_left == 0) {
                sending = false;
                top->rx = 1;
            } else {
                top->rx = out & 1;
                out >>= 1;
                --out_left;
                out_next += period;
            }
        }
        clock(top->clk);
        const auto now = static_cast<double>(cycles);
        if (!receiving) {
            if (!top->tx) {
                receiving = true;
                in = 0;
                in_count = 0;
                in_next = now + period / 2;
            }
        } else if (now >= in_next) {
            in |= static_cast<uint32_t>(top->tx) << in_count++;
            in_next += period;
            if (in_count == 10) {
                receiving = false;
                if ((in & 0x201u) == 0x200u) received.push_back(in >> 1);
                else ++errors;
            }
        }
    }
};

}  // namespace

extern "C" {

// A design after reset, and a port whose bit takes `period` cycles.
Port *uart_open(double period) {
    auto port = std::make_unique<Port>();
    port->period = period;
    port->top->clk = 1;
    port->top->rst = 1;
    port->top->rx = 1;
    port->top->eval();
    for (int i = 0; i < 4; ++i) port->step();
    port->top->rst = 0;
    return port.release();
}

void uart_close(Port *port) { delete port; }

// Queue bytes for rx.
void uart_send(Port *port, const uint8_t *bytes, uint64_t count) {
    port->to_send.insert(port->to_send.end(), bytes, bytes + count);
}

// Hold reset for some cycles, as the reset button does. The serial port goes on meanwhile.
void uart_reset(Port *port, uint64_t cycles) {
    port->top->rst = 1;
    while (cycles--) port->step();
    port->top->rst = 0;
}

// Clock for `count` cycles. Returns the number of bytes received and not taken.
uint64_t uart_run(Port *port, uint64_t count) {
    while (count--) port->step();
    return port->received.size();
}

// Take up to `room` received bytes. Returns their number.
uint64_t uart_take(Port *port, uint8_t *bytes, uint64_t room) {
    uint64_t count = 0;
    while (count < room && !port->received.empty()) {
        bytes[count++] = port->received.front();
        port->received.pop_front();
    }
    return count;
}

// Five values: cycles, bytes to send, bytes received and not taken, bytes without a stop bit,
// whether the device lost a symbol (0 or 1).
void uart_status(Port *port, uint64_t *values) {
    values[0] = port->cycles;
    values[1] = port->to_send.size() + port->sending;
    values[2] = port->received.size();
    values[3] = port->errors;
    values[4] = port->top->lost;
}

}  // extern "C"
