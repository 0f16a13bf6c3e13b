// SPDX-License-Identifier: Apache-2.0
// The attacker of the side-channel experiment: a model that measures its own accesses, and writes
// what it saw to its console when the time is over.
//
// Arguments: MODE PAGES WAIT BEGIN END SAMPLES TIMER
//   MODE     lines (Prime+Probe on data), code (on instructions), reload (Flush+Reload on the first
//            weights file), branch, tlb, port (time of requests to the port "loopback")
//   PAGES    that a group's lines lie in
//   WAIT     ticks between prime and probe; less if something interrupts, which is a victim's turn
//   BEGIN    TSC at which it starts
//   END      and stops
//   SAMPLES  at most
//   TIMER    tsc, or counter: a second vCPU that counts
#include <guillotine/cell.h>
#include <stdlib.h>
#include <string.h>

#define SIDE_CHANNEL_CODE
#include "side_channel.h"

// A pause of this many ticks is no access of ours: somebody else ran.
#define INTERRUPTED_TICKS 3000

// No victim lets an attacker wait for so long.
#define OTHER_TSC_TICKS (1ull << 36)

struct sample {
    uint64_t from; // TSC of the prime's end
    uint64_t to;   // and of the probe's begin
    uint32_t ticks[GROUPS];
};

static volatile uint64_t counter;
static bool counts;

// Where it has no TSC, the time is what the other vCPU has counted.
static uint64_t now(void)
{
    return counts ? counter : read_tsc();
}

void cell_vcpu_main(unsigned vcpu)
{
    (void)vcpu;
    for (;;)
        counter = counter + 1;
}

static void wait(uint64_t ticks)
{
    uint64_t last = read_tsc();
    for (uint64_t end = last + ticks; last < end;) {
        uint64_t next = read_tsc();
        if (next - last > INTERRUPTED_TICKS)
            return;
        last = next;
    }
}

// One chain of pointers through each group, over the pages in an order that no prefetcher knows.
static void *chains[GROUPS];

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static bool make_chains(unsigned pages)
{
    uint8_t *buffer = cell_allocate((size_t)pages * PAGE_BYTES, PAGE_BYTES);
    uint32_t *order = cell_allocate(pages * sizeof(*order), 64);
    uint64_t state = 88172645463325252ull;
    if (!buffer || !order)
        return false;
    for (unsigned group = 0; group < GROUPS; group++) {
        for (unsigned i = 0; i < pages; i++)
            order[i] = i;
        for (unsigned i = pages - 1; i > 0; i--) {
            unsigned other = (unsigned)(next_random(&state) % (i + 1));
            uint32_t kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        for (unsigned i = 0; i < pages; i++) {
            uint8_t *from = buffer + (size_t)order[i] * PAGE_BYTES + group_offset(group);
            uint8_t *to =
                buffer + (size_t)order[(i + 1) % pages] * PAGE_BYTES + group_offset(group);
            *(void **)(void *)from = to;
        }
        chains[group] = buffer + (size_t)order[0] * PAGE_BYTES + group_offset(group);
    }
    return true;
}

static uint32_t walk(unsigned group, unsigned pages)
{
    void **at = chains[group];
    uint64_t begin = now();
    for (unsigned i = 0; i < pages; i++)
        at = *(void *volatile *)at;
    uint64_t ticks = now() - begin;
    chains[group] = at;
    return (uint32_t)ticks;
}

static uint32_t walk_code(unsigned group, unsigned pages)
{
    uint64_t begin = now();
    for (unsigned page = 0; page < pages; page++)
        code_line(page, group);
    return (uint32_t)(now() - begin);
}

static uint32_t reload(unsigned group)
{
    const volatile uint8_t *line = (const volatile uint8_t *)(cell_boot()->weights[0].address) +
                                   group * 4 * PAGE_BYTES + group_offset(group);
    uint64_t begin = now();
    touch(line);
    uint32_t ticks = (uint32_t)(now() - begin);
    __asm__ volatile("clflush (%0)\n mfence" : : "r"(line) : "memory");
    return ticks;
}

// A conditional branch at an address of its own for each group, whose direction alternates: it is
// slow when somebody else has taught the predictor something in between.
#define BRANCH(n)                                                                                  \
    __asm__ volatile(".balign 4096\n test %0, %0\n jz 1f\n nop\n 1:\n" : : "r"(taken) : "cc")

static __attribute__((noinline, aligned(4096))) uint32_t branch(unsigned group, uint64_t taken)
{
    uint64_t begin = now();
    switch (group) {
    case 0:
        BRANCH(0);
        break;
    case 1:
        BRANCH(1);
        break;
    case 2:
        BRANCH(2);
        break;
    case 3:
        BRANCH(3);
        break;
    case 4:
        BRANCH(4);
        break;
    case 5:
        BRANCH(5);
        break;
    case 6:
        BRANCH(6);
        break;
    default:
        BRANCH(7);
        break;
    }
    return (uint32_t)(now() - begin);
}

static struct cell_port port;

static uint32_t ask(void)
{
    uint8_t byte[8] = {0};
    struct cell_reply reply;
    uint64_t begin = now();
    if (cell_queue_send(&port.queue, LOOPBACK_ECHO, 0, byte, sizeof(byte), 0) < 0)
        cell_exit(3);
    cell_queue_flush(&port.queue);
    while (!cell_queue_poll(&port.queue, &reply))
        continue;
    return (uint32_t)(now() - begin);
}

static unsigned pages;

static void prime(const char *mode)
{
    for (unsigned group = 0; group < GROUPS; group++) {
        if (!strcmp(mode, "lines") || !strcmp(mode, "tlb"))
            walk(group, pages);
        else if (!strcmp(mode, "code"))
            walk_code(group, pages);
        else if (!strcmp(mode, "branch"))
            for (unsigned i = 0; i < 16; i++)
                branch(group, 1);
    }
}

static uint32_t probe(const char *mode, unsigned group)
{
    if (!strcmp(mode, "lines") || !strcmp(mode, "tlb"))
        return walk(group, pages);
    if (!strcmp(mode, "code"))
        return walk_code(group, pages);
    if (!strcmp(mode, "reload"))
        return reload(group);
    return !strcmp(mode, "branch") ? branch(group, 1) : ask();
}

static int write_all(const void *data, size_t length)
{
    const char *at = data;
    while (length) {
        size_t part = length < 4096 ? length : 4096;
        if (cell_console_write(at, part) < 0)
            return -1;
        at += part;
        length -= part;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return 1;
    const char *mode = argv[1];
    pages = (unsigned)strtoul(argv[2], NULL, 10);
    uint64_t ticks = strtoull(argv[3], NULL, 10);
    uint64_t begin = strtoull(argv[4], NULL, 10);
    uint64_t end = strtoull(argv[5], NULL, 10);
    size_t room = strtoull(argv[6], NULL, 10);
    counts = !strcmp(argv[7], "counter");
    struct sample *samples = cell_allocate(room * sizeof(*samples), 64);
    bool lines = !strcmp(mode, "lines") || !strcmp(mode, "tlb");
    if (!samples || (lines && !make_chains(pages)) ||
        (!strcmp(mode, "code") && pages > CODE_PAGES) ||
        (!strcmp(mode, "reload") && !cell_boot()->weights_count) ||
        (!strcmp(mode, "port") && cell_port_open(&port, "loopback") < 0))
        return 2;
    memset(samples, 0, room * sizeof(*samples)); // touched before it is measured
    size_t count = 0;
    // Another TSC than the host's (KVM can shift it): what the victim does when cannot be known.
    uint64_t first = read_tsc();
    if (first > end || (begin > first && begin - first > OTHER_TSC_TICKS))
        return 5;
    while (read_tsc() < begin)
        continue;
    while (count < room) {
        struct sample *sample = &samples[count];
        prime(mode);
        sample->from = read_tsc();
        if (sample->from >= end)
            break;
        wait(ticks);
        sample->to = read_tsc();
        for (unsigned group = 0; group < GROUPS; group++)
            sample->ticks[group] = probe(mode, group);
        count++;
    }
    return write_all(samples, count * sizeof(*samples)) < 0 ? 4 : 0;
}
