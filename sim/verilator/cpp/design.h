// A Verilated design with its waveform, and random stalls: what all harnesses share.
#pragma once

#include <cstdint>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

// Pseudo-random numbers: xorshift64*.
struct Random {
    uint64_t state;

    uint64_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Dull;
    }
};

// Decides at random in which cycles nothing is offered, and in which nothing is taken.
class Stalls {
    Random random;
    uint32_t idle_ = 0, backpressure_ = 0;  // probabilities in units of 2^-32

    bool chance(uint32_t probability) { return probability && random.next() >> 32 < probability; }

public:
    explicit Stalls(uint64_t seed) : random{seed * 0x9E3779B97F4A7C15ull + 0x1234567ull} {
        if (random.state == 0) random.state = 1;
        for (int i = 0; i < 8; ++i) random.next();
    }

    void set(double idle, double backpressure) {
        idle_ = static_cast<uint32_t>(idle * 4294967295.0);
        backpressure_ = static_cast<uint32_t>(backpressure * 4294967295.0);
    }

    bool idle() { return chance(idle_); }
    bool backpressure() { return chance(backpressure_); }
};

// A design, the number of its clock cycles, and its waveform.
struct Design {
    VerilatedContext context;
    std::unique_ptr<Vtop> top = std::make_unique<Vtop>(&context, "");
    uint64_t cycles = 0;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd;
    uint64_t trace_begin = 0, trace_end = 0;
#endif

    ~Design() {
#if VM_TRACE
        if (vcd) vcd->close();
#endif
        top->final();
    }

    // Write cycles begin..end-1 to a VCD file. Does nothing without a path, or when the library
    // was built without support for waveforms.
    void trace(const char *path, uint64_t begin = 0, uint64_t end = UINT64_MAX) {
#if VM_TRACE
        if (!path) return;
        context.traceEverOn(true);
        vcd = std::make_unique<VerilatedVcdC>();
        top->trace(vcd.get(), 99);
        vcd->open(path);
        trace_begin = begin;
        trace_end = end;
#endif
    }

    // Set the clock pin and evaluate the logic.
    void settle(CData &pin, bool level) {
        pin = level;
        top->eval();
#if VM_TRACE
        if (vcd && cycles >= trace_begin && cycles < trace_end) vcd->dump(2 * cycles + level);
#endif
    }

    // One whole clock cycle.
    void clock(CData &pin) {
        settle(pin, false);
        settle(pin, true);
        ++cycles;
    }
};
