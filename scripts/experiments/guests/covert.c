// SPDX-License-Identifier: Apache-2.0
// Sends a secret out through granted ports, in every way that an ordinary request offers. The
// secret follows from a seed, so that the receiver knows what it should have got.
//
//   covert delays SEED SYMBOLS LEVELS BASE STEP
//       one byte on the console for each symbol; the symbol is the pause before it: BASE turns of a
//       loop and STEP times 0 to LEVELS - 1 more
//   covert clock SEED SYMBOLS LEVELS BASE STEP
//       the same, but the pause is measured with the clock port, in nanoseconds
//   covert lengths SEED SYMBOLS LEVELS
//       the symbol is the length of a write, 1 to LEVELS bytes
//   covert content SEED BYTES CHUNK
//       random bytes, CHUNK at a time: what an open channel carries
//   covert loops TURNS COUNT
//       COUNT times so many turns of the loop between two bytes: how long is a turn?
#include "measure.h"

#include <guillotine/clock.h>
#include <string.h>

static struct cell_port console;

static void write_bytes(const void *bytes, size_t length)
{
    // A denied request tells as much as a granted one; the run goes on.
    cell_port_call(&console, CONSOLE_WRITE, 0, bytes, length, NULL, 0, NULL);
}

static uint64_t number(char **argv, int index)
{
    return strtoull(argv[index], NULL, 10);
}

static uint32_t symbol(uint32_t levels)
{
    return measure_between(0, levels - 1);
}

static int delays(char **argv)
{
    uint32_t levels = (uint32_t)number(argv, 4);
    uint64_t base = number(argv, 5), step = number(argv, 6);
    write_bytes("x", 1);
    for (uint64_t i = number(argv, 3); i > 0; i--) {
        measure_loop(base + symbol(levels) * step);
        write_bytes("x", 1);
    }
    return 0;
}

static uint64_t clock_ns(struct cell_port *clock)
{
    struct clock_reading reading = {0};
    if (cell_port_call(clock, CLOCK_PORT_MONOTONIC, 0, NULL, 0, &reading, sizeof(reading), NULL))
        cell_exit(62);
    return reading.nanoseconds;
}

static int delays_by_clock(char **argv)
{
    struct cell_port clock;
    uint32_t levels = (uint32_t)number(argv, 4);
    uint64_t base = number(argv, 5), step = number(argv, 6);
    if (cell_port_open(&clock, "clock") < 0)
        return 61;
    uint64_t now = clock_ns(&clock);
    write_bytes("x", 1);
    for (uint64_t i = number(argv, 3); i > 0; i--) {
        uint64_t until = now + base + symbol(levels) * step;
        while (now < until)
            now = clock_ns(&clock);
        write_bytes("x", 1);
    }
    return 0;
}

static int lengths(char **argv)
{
    static const char bytes[CONSOLE_MAX_REQUEST];
    uint32_t levels = (uint32_t)number(argv, 4);
    for (uint64_t i = number(argv, 3); i > 0; i--)
        write_bytes(bytes, symbol(levels) + 1);
    return 0;
}

static int content(char **argv)
{
    static uint64_t words[CONSOLE_MAX_REQUEST / sizeof(uint64_t)];
    uint64_t left = number(argv, 3), chunk = number(argv, 4);
    if (chunk < 1 || chunk > sizeof(words))
        return 63;
    while (left) {
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            words[i] = measure_random();
        size_t part = left < chunk ? left : chunk;
        write_bytes(words, part);
        left -= part;
    }
    return 0;
}

static int loops(char **argv)
{
    write_bytes("x", 1);
    for (uint64_t i = number(argv, 3); i > 0; i--) {
        measure_loop(number(argv, 2));
        write_bytes("x", 1);
    }
    return 0;
}

static const struct {
    const char *name;
    int arguments;
    int (*run)(char **argv);
} ways[] = {
    {"delays", 7, delays},   {"clock", 7, delays_by_clock}, {"lengths", 5, lengths},
    {"content", 5, content}, {"loops", 4, loops},
};

int main(int argc, char **argv)
{
    if (argc < 3 || cell_port_open(&console, "console") < 0)
        return 63;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        if (!strcmp(ways[i].name, argv[1]) && argc == ways[i].arguments) {
            measure_seed(argv[2]);
            return ways[i].run(argv);
        }
    }
    return 63;
}
