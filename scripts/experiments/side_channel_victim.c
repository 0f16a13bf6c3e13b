// SPDX-License-Identifier: Apache-2.0
// The victim of the side-channel experiment: in each round it does something that depends on one
// bit of a secret, on the CPU where it is put.
//
// Arguments: MODE PAGES ROUND-US ROUNDS SEED PAUSE-US [FILE]
// Writes "TSC-OF-THE-FIRST-ROUND TICKS-OF-A-ROUND" and begins a moment later. PAUSE-US: it sleeps
// that long between two bursts, so that an attacker on the same CPU has turns; 0: it never sleeps.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SIDE_CHANNEL_CODE
#include "side_channel.h"

// Time for the attacker to be there.
#define LEAD_MS 700

static uint64_t next_random(uint64_t *state)
{
    // splitmix64, as the analysis has it.
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t ticks_per_ms(void)
{
    const struct timespec pause = {0, 100000000};
    struct timespec begin;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    uint64_t ticks = read_tsc();
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ticks = read_tsc() - ticks;
    double ms =
        (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
    return (uint64_t)((double)ticks / ms);
}

static __attribute__((noinline, aligned(4096))) void branches(unsigned bit)
{
    uint64_t taken = bit;
    for (unsigned i = 0; i < 64; i++)
        __asm__ volatile(".balign 4096\n test %0, %0\n jz 1f\n nop\n 1:\n" : : "r"(taken) : "cc");
}

struct victim {
    const char *mode;
    unsigned pages;
    const volatile uint8_t *memory;
};

static void act(const struct victim *v, unsigned bit)
{
    unsigned group = bit ? GROUP_OF_ONE : GROUP_OF_ZERO;
    if (!strcmp(v->mode, "lines")) {
        for (unsigned page = 0; page < v->pages; page++)
            touch(v->memory + (size_t)page * PAGE_BYTES + group_offset(group));
    } else if (!strcmp(v->mode, "tlb")) {
        // One bit touches many pages, the other as many lines of few: what fills is the TLB.
        for (unsigned i = 0; i < v->pages; i++)
            touch(v->memory + (size_t)(bit ? i : i % 8) * PAGE_BYTES + i % 64 * LINE_BYTES);
    } else if (!strcmp(v->mode, "code")) {
        for (unsigned page = 0; page < CODE_PAGES; page++)
            code_line(page, group);
    } else if (!strcmp(v->mode, "reload")) {
        touch(v->memory + group * 4 * PAGE_BYTES + group_offset(group));
    } else if (!strcmp(v->mode, "branch")) {
        branches(bit);
    } else if (bit) { // port: work, or rest
        for (unsigned i = 0; i < 20000; i++)
            touch(v->memory + i % v->pages * PAGE_BYTES);
    } else {
        usleep(50);
    }
}

static const volatile uint8_t *map(const struct victim *v, const char *file)
{
    size_t bytes = (size_t)v->pages * PAGE_BYTES;
    if (file) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        void *mapping =
            fd < 0 ? MAP_FAILED : mmap(NULL, GROUPS * 4 * PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
        return mapping == MAP_FAILED ? NULL : mapping;
    }
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    // Not the zero page, which all pages would be.
    for (size_t at = 0; at < bytes; at += PAGE_BYTES)
        memory[at] = 1;
    return memory;
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "side-channel-victim is started by scripts/experiments/side-channels\n");
        return 64;
    }
    struct victim v = {.mode = argv[1], .pages = (unsigned)strtoul(argv[2], NULL, 10)};
    uint64_t per_ms = ticks_per_ms();
    uint64_t round = per_ms * strtoull(argv[3], NULL, 10) / 1000;
    unsigned long rounds = strtoul(argv[4], NULL, 10);
    uint64_t state = strtoull(argv[5], NULL, 10);
    unsigned long pause_us = strtoul(argv[6], NULL, 10);
    const struct timespec pause = {0, (long)pause_us * 1000};
    v.memory = map(&v, argc > 7 ? argv[7] : NULL);
    if (!v.memory || !v.pages)
        return 1;
    prctl(PR_SET_TIMERSLACK, 1000);
    uint64_t begin = read_tsc() + LEAD_MS * per_ms;
    printf("%llu %llu\n", (unsigned long long)begin, (unsigned long long)round);
    fflush(stdout);
    while (read_tsc() < begin)
        usleep(100);
    for (unsigned long k = 0; k < rounds; k++) {
        unsigned bit = (unsigned)(next_random(&state) >> 63);
        while (read_tsc() < begin + (k + 1) * round) {
            act(&v, bit);
            if (pause_us)
                nanosleep(&pause, NULL);
        }
    }
    return 0;
}
