// What the harnesses share: a Verilated design with its trace, and random stalls.
#pragma once

#include <cstdint>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

struct Random {     // xorshift64*
    uint64_t state;

    uint64_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Dull;
    }
};

// Says which cycles offer nothing and which take nothing.
class Stalls {
    Random random;
    uint32_t idle_ = 0, backpressure_ = 0;  // probabilities, 2^32 = 1

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

    // Write the cycles `begin` to before `end` to a VCD file, if there is a path.
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

    // Give the clock's pin a level and let the logic settle.
    void settle(CData &pin, bool level) {
        pin = level;
        top->eval();
#if VM_TRACE
        if (vcd && cycles >= trace_begin && cycles < trace_end) vcd->dump(2 * cycles + level);
#endif
    }

    void clock(CData &pin) {
        settle(pin, false);
        settle(pin, true);
        ++cycles;
    }
};
