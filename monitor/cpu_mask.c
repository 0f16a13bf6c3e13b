// SPDX-License-Identifier: Apache-2.0
// CPU masks as some files of the kernel have them.
#include "cpu_mask.h"

#include <stdio.h>
#include <string.h>

#define GROUP_BITS 32u
#define GROUPS     (CPU_LIST_MAX / GROUP_BITS)

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

bool cpu_mask_parse(const char *text, struct cpu_list *cpus)
{
    unsigned bit = 0;
    *cpus = (struct cpu_list){0};
    // From the end: the last digit has the first CPUs.
    for (size_t at = strlen(text); at-- > 0;) {
        if (text[at] == ',')
            continue;
        int value = digit_value(text[at]);
        if (value < 0 || (value && bit >= CPU_LIST_MAX))
            return false;
        if (value)
            cpus->bits[bit / 64] |= (uint64_t)value << (bit % 64);
        bit += 4;
    }
    return bit > 0;
}

void cpu_mask_format(const struct cpu_list *cpus, char text[CPU_MASK_SIZE])
{
    size_t used = 0;
    for (unsigned group = GROUPS; group-- > 0;) {
        uint32_t bits = (uint32_t)(cpus->bits[group / 2] >> (group % 2 * GROUP_BITS));
        if (!bits && !used && group)
            continue;
        used += (size_t)snprintf(text + used, CPU_MASK_SIZE - used, used ? ",%08x" : "%x", bits);
    }
}
