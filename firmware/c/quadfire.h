/* Driver of a Quadfire device with the AXI shell, in C99.
 *
 * It allocates nothing, keeps no state of its own and needs no operating system. It reaches
 * registers and streams through the functions in a qf_device, which are yours. `quadfire header`
 * writes tapes as headers.
 *
 *     qf_device device = { .read = ..., .write = ..., .send = ..., .receive = ..., .idle = ... };
 *     size_t used;
 *     qf_status status = qf_open(&device, &net_setup);
 *     if (status == QF_OK)
 *         status = qf_play(&device, &net_setup, NULL, results, sizeof results / 4, &used);
 *     if (status == QF_OK)
 *         status = qf_play(&device, &net_run, input, results, sizeof results / 4, &used);
 *     // results[NET_LOGITS_AT + k] is output k, to be read as int32_t
 *
 * Where membrane potentials are the answer, that of output k after step t of those that come
 * (the last one, or all) is results[NET_MEMBRANES_AT
 *     + (k / NET_LANES * NET_MEMBRANE_STEPS + t) * NET_LANES + k % NET_LANES].
 */
#ifndef QUADFIRE_H
#define QUADFIRE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    QF_OK = 0,
    QF_NO_DEVICE,     /* there is no Quadfire device at these registers */
    QF_VERSION,       /* the device or the tape has another version than this driver */
    QF_CONFIGURATION, /* the tape was made for another array */
    QF_TIMEOUT,       /* `idle` gave up */
    QF_REFUSED,       /* the device refused a packet: see `fault` and `fault_header` */
    QF_DAMAGED,       /* the checksum of an answer is wrong */
    QF_UNEXPECTED,    /* an answer came that the tape does not bring */
    QF_SPACE          /* the results do not fit */
} qf_status;

/* A device. The functions do not wait, except for the bus. */
typedef struct qf_device {
    /* Read or write the 32-bit register at a byte offset. */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);

    /* Begin to send words, or as many of them as there is room for now; return how many were
     * taken. `last` belongs to the final word: it ends the frame, if that word is taken. The words
     * stay in place until the next call of `send` or `idle`, or until qf_play returns QF_OK. */
    size_t (*send)(void *context, const uint32_t *words, size_t count, int last);

    /* Take up to `capacity` words that have come, in order, frames back to back. */
    size_t (*receive)(void *context, uint32_t *words, size_t capacity);

    /* Called while nothing moves: wait a little. Not 0: give up. */
    int (*idle)(void *context);

    /* Stop all transfers of a DMA at once. May be NULL. */
    void (*abort)(void *context);

    void *context; /* given to all of these */

    uint32_t fault;        /* after QF_REFUSED: the cause, QF_FAULT_CAUSE_... */
    uint32_t fault_header; /* and the header of the refused packet */
} qf_device;

/* Words of a tape that inputs replace. */
typedef struct {
    uint32_t first, count;
} qf_span;

/* A tape, as `quadfire header` writes it. */
typedef struct {
    const uint32_t *words;
    size_t count;
    uint32_t version, configuration;
    const uint32_t *answers; /* headers of the answers, in order */
    size_t answer_count;
    const qf_span *inputs; /* in order */
    size_t input_count;
} qf_tape;

/* Check that the tape was made for this device, and reset the device: it then knows no network. */
qf_status qf_open(qf_device *device, const qf_tape *tape);

/* Reset the device and drop everything under way, also after an error. */
qf_status qf_reset(qf_device *device);

/* Play a tape and put the payloads of its answers into `results`, one after the other.
 *
 * inputs: words that replace the tape's own in its input spans; NULL keeps those.
 * capacity, used: words that `results` has room for, and that were written.
 * After any result but QF_OK, call qf_reset and play the setup tape again. */
qf_status qf_play(qf_device *device, const qf_tape *tape, const uint32_t *inputs,
                  uint32_t *results, size_t capacity, size_t *used);

/* Pack the pixels of a dense network into input words: bit planes, most significant first, each
 * padded to whole words of `word_bits`. Returns the number of words; writes nothing if that is
 * more than `capacity`. */
size_t qf_pack_pixels(const uint8_t *pixels, size_t count, unsigned bits, unsigned word_bits,
                      uint32_t *words, size_t capacity);

/* What a status means, in English. */
const char *qf_text(qf_status status);

#endif
