/* The C driver on this machine; its hooks drive the Verilated AXI shell (axi_harness.cpp).
 *
 *     host SEED IDLE BACKPRESSURE < inputs > results
 *
 * stdin has the words of every input, stdout gets the results of `net_run` for each of them and for
 * the tape's own input, all binary. stderr gets a line for every call. Returns 0 if every call gave
 * the status that it should. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net_tape.h"
#include "quadfire_registers.h"

typedef struct Shell Shell;
Shell *qa_open(uint64_t seed, double idle, double backpressure, const char *trace);
void qa_close(Shell *shell);
void qa_step(Shell *shell, uint64_t count);
int qa_write(Shell *shell, uint32_t address, uint32_t data, uint32_t strobe);
int qa_read(Shell *shell, uint32_t address, uint32_t *data);
void qa_send(Shell *shell, const uint8_t *bytes, uint64_t count, int last);
uint64_t qa_words(Shell *shell, uint32_t *words, uint64_t limit);
void qa_drop(Shell *shell);
void qa_status(Shell *shell, uint64_t *values);
const char *qa_violation(Shell *shell);

enum { ROOM = 100, PATIENCE = 2000 };

typedef struct {
    Shell *shell;
    unsigned quiet;      /* calls of host_idle without progress */
    uint64_t beats;      /* beats transferred at the last call */
    size_t flip;         /* the word to damage, counted over all words sent; 0: none */
    size_t sent;
    uint32_t lie_about;  /* the register that reads wrong; 1: none */
} host;

static uint32_t host_read(void *context, uint32_t offset)
{
    host *h = context;
    uint32_t word = 0;

    if (qa_read(h->shell, offset, &word)) exit(2);
    return offset == h->lie_about ? ~word : word;
}

static void host_write(void *context, uint32_t offset, uint32_t value)
{
    if (qa_write(((host *)context)->shell, offset, value, 15)) exit(3);
}

static size_t host_send(void *context, const uint32_t *words, size_t count, int last)
{
    host *h = context;
    uint64_t status[7];
    uint32_t copy[ROOM];
    const size_t some = count < ROOM ? count : ROOM;

    qa_status(h->shell, status);
    if (status[3]) return 0; /* earlier beats are still queued */
    memcpy(copy, words, some * 4);
    if (h->flip >= h->sent && h->flip - h->sent < some && h->flip) copy[h->flip - h->sent] ^= 64;
    h->sent += some;
    qa_send(h->shell, (const uint8_t *)copy, some * 4, last && some == count);
    return some;
}

static size_t host_receive(void *context, uint32_t *words, size_t capacity)
{
    return qa_words(((host *)context)->shell, words, capacity);
}

static int host_idle(void *context)
{
    host *h = context;
    uint64_t status[7];

    qa_step(h->shell, 20);
    qa_status(h->shell, status);
    h->quiet = status[1] + status[2] == h->beats ? h->quiet + 1 : 0;
    h->beats = status[1] + status[2];
    return h->quiet > PATIENCE;
}

static void host_abort(void *context) { qa_drop(((host *)context)->shell); }

static uint32_t results[NET_RESULT_WORDS];

static int expect(const char *what, qf_status got, qf_status want)
{
    fprintf(stderr, "%s: %s\n", what, qf_text(got));
    return got == want;
}

static int setup(qf_device *device)
{
    size_t used;

    return expect("setup", qf_play(device, &net_setup, NULL, results, NET_RESULT_WORDS, &used),
                  QF_OK);
}

/* Every fault is reported with its status, and a reset and the setup tape repair it. */
static int trouble(qf_device *device, host *h, const uint32_t *input)
{
    static const uint32_t wrong[] = {QF_REG_MAGIC, QF_REG_MAP_VERSION, QF_REG_CONFIGURATION};
    static const qf_status told[] = {QF_NO_DEVICE, QF_VERSION, QF_CONFIGURATION};
    qf_tape tape = net_run;
    size_t used, at;
    int good = 1;

    for (at = 0; at < 3; ++at) {
        h->lie_about = wrong[at];
        good &= expect("a wrong device", qf_open(device, &net_setup), told[at]);
    }
    h->lie_about = 1;
    h->sent = 0;
    h->flip = 6; /* a word of the packet after BEGIN */
    good &= expect("damage", qf_play(device, &net_run, input, results, NET_RESULT_WORDS, &used),
                   QF_REFUSED);
    h->flip = 0;
    good &= device->fault == QF_FAULT_CAUSE_CRC;
    good &= expect("reset", qf_reset(device), QF_OK) && setup(device);
    good &= expect("no room", qf_play(device, &net_run, input, results, 1, &used), QF_SPACE);
    good &= expect("reset", qf_reset(device), QF_OK) && setup(device);
    tape.answer_count = net_run.answer_count + 1;
    tape.answers = malloc(tape.answer_count * 4);
    if (!tape.answers) return 0;
    memcpy((uint32_t *)tape.answers, net_run.answers, net_run.answer_count * 4);
    ((uint32_t *)tape.answers)[net_run.answer_count] = 0;
    good &= expect("silence", qf_play(device, &tape, input, results, NET_RESULT_WORDS, &used),
                   QF_TIMEOUT);
    free((uint32_t *)tape.answers);
    h->quiet = 0;
    return good & (expect("reset", qf_reset(device), QF_OK) && setup(device));
}

int main(int argc, char **argv)
{
    host h = {0};
    qf_device device = {0};
    static uint32_t input[NET_INPUT_WORDS];
    size_t used, count = 0;
    int good;

    if (argc != 4) return 1;
    h.shell = qa_open(strtoull(argv[1], NULL, 0), atof(argv[2]), atof(argv[3]), NULL);
    h.lie_about = 1;
    device.read = host_read;
    device.write = host_write;
    device.send = host_send;
    device.receive = host_receive;
    device.idle = host_idle;
    device.abort = host_abort;
    device.context = &h;
    good = expect("open", qf_open(&device, &net_setup), QF_OK) && setup(&device);
    while (good && fread(input, 4, NET_INPUT_WORDS, stdin) == NET_INPUT_WORDS) {
        good &= count++ ? 1 : trouble(&device, &h, input);
        good &= expect("run", qf_play(&device, &net_run, input, results, NET_RESULT_WORDS, &used),
                       QF_OK);
        fwrite(results, 4, NET_OUTPUTS + NET_LOGITS_AT, stdout);
    }
    good &= expect("the tape's own input", qf_play(&device, &net_run, NULL, results,
                                                   NET_RESULT_WORDS, &used), QF_OK);
    fwrite(results, 4, NET_OUTPUTS + NET_LOGITS_AT, stdout);
    if (*qa_violation(h.shell)) {
        fprintf(stderr, "%s\n", qa_violation(h.shell));
        good = 0;
    }
    qa_close(h.shell);
    return good ? 0 : 4;
}
