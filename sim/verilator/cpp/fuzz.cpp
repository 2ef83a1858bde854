// Sends damaged and random packets to the Verilated core, and good tapes in between.
//
// A round sends a damaged tape, or noise. The answers before the first ERROR must be right. Then a
// good tape must give the right answers. Everything must end within a given number of cycles.

#include <algorithm>

#include "harness.cpp"

namespace {

using Packet = std::vector<uint32_t>;

struct GoodTape {
    std::vector<Packet> packets;
    std::vector<Packet> answers;
};

struct Fuzz {
    Core *core;
    GoodTape setup, run;
    Random numbers;
    uint64_t rounds = 0, packets = 0, refused = 0, harmless = 0;
    const char *failure = nullptr;
    uint64_t limit = 20000, patience = 200000, resets = 0;

    uint64_t random(uint64_t bound) { return (numbers.next() >> 16) % bound; }

    void send(const Packet &packet, bool last = true) {
        if (!packet.empty()) qf_send(core, packet.data(), packet.size(), last);
        ++packets;
    }

    // Whether an answer of a damaged tape is right. Which passes have run is not known, so the
    // counters of a report, and its checksum, may differ.
    static bool same(const Packet &got, const Packet &want) {
        if (got.size() != want.size() || got[0] != want[0]) return false;
        return want[0] >> 24 == 0x83 || got == want;
    }

    // Whether a report of a good tape is right. The words after the header are cycles, busy,
    // events, nulls, drains, starved, input_wait, output_wait. How long the host waits, or lets
    // the device wait, changes from run to run; what the passes did does not.
    static bool same_work(const Packet &got, const Packet &want) {
        if (want[0] >> 24 != 0x83) return got == want;
        const auto busy = [](const Packet &report) { return report[2] - report[8]; };
        return got[3] == want[3] && got[4] == want[4] && got[6] == want[6] &&
               busy(got) == busy(want) && got[2] == got[3] + got[4] + got[5] + got[6] &&
               got[1] >= got[2];
    }

    bool idle() const { return core->to_send.empty() && core->partial.empty(); }

    // Play a good tape. All of its answers must be right.
    bool good(const GoodTape &tape) {
        core->received.clear();
        core->errors = 0;
        for (const auto &packet : tape.packets) send(packet);
        if (core->run(limit, tape.answers.size(), limit) != DONE) return fail("a good tape hung");
        if (core->received.size() != tape.answers.size()) return fail("a good tape was refused");
        for (size_t i = 0; i < tape.answers.size(); ++i)
            if (!same(core->received[i], tape.answers[i])) return fail("a wrong answer");
        for (size_t i = 0; i < tape.answers.size(); ++i)
            if (!same_work(core->received[i], tape.answers[i])) return fail("wrong counters");
        return true;
    }

    bool fail(const char *text) {
        if (!failure) failure = text;
        return false;
    }

    // Damage a packet. Its checksum stays as it is.
    void damage(std::vector<Packet> &tape, size_t at) {
        Packet &packet = tape[at];
        if (packet.empty()) return;     // an earlier damage removed all of its words
        switch (random(9)) {
        case 0: packet[random(packet.size())] ^= 1u << random(32); break;
        case 1: packet[random(packet.size())] = uint32_t(random(1ull << 32)); break;
        case 2: packet.erase(packet.begin() + random(packet.size())); break;
        case 3: packet.insert(packet.begin() + random(packet.size() + 1),
                              uint32_t(random(1ull << 32))); break;
        case 4: packet.resize(random(packet.size()) + 1); break;
        case 5: packet[0] ^= 1u << random(16); break;                  // the length in its header
        case 6: tape.erase(tape.begin() + at); break;
        case 7: tape.insert(tape.begin() + at, packet); break;
        case 8: std::swap(packet, tape[random(tape.size())]); break;
        }
    }

    // A packet of random words. `sealed`: with a good checksum.
    Packet noise(bool sealed) {
        Packet packet(2 + random(random(4) ? 8 : 80));
        for (auto &word : packet) word = uint32_t(random(1ull << 32));
        if (random(8)) packet[0] = (packet[0] & 0x0FFF0000u) | uint32_t(packet.size() - 2);
        if (sealed) mend(packet);
        return packet;
    }

    // Give a packet a good checksum.
    static void mend(Packet &packet) {
        uint32_t crc = 0xFFFFFFFFu;
        for (size_t i = 0; i + 1 < packet.size(); ++i)
            for (int bit = 0; bit < 32; ++bit) {
                const uint32_t low = (crc ^ packet[i] >> bit) & 1;
                crc = crc >> 1 ^ (low ? 0xEDB88320u : 0);
            }
        packet.back() = ~crc;
    }

    // Clock until nothing is sent or received for 300 cycles.
    bool settle() {
        uint64_t quiet = 0, before = core->taken;
        for (uint64_t budget = limit; budget; --budget) {
            core->step();
            if (core->violations) return fail("a rule of AXI4-Stream was broken");
            quiet = idle() && core->taken == before ? quiet + 1 : 0;
            before = core->taken;
            if (quiet == 300) return answered();
        }
        return fail("the device does not come to rest");
    }

    // Wait for the end of a PASS, which may run long without a word: an INFO is answered only after
    // it. A PASS that takes too long is ended by a reset, and the network is loaded again.
    bool answered() {
        Packet info = {0x09000000u, 0};
        mend(info);
        qf_send(core, info.data(), info.size(), true);
        const auto is_info = [](const Packet &packet) { return packet[0] >> 24 == 0x85; };
        for (uint64_t budget = patience, quiet = 0; budget; --budget) {
            core->step();
            if (core->violations) return fail("a rule of AXI4-Stream was broken");
            auto &all = core->received;
            const bool told = std::any_of(all.begin(), all.end(), is_info);
            quiet = told && idle() ? quiet + 1 : 0;
            if (quiet < 300) continue;
            all.erase(std::remove_if(all.begin(), all.end(), is_info), all.end());
            return true;
        }
        core->reset(2);
        ++resets;
        return good(setup);
    }

    // Answers before the first ERROR must be right and in order. Later ones can come when a BEGIN
    // opens the tape again: they must be right, in any order.
    bool answers_are_right(const GoodTape &tape) {
        size_t at = 0;
        bool error = false;
        for (const auto &packet : core->received) {
            error |= is_error(packet);
            if (is_error(packet)) continue;
            bool right = false;
            if (!error && at < tape.answers.size()) right = same(packet, tape.answers[at++]);
            else for (const auto &answer : tape.answers) right |= same(packet, answer);
            if (!right) return fail("a wrong answer in a damaged tape");
        }
        ++(error ? refused : harmless);
        return true;
    }

    // A round of damaged packets with bad checksums: nothing that is loaded may change.
    bool damaged() {
        std::vector<Packet> tape = run.packets;
        for (uint64_t count = 1 + random(3); count && !tape.empty(); --count)
            damage(tape, random(tape.size()));
        for (const auto &packet : tape) send(packet);
        if (!settle() || !answers_are_right(run)) return false;
        return good(run);
    }

    // A round of damaged packets with good checksums: they may overwrite what is loaded.
    bool sealed() {
        std::vector<Packet> tape = random(2) ? setup.packets : run.packets;
        const size_t at = random(tape.size());
        if (random(4)) {
            Packet &packet = tape[at];
            packet[random(packet.size() - 1)] ^= random(2) ? 1u << random(32)
                                                           : uint32_t(random(1ull << 32));
            if (random(4)) packet[0] = (packet[0] & 0xFFFF0000u) | uint32_t(packet.size() - 2);
            mend(packet);
        } else {
            tape[at] = noise(true);
        }
        for (const auto &packet : tape) send(packet);
        if (!settle()) return false;
        return good(setup) && good(run);
    }

    // A round of noise. With a good checksum, and by chance the next number of the tape that is
    // still open, it is a valid packet: a SEAL may rename what is loaded, a write may change it.
    bool noisy() {
        bool valid = false;
        for (uint64_t count = 1 + random(6); count; --count) {
            const bool sealed = random(2);
            valid |= sealed;
            send(noise(sealed));
        }
        return settle() && (!valid || good(setup)) && good(run);
    }

    bool round() {
        ++rounds;
        core->received.clear();
        core->errors = 0;
        switch (random(8)) {
        case 0: case 1: return sealed();
        case 2: return noisy();
        default: return damaged();
        }
    }
};

GoodTape tape_of(const uint32_t *words, uint64_t packets, uint64_t answers) {
    GoodTape tape;
    auto take = [&words] {
        Packet packet(words, words + (words[0] & 0xFFFF) + 2);
        words += packet.size();
        return packet;
    };
    while (packets--) tape.packets.push_back(take());
    while (answers--) tape.answers.push_back(take());
    return tape;
}

}  // namespace

extern "C" {

// setup, run: the packets of a tape, then its answers, back to back. counts: packets and answers of
// setup, then of run.
Fuzz *qf_fuzz_open(Core *core, uint64_t seed, const uint32_t *setup, const uint32_t *run,
                   const uint64_t *counts) {
    return new Fuzz{core, tape_of(setup, counts[0], counts[1]), tape_of(run, counts[2], counts[3]),
                    {seed * 0x9E3779B97F4A7C15ull + 1}};
}

// Run some rounds. Returns 0 at the first failure.
int qf_fuzz(Fuzz *fuzz, uint64_t rounds) {
    if (fuzz->rounds == 0 && !(fuzz->good(fuzz->setup) && fuzz->good(fuzz->run))) return 0;
    while (rounds--)
        if (!fuzz->round()) return 0;
    return 1;
}

// Four values: rounds, packets, damaged tapes refused, damaged tapes without effect. Returns the
// failure, or null.
const char *qf_fuzz_status(Fuzz *fuzz, uint64_t *values) {
    const uint64_t all[] = {fuzz->rounds, fuzz->packets, fuzz->refused, fuzz->harmless};
    std::memcpy(values, all, sizeof all);
    return fuzz->failure;
}

void qf_fuzz_close(Fuzz *fuzz) { delete fuzz; }

}  // extern "C"
