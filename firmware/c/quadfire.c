#include "quadfire.h"

#include "quadfire_registers.h"

enum { CHUNK = 64 }; /* words on the stack, each way */

static uint32_t crc_word(uint32_t crc, uint32_t word)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    int nibble;

    crc ^= word;
    for (nibble = 0; nibble < 8; ++nibble) crc = (crc >> 4) ^ table[crc & 15u];
    return crc;
}

static uint32_t header_length(uint32_t header)
{
    return (header & QF_HEADER_LENGTH) >> QF_HEADER_LENGTH_SHIFT;
}

/* Sending: the tape with the inputs in it, and checksums that match them. */

typedef struct {
    const qf_tape *tape;
    const uint32_t *inputs;
    size_t at;        /* next word of the tape */
    size_t span, used; /* next span of inputs, words of it used */
    size_t end;       /* position of the checksum of the current packet */
    uint32_t crc;
    const uint32_t *waiting; /* words that are not taken yet */
    size_t left;
    uint32_t chunk[CHUNK];
} sender;

static uint32_t next_word(sender *s)
{
    const qf_tape *tape = s->tape;
    uint32_t word = tape->words[s->at];

    if (s->span < tape->input_count && s->at >= tape->inputs[s->span].first) {
        word = *s->inputs++;
        if (++s->used == tape->inputs[s->span].count) {
            ++s->span;
            s->used = 0;
        }
    }
    if (s->at > s->end || s->at == 0) { /* a header */
        s->end = s->at + header_length(word) + 1;
        s->crc = 0xffffffffu;
    }
    if (s->at == s->end) word = ~s->crc;
    else s->crc = crc_word(s->crc, word);
    ++s->at;
    return word;
}

/* Offer the waiting or the next words; returns how many were taken. */
static size_t send_some(qf_device *device, sender *s)
{
    size_t taken;

    if (s->left == 0) {
        if (s->inputs == NULL) {
            s->waiting = s->tape->words + s->at;
            s->left = s->tape->count - s->at;
            s->at = s->tape->count;
        } else {
            while (s->left < CHUNK && s->at < s->tape->count) s->chunk[s->left++] = next_word(s);
            s->waiting = s->chunk;
        }
    }
    if (s->left == 0) return 0;
    taken = device->send(device->context, s->waiting, s->left, s->at == s->tape->count);
    s->waiting += taken;
    s->left -= taken;
    return taken;
}

/* Receiving: answers are checked word by word. */

typedef struct {
    const qf_tape *tape;
    uint32_t *results;
    size_t capacity, used;
    size_t answer; /* current or next */
    uint32_t left; /* words to come, with its checksum; 0: a header comes next */
    uint32_t crc;
    int refused;          /* it is an ERROR */
    uint32_t payload[2];  /* of an ERROR */
} receiver;

static qf_status take_header(receiver *r, uint32_t word)
{
    const uint32_t opcode = (word & QF_HEADER_OPCODE) >> QF_HEADER_OPCODE_SHIFT;

    r->left = header_length(word) + 1;
    r->crc = crc_word(0xffffffffu, word);
    r->refused = opcode == QF_ANSWER_ERROR;
    if (r->refused) return r->left == 3 ? QF_OK : QF_UNEXPECTED;
    if (r->answer == r->tape->answer_count || word != r->tape->answers[r->answer])
        return QF_UNEXPECTED;
    return header_length(word) <= r->capacity - r->used ? QF_OK : QF_SPACE;
}

static qf_status take_word(qf_device *device, receiver *r, uint32_t word)
{
    if (r->left == 0) return take_header(r, word);
    --r->left;
    if (r->left) {
        r->crc = crc_word(r->crc, word);
        if (r->refused) r->payload[2 - r->left] = word;
        else r->results[r->used++] = word;
        return QF_OK;
    }
    if (word != ~r->crc) return QF_DAMAGED;
    ++r->answer;
    if (!r->refused) return QF_OK;
    device->fault = r->payload[0];
    device->fault_header = r->payload[1];
    return QF_REFUSED;
}

static qf_status receive_some(qf_device *device, receiver *r, size_t *count)
{
    uint32_t words[CHUNK];
    size_t at;
    qf_status status = QF_OK;

    *count = device->receive(device->context, words, CHUNK);
    for (at = 0; at < *count && status == QF_OK; ++at) status = take_word(device, r, words[at]);
    return status;
}

qf_status qf_play(qf_device *device, const qf_tape *tape, const uint32_t *inputs,
                  uint32_t *results, size_t capacity, size_t *used)
{
    sender s = {0};
    receiver r = {0};
    qf_status status = QF_OK;

    s.tape = r.tape = tape;
    s.inputs = tape->input_count ? inputs : NULL;
    r.results = results;
    r.capacity = capacity;
    device->write(device->context, QF_REG_FRAME, 1u);
    while (status == QF_OK && (s.left || s.at < tape->count || r.answer < tape->answer_count)) {
        size_t received;
        const size_t sent = send_some(device, &s);

        status = receive_some(device, &r, &received);
        if (status == QF_OK && !sent && !received && device->idle(device->context))
            status = QF_TIMEOUT;
    }
    *used = r.used;
    return status;
}

qf_status qf_reset(qf_device *device)
{
    void *context = device->context;
    uint32_t words[CHUNK];

    device->write(context, QF_REG_CONTROL, QF_CONTROL_RESET);
    if (device->abort) device->abort(context);
    for (;;) { /* answers to an older tape */
        const size_t count = device->receive(context, words, CHUNK);
        const uint32_t busy = QF_STATUS_INPUT_WAITING | QF_STATUS_OUTPUT_WAITING |
                              QF_STATUS_OUTPUT_OPEN;

        if (count) continue;
        if (!(device->read(context, QF_REG_STATUS) & busy)) break;
        if (device->idle(context)) return QF_TIMEOUT;
    }
    while (device->receive(context, words, CHUNK)) continue;
    device->write(context, QF_REG_ERROR, 0xffffffffu);
    device->write(context, QF_REG_CONTROL, 0u);
    return QF_OK;
}

qf_status qf_open(qf_device *device, const qf_tape *tape)
{
    void *context = device->context;

    if (device->read(context, QF_REG_MAGIC) != QF_MAGIC_VALUE) return QF_NO_DEVICE;
    if (device->read(context, QF_REG_MAP_VERSION) >> 16 != QF_MAP_VERSION_VALUE >> 16 ||
        device->read(context, QF_REG_TAPE_VERSION) >> 16 != QF_TAPE_VERSION_VALUE >> 16 ||
        tape->version >> 16 != QF_TAPE_VERSION_VALUE >> 16)
        return QF_VERSION;
    if (device->read(context, QF_REG_CONFIGURATION) != tape->configuration)
        return QF_CONFIGURATION;
    return qf_reset(device);
}

size_t qf_pack_pixels(const uint8_t *pixels, size_t count, unsigned bits, unsigned word_bits,
                      uint32_t *words, size_t capacity)
{
    const size_t plane_words = (count + word_bits - 1) / word_bits * (word_bits / 32);
    const size_t total = plane_words * bits;
    size_t at;
    unsigned plane;

    if (total > capacity) return total;
    for (at = 0; at < total; ++at) words[at] = 0;
    for (plane = 0; plane < bits; ++plane)
        for (at = 0; at < count; ++at)
            if (pixels[at] >> (bits - 1 - plane) & 1)
                words[plane * plane_words + at / 32] |= (uint32_t)1 << at % 32;
    return total;
}

const char *qf_text(qf_status status)
{
    switch (status) {
    case QF_OK: return "all is well";
    case QF_NO_DEVICE: return "no Quadfire device stands at these registers";
    case QF_VERSION: return "the device or the tape has another version than the driver";
    case QF_CONFIGURATION: return "the tape was made for another array";
    case QF_TIMEOUT: return "nothing moved any more";
    case QF_REFUSED: return "the device refused a packet";
    case QF_DAMAGED: return "an answer was damaged";
    case QF_UNEXPECTED: return "another answer came than the tape brings";
    case QF_SPACE: return "the results do not fit";
    }
    return "no such status";
}
