// SPDX-License-Identifier: Apache-2.0
// Numbers as people write them.
#include "number.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int number_parse(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *value,
                 struct error *err)
{
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    // strtoull accepts a sign and white space; a number here is digits only.
    if (text[0] < '0' || text[0] > '9' || *end)
        return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not a whole number", text);
    if (errno || parsed < minimum || parsed > maximum)
        return error_set(err, EXIT_STATUS_USAGE, 0, "%s is outside %llu to %llu", text,
                         (unsigned long long)minimum, (unsigned long long)maximum);
    *value = parsed;
    return 0;
}

int number_parse_size(const char *text, uint64_t *bytes, struct error *err)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno)
        return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not a size", text);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].suffix))
            continue;
        if (parsed > (UINT64_MAX >> 1) >> units[i].shift)
            return error_set(err, EXIT_STATUS_USAGE, 0, "size %s is too large", text);
        *bytes = (uint64_t)parsed << units[i].shift;
        return 0;
    }
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "'%s' is not a size: use bytes or a suffix KiB, MiB, GiB", text);
}

int cpu_list_parse(const char *text, struct cpu_list *list, struct error *err)
{
    *list = (struct cpu_list){0};
    const char *at = text;
    do {
        char *end;
        if (*at < '0' || *at > '9')
            return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not a CPU list such as 0-3,8",
                             text);
        unsigned long first = strtoul(at, &end, 10);
        unsigned long last = first;
        if (*end == '-') {
            at = end + 1;
            if (*at < '0' || *at > '9')
                return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not a CPU list such as 0-3,8",
                                 text);
            last = strtoul(at, &end, 10);
        }
        if (last < first || last >= CPU_LIST_MAX)
            return error_set(err, EXIT_STATUS_USAGE, 0, "CPU list '%s': range %lu-%lu", text, first,
                             last);
        for (unsigned long cpu = first; cpu <= last; cpu++)
            cpu_list_add(list, (unsigned)cpu);
        if (*end && *end != ',')
            return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not a CPU list such as 0-3,8",
                             text);
        at = *end ? end + 1 : NULL;
    } while (at);
    return 0;
}

void cpu_list_format(const struct cpu_list *list, char *text, unsigned long size)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (!cpu_list_has(list, cpu))
            continue;
        unsigned last = cpu;
        while (cpu_list_has(list, last + 1))
            last++;
        int n = snprintf(text + used, size - used, last > cpu ? "%s%u-%u" : "%s%u", used ? "," : "",
                         cpu, last);
        if (n < 0 || (size_t)n >= size - used)
            return;
        used += (size_t)n;
        cpu = last;
    }
}

unsigned cpu_list_count(const struct cpu_list *list)
{
    unsigned count = 0;
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++)
        count += (unsigned)__builtin_popcountll(list->bits[i]);
    return count;
}

int cpu_list_nth(const struct cpu_list *list, unsigned n)
{
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (cpu_list_has(list, cpu) && n-- == 0)
            return (int)cpu;
    }
    return -1;
}
