// SPDX-License-Identifier: Apache-2.0
// What attacker and victim of the side-channel experiment share: places in memory, and time.
//
// A "group" is one line of a page: all lines of a group have the same address bits 6 to 11, so they
// compete for the same sets of every cache. The victim touches the lines of one group if the secret
// bit is 0, those of another if it is 1.
#ifndef EXPERIMENTS_SIDE_CHANNEL_H
#define EXPERIMENTS_SIDE_CHANNEL_H

#include <stdint.h>

#define PAGE_BYTES 4096u
#define LINE_BYTES 64u
#define GROUPS     8u // that an attacker looks at; the victim uses two of them

#define GROUP_OF_ZERO 2u
#define GROUP_OF_ONE  5u

// Groups lie apart, so that a neighbouring line that is fetched ahead is in none of them.
static inline uint32_t group_offset(unsigned group)
{
    return (4 + group * 7) * LINE_BYTES;
}

static inline uint64_t read_tsc(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("lfence\n rdtsc\n lfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline void touch(const volatile uint8_t *at)
{
    (void)*at;
}

// Code of one `ret` in each group's line, in CODE_PAGES pages: defined by whoever includes this
// with SIDE_CHANNEL_CODE, called as code_line(page, group).
#define CODE_PAGES 16u

#ifdef SIDE_CHANNEL_CODE
__asm__(".pushsection .text.side_channel, \"ax\"\n"
        ".balign 4096\n"
        "side_channel_code:\n"
        ".rept 16 * 64\n"
        ".balign 64\n"
        "ret\n"
        ".endr\n"
        ".balign 4096\n"
        ".popsection\n");
extern const uint8_t side_channel_code[];

static inline void code_line(unsigned page, unsigned group)
{
    const uint8_t *at = side_channel_code + page * PAGE_BYTES + group_offset(group);
    __asm__ volatile("call *%0" : : "r"(at) : "memory", "cc");
}
#endif

#endif
