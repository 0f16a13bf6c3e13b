// SPDX-License-Identifier: Apache-2.0
// The cell of bench jitter: reads the TSC as fast as it can, and writes to its console the largest
// gap between two readings in each window. Arguments: ticks of a window, windows to skip, windows.
#include <guillotine/cell.h>
#include <stdlib.h>

#define WINDOWS_MAX 65536u

static uint32_t largest[WINDOWS_MAX];

static uint64_t read_tsc(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 1;
    uint64_t ticks = strtoull(argv[1], NULL, 10);
    uint64_t skipped = strtoull(argv[2], NULL, 10);
    uint64_t windows = strtoull(argv[3], NULL, 10);
    if (!ticks || !windows || windows > WINDOWS_MAX)
        return 1;
    uint64_t last = read_tsc();
    uint64_t end = last + skipped * ticks;
    while (last < end)
        last = read_tsc();
    for (uint64_t window = 0; window < windows; window++) {
        uint64_t most = 0;
        end += ticks;
        do {
            uint64_t now = read_tsc();
            most = now - last > most ? now - last : most;
            last = now;
        } while (last < end);
        largest[window] = most > UINT32_MAX ? UINT32_MAX : (uint32_t)most;
    }
    const char *bytes = (const char *)largest;
    size_t left = windows * sizeof(largest[0]);
    while (left) {
        size_t part = left < 4096 ? left : 4096;
        if (cell_console_write(bytes, part) < 0)
            return 2;
        bytes += part;
        left -= part;
    }
    return 0;
}
