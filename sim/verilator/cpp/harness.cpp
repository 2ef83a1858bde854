// The core with a queue of words to send and a queue of packets received.
//
// Words go into its AXI4-Stream input, packets come from its AXI4-Stream output. qf_run() clocks
// the core until the answers are there, so that Python is not called in every cycle.

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "design.h"

namespace {

enum Status { BUDGET_USED = 0, DONE = 1, NO_PROGRESS = 2, VIOLATION = 3 };
enum Violation { NONE = 0, VALID_DROPPED = 1, DATA_CHANGED = 2, LAST_CHANGED = 3 };

constexpr uint32_t kErrorOpcode = 0x84;

bool is_error(const std::vector<uint32_t> &packet) {
    return packet.front() >> 24 == kErrorOpcode;
}

struct Word {
    uint32_t data;
    bool last;
};

struct Core : Design {
    Stalls stalls;
    std::deque<Word> to_send;
    std::deque<std::vector<uint32_t>> received;
    std::vector<uint32_t> partial;     // the packet that is being received
    uint64_t errors = 0;               // error answers in `received`

    uint64_t sent = 0, taken = 0, last_progress = 0;
    uint64_t violations = 0, violation_cycle = 0;
    Violation violation = NONE;

    bool offering = false;             // tvalid is high, and stays high until tready
    bool sending_packet = false;       // the first word of a packet is sent, its last one is not
    bool pending = false;              // an output word was not taken: it must not change
    Word pending_word{};

    explicit Core(uint64_t seed) : stalls(seed) {}

    void broken(Violation kind) {
        if (violations++ == 0) {
            violation = kind;
            violation_cycle = cycles;
        }
    }

    // One clock cycle: drive the inputs, evaluate, see what is transferred, clock.
    void step() {
        if (!offering) offering = !to_send.empty() && !stalls.idle();
        const bool ready = !stalls.backpressure();
        top->s_axis_tvalid = offering;
        if (offering) {
            top->s_axis_tdata = to_send.front().data;
            top->s_axis_tlast = to_send.front().last;
        }
        top->m_axis_tready = ready;
        settle(top->clk, false);

        const bool accepted = offering && top->s_axis_tready;
        const Word out{top->m_axis_tdata, static_cast<bool>(top->m_axis_tlast)};
        const bool valid = top->m_axis_tvalid;
        if (pending) {
            if (!valid) broken(VALID_DROPPED);
            else if (out.data != pending_word.data) broken(DATA_CHANGED);
            else if (out.last != pending_word.last) broken(LAST_CHANGED);
        }
        pending = valid && !ready;
        pending_word = out;
        settle(top->clk, true);
        ++cycles;

        if (accepted) {
            sending_packet = !to_send.front().last;
            to_send.pop_front();
            offering = false;
            ++sent;
            last_progress = cycles;
        }
        if (valid && ready) {
            partial.push_back(out.data);
            ++taken;
            last_progress = cycles;
            if (out.last) {
                errors += is_error(partial);
                received.emplace_back();
                received.back().swap(partial);
            }
        }
    }

    void reset(uint64_t count) {
        to_send.clear();
        received.clear();
        partial.clear();
        offering = sending_packet = pending = false;
        errors = 0;
        top->rst = 1;
        top->s_axis_tvalid = 0;
        top->m_axis_tready = 0;
        while (count--) clock(top->clk);
        top->rst = 0;
        last_progress = cycles;
    }

    // Clock until one of these is true:
    //   DONE          all words are sent and `answers` packets are there; or an error answer is
    //                 there and no packet is half sent
    //   NO_PROGRESS   no word was transferred for `limit` cycles
    //   BUDGET_USED   `budget` cycles are over
    //   VIOLATION     the core broke a rule of AXI4-Stream
    Status run(uint64_t budget, uint64_t answers, uint64_t limit) {
        for (;;) {
            if (errors && (to_send.empty() || !(offering || sending_packet))) return DONE;
            if (to_send.empty() && received.size() >= answers) return DONE;
            if (cycles - last_progress >= limit) return NO_PROGRESS;
            if (budget-- == 0) return BUDGET_USED;
            step();
            if (violations) return VIOLATION;
        }
    }
};

}  // namespace

extern "C" {

// A core at the start of simulated time. It must be reset before it is used.
Core *qf_open(uint64_t seed, double idle, double backpressure, const char *trace,
              uint64_t trace_begin, uint64_t trace_end) {
    auto core = std::make_unique<Core>(seed);
    core->stalls.set(idle, backpressure);
    core->trace(trace, trace_begin, trace_end);
    core->top->rst = 0;
    core->top->s_axis_tvalid = 0;
    core->top->s_axis_tdata = 0;
    core->top->s_axis_tlast = 0;
    core->top->m_axis_tready = 0;
    core->top->clk = 1;
    core->top->eval();
    return core.release();
}

void qf_close(Core *core) { delete core; }

void qf_reset(Core *core, uint64_t cycles) { core->reset(cycles); }

// Queue words. `last` sets tlast on the final one.
void qf_send(Core *core, const uint32_t *words, uint64_t count, int last) {
    if (core->to_send.empty()) core->last_progress = core->cycles;
    for (uint64_t i = 0; i < count; ++i)
        core->to_send.push_back({words[i], last && i + 1 == count});
}

// Remove the words that are not sent, except one that is on offer.
void qf_drop(Core *core) { core->to_send.resize(core->offering ? 1 : 0); }

// Core::run(): returns its Status.
int qf_run(Core *core, uint64_t budget, uint64_t answers, uint64_t limit) {
    return core->run(budget, answers, limit);
}

// Clock for `count` cycles.
void qf_step(Core *core, uint64_t count) {
    while (count--) core->step();
}

// Start counting the cycles without a transfer anew.
void qf_patience(Core *core) { core->last_progress = core->cycles; }

// The length of the oldest packet received, -1 if there is none. With `words`, the packet is
// copied there and removed.
int64_t qf_take(Core *core, uint32_t *words) {
    if (core->received.empty()) return -1;
    const auto &packet = core->received.front();
    const auto size = static_cast<int64_t>(packet.size());
    if (words) {
        std::memcpy(words, packet.data(), packet.size() * sizeof *words);
        core->errors -= is_error(packet);
        core->received.pop_front();
    }
    return size;
}

// Eight values: cycles, words sent, words taken, words to send, packets received, violations, kind
// of the first violation, its cycle.
void qf_status(Core *core, uint64_t *values) {
    const uint64_t all[] = {core->cycles, core->sent, core->taken, core->to_send.size(),
                            core->received.size(), core->violations,
                            static_cast<uint64_t>(core->violation), core->violation_cycle};
    std::memcpy(values, all, sizeof all);
}

}  // extern "C"
