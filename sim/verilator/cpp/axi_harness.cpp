// The AXI shell with an AXI4-Lite master, a queue of beats to send and a queue of frames received.
//
// All sides stall at random. In every cycle the rules of AXI are checked on the channels that the
// shell drives:
//
//   - valid stays high until ready, and the payload does not change meanwhile;
//   - TKEEP has no holes, is not 0, and is full in all beats of a frame but the last;
//   - no response comes without a request.

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "design.h"

namespace {

using Words = std::vector<uint32_t>;

// Beats of all widths as words: ports of up to 32, of 64 and of more bits have types of their own.
void put(IData &port, const uint32_t *words) { port = words[0]; }
void put(QData &port, const uint32_t *words) { port = words[0] | uint64_t(words[1]) << 32; }
template <size_t N> void put(VlWide<N> &port, const uint32_t *words) {
    for (size_t i = 0; i < N; ++i) port[i] = words[i];
}
Words get(const IData &port) { return {port}; }
Words get(const QData &port) { return {uint32_t(port), uint32_t(port >> 32)}; }
template <size_t N> Words get(const VlWide<N> &port) { return Words(&port[0], &port[0] + N); }

struct Beat {
    uint32_t words[4]{};
    uint32_t keep = 0;
    bool last = false;
};

// Checks a channel that the shell drives: an offer must stay until it is taken.
struct Watch {
    const char *name;
    bool pending = false;
    Words held{};

    const char *check(bool valid, bool ready, const Words &payload) {
        const char *wrong = nullptr;
        if (pending && !valid) wrong = "valid fell before ready";
        else if (pending && payload != held) wrong = "the payload changed before ready";
        pending = valid && !ready;
        held = payload;
        return wrong;
    }
};

struct Shell : Design {
    Stalls stalls;
    std::deque<Beat> to_send;
    std::deque<std::vector<uint8_t>> frames;
    std::vector<uint8_t> partial;
    uint64_t sent = 0, taken = 0;
    int64_t listening = -1;               // frames to take before TREADY goes low; -1: all
    bool offering = false;

    bool aw = false, w = false, b = false, ar = false, r = false;   // not transferred yet
    uint32_t address = 0, data = 0, strobe = 0, response = 0;
    bool aw_up = false, w_up = false, ar_up = false;

    Watch m_axis{"m_axis"}, b_watch{"s_axi b"}, r_watch{"s_axi r"};
    std::string violation;

    explicit Shell(uint64_t seed) : stalls(seed) {}

    // Keep the first violation. Does nothing where `what` is null.
    void broken(const std::string &channel, const char *what) {
        if (what && violation.empty())
            violation = channel + ": " + what + ", in cycle " + std::to_string(cycles);
    }

    size_t beat_bytes() const { return sizeof top->s_axis_tdata; }

    // Drive both streams for the next cycle.
    void offer_stream() {
        if (!offering) offering = !to_send.empty() && !stalls.idle();
        top->s_axis_tvalid = offering;
        if (offering) {
            put(top->s_axis_tdata, to_send.front().words);
            top->s_axis_tkeep = to_send.front().keep;
            top->s_axis_tlast = to_send.front().last;
        }
        top->m_axis_tready = listening != 0 && !stalls.backpressure();
    }

    // Drive the master's side of the AXI4-Lite channels for the next cycle.
    void offer_bus() {
        aw_up = aw && (aw_up || !stalls.idle());
        w_up = w && (w_up || !stalls.idle());
        ar_up = ar && (ar_up || !stalls.idle());
        top->s_axi_awvalid = aw_up;
        top->s_axi_awaddr = address;
        top->s_axi_wvalid = w_up;
        top->s_axi_wdata = data;
        top->s_axi_wstrb = strobe;
        top->s_axi_arvalid = ar_up;
        top->s_axi_araddr = address;
        top->s_axi_bready = b && !stalls.backpressure();
        top->s_axi_rready = r && !stalls.backpressure();
    }

    void check_keep(uint32_t keep, bool last) {
        const uint32_t full = beat_bytes() == 4 ? 0xF : beat_bytes() == 8 ? 0xFF : 0xFFFF;
        if (keep == 0 || (keep & (keep + 1))) broken("m_axis", "TKEEP has holes");
        else if (keep != full && !last) broken("m_axis", "TKEEP is not full before TLAST");
    }

    // One clock cycle: drive the inputs, evaluate, see what is transferred, clock.
    void step() {
        offer_stream();
        offer_bus();
        settle(top->aclk, false);

        const bool accepted = offering && top->s_axis_tready;
        const bool given = top->m_axis_tvalid && top->m_axis_tready;
        const Words out = get(top->m_axis_tdata);
        const uint32_t keep = top->m_axis_tkeep;
        const bool last = top->m_axis_tlast;
        Words payload = out;
        payload.push_back(keep);
        payload.push_back(last);
        broken("m_axis", m_axis.check(top->m_axis_tvalid, top->m_axis_tready, payload));
        if (top->m_axis_tvalid) check_keep(keep, last);
        broken("s_axi b", b_watch.check(top->s_axi_bvalid, top->s_axi_bready, {top->s_axi_bresp}));
        broken("s_axi r", r_watch.check(top->s_axi_rvalid, top->s_axi_rready,
                                        {top->s_axi_rdata, top->s_axi_rresp}));
        if (top->s_axi_bvalid && !b) broken("s_axi b", "a response that nobody asked for");
        if (top->s_axi_rvalid && !r) broken("s_axi r", "data that nobody asked for");
        const bool aw_done = aw_up && top->s_axi_awready, w_done = w_up && top->s_axi_wready;
        const bool ar_done = ar_up && top->s_axi_arready;
        const bool b_done = b && top->s_axi_bvalid && top->s_axi_bready;
        const bool r_done = r && top->s_axi_rvalid && top->s_axi_rready;
        if (b_done) response = top->s_axi_bresp;
        if (r_done) {
            response = top->s_axi_rresp;
            data = top->s_axi_rdata;
        }
        settle(top->aclk, true);
        ++cycles;

        if (aw_done) aw = aw_up = false;
        if (w_done) w = w_up = false;
        if (ar_done) ar = ar_up = false;
        if (b_done) b = false;
        if (r_done) r = false;
        if (accepted) {
            to_send.pop_front();
            offering = false;
            ++sent;
        }
        if (given) {
            ++taken;
            for (size_t i = 0; i < beat_bytes(); ++i)
                if (keep >> i & 1) partial.push_back(uint8_t(out[i / 4] >> 8 * (i % 4)));
            if (last) {
                if (listening > 0) --listening;
                frames.emplace_back();
                frames.back().swap(partial);
            }
        }
    }

    // Clock until the access is over. False if it takes more than `limit` cycles.
    bool finish_bus(uint64_t limit) {
        while (aw || w || b || ar || r) {
            if (limit-- == 0) return false;
            step();
        }
        return true;
    }

    void reset(uint64_t count) {
        to_send.clear();
        frames.clear();
        partial.clear();
        offering = aw = w = b = ar = r = aw_up = w_up = ar_up = false;
        m_axis.pending = b_watch.pending = r_watch.pending = false;
        top->aresetn = 0;
        for (; count; --count) {
            top->s_axis_tvalid = top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_arvalid = 0;
            top->m_axis_tready = top->s_axi_bready = top->s_axi_rready = 0;
            clock(top->aclk);
        }
        top->aresetn = 1;
    }
};

constexpr uint64_t kBusLimit = 100000;

}  // namespace

extern "C" {

// A shell after reset.
Shell *qa_open(uint64_t seed, double idle, double backpressure, const char *trace) {
    auto shell = std::make_unique<Shell>(seed);
    shell->stalls.set(idle, backpressure);
    shell->trace(trace);
    shell->top->aclk = 1;
    shell->top->eval();
    shell->reset(4);
    return shell.release();
}

void qa_close(Shell *shell) { delete shell; }

void qa_reset(Shell *shell, uint64_t cycles) { shell->reset(cycles); }

// Change the probabilities of stalls.
void qa_stalls(Shell *shell, double idle, double backpressure) {
    shell->stalls.set(idle, backpressure);
}

// Take `count` more frames, then hold TREADY low. -1: take all frames.
void qa_listen(Shell *shell, int64_t count) { shell->listening = count; }

void qa_step(Shell *shell, uint64_t count) {
    while (count--) shell->step();
}

// Write a register. Returns BRESP, or -1 if no response comes in time.
int qa_write(Shell *shell, uint32_t address, uint32_t data, uint32_t strobe) {
    shell->address = address;
    shell->data = data;
    shell->strobe = strobe;
    shell->aw = shell->w = shell->b = true;
    return shell->finish_bus(kBusLimit) ? int(shell->response) : -1;
}

// Read a register. Returns RRESP, or -1 if no response comes in time.
int qa_read(Shell *shell, uint32_t address, uint32_t *data) {
    shell->address = address;
    shell->ar = shell->r = true;
    const bool done = shell->finish_bus(kBusLimit);
    *data = shell->data;
    return done ? int(shell->response) : -1;
}

// Queue bytes as beats, all of them full but the final one. `last` sets TLAST on the final one.
void qa_send(Shell *shell, const uint8_t *bytes, uint64_t count, int last) {
    const uint64_t size = shell->beat_bytes();
    for (uint64_t at = 0; at < count; at += size) {
        const uint64_t length = count - at < size ? count - at : size;
        Beat beat;
        std::memcpy(beat.words, bytes + at, length);
        beat.keep = (1u << length) - 1;
        beat.last = last && at + size >= count;
        shell->to_send.push_back(beat);
    }
}

// Queue one beat as it is, right or wrong.
void qa_beat(Shell *shell, const uint32_t *words, uint32_t keep, int last) {
    Beat beat;
    std::memcpy(beat.words, words, shell->beat_bytes());
    beat.keep = keep;
    beat.last = last;
    shell->to_send.push_back(beat);
}

// Remove the beats that are not sent, except one that is on offer.
void qa_drop(Shell *shell) { shell->to_send.resize(shell->offering ? 1 : 0); }

// The size of the oldest frame received, -1 if there is none. With `bytes`, the frame is copied
// there and removed.
int64_t qa_frame(Shell *shell, uint8_t *bytes) {
    if (shell->frames.empty()) return -1;
    const auto size = static_cast<int64_t>(shell->frames.front().size());
    if (bytes) {
        std::memcpy(bytes, shell->frames.front().data(), size);
        shell->frames.pop_front();
    }
    return size;
}

// Take up to `limit` whole words of the oldest frame, also of one that is still being received.
uint64_t qa_words(Shell *shell, uint32_t *words, uint64_t limit) {
    auto &bytes = shell->frames.empty() ? shell->partial : shell->frames.front();
    const uint64_t count = bytes.size() / 4 < limit ? bytes.size() / 4 : limit;
    std::memcpy(words, bytes.data(), 4 * count);
    bytes.erase(bytes.begin(), bytes.begin() + 4 * count);
    if (!shell->frames.empty() && bytes.empty()) shell->frames.pop_front();
    return count;
}

// Seven values: cycles, beats sent, beats taken, beats to send, frames received, irq, whether a
// rule was broken (0 or 1).
void qa_status(Shell *shell, uint64_t *values) {
    const uint64_t all[] = {shell->cycles, shell->sent, shell->taken, shell->to_send.size(),
                            shell->frames.size(), shell->top->irq, !shell->violation.empty()};
    std::memcpy(values, all, sizeof all);
}

// The first broken rule, "" if there is none.
const char *qa_violation(Shell *shell) { return shell->violation.c_str(); }

}  // extern "C"
