// SPDX-License-Identifier: Apache-2.0
// A guest that uses the block port named "block" as it is told, and says on the console what came
// of it.
//
//   print SECTOR COUNT        the sectors, to the console, then the status
//   write SECTOR COUNT SEED   sectors that follow from their number and the seed
//   verify SECTOR COUNT SEED  reads them back and compares
//   zero SECTOR COUNT         reads and says whether all is zero
//   zeroes SECTOR COUNT       makes them zero
//   discard SECTOR COUNT
//   flush
//   raw OPERATION ARGUMENT SECTOR SECTORS PAD BYTES  a range, and BYTES behind it (-1: no range)
//   churn COUNT SECTORS SEED  writes, zeroes and reads back at random places, COUNT times
//   storm                     reads the first sector for ever, whatever comes of it
//   ready                     reads the first sector until the process behind the port is back
//   wait                      says "waiting", then waits for a line
//   requests                  how many calls were answered so far
//
// Every word "--" between them ends one command and begins the next. Ends with 0, or 1 if a command
// made no sense.
#include <guillotine/block.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_SIZE (4u << 20)

#define DIFFERENT (-3)

static struct cell_port port;
static uint64_t data[DATA_SIZE / 8];
static unsigned requests;

static void say(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    cell_console_write(line, length < (int)sizeof(line) ? (size_t)length : sizeof(line) - 1);
}

static int counted(int status)
{
    requests += status >= 0;
    return status;
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 0);
}

// splitmix64 of a word's place.
static uint64_t word_of(uint64_t seed, uint64_t place)
{
    uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15ull + place * 0xd1342543de82ef95ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

#define SECTOR_WORDS (BLOCK_SECTOR_BYTES / 8)

static int write_pattern(uint64_t sector, uint64_t count, uint64_t seed)
{
    for (uint64_t i = 0; i < count * SECTOR_WORDS && i < DATA_SIZE / 8; i++)
        data[i] = word_of(seed, sector * SECTOR_WORDS + i);
    return counted(cell_block_write(&port, sector, data, count));
}

// A seed of 0 stands for zeros.
static int verify(uint64_t sector, uint64_t count, uint64_t seed)
{
    memset(data, 0xa5, count * BLOCK_SECTOR_BYTES);
    int status = counted(cell_block_read(&port, sector, data, count));
    for (uint64_t i = 0; !status && i < count * SECTOR_WORDS; i++) {
        if (data[i] != (seed ? word_of(seed, sector * SECTOR_WORDS + i) : 0))
            return DIFFERENT;
    }
    return status;
}

static void print(uint64_t sector, uint64_t count)
{
    int status = counted(cell_block_read(&port, sector, data, count));
    if (!status)
        cell_console_write(data, count * BLOCK_SECTOR_BYTES);
    say("print %d\n", status);
}

static void raw(char **words)
{
    size_t got = 0;
    const struct block_range range = {number(words[2]), (uint32_t)number(words[3]),
                                      (uint32_t)number(words[4])};
    long behind = atol(words[5]);
    memcpy(data, &range, sizeof(range));
    size_t length = behind < 0 ? 0 : sizeof(range) + (size_t)behind;
    int status =
        counted(cell_port_call(&port, (uint32_t)number(words[0]), (uint32_t)number(words[1]), data,
                               length, data, port.queue.reply_bytes, &got));
    say("raw %d %zu\n", status, got);
}

// Ranges overlap: a second copy of the disk says what has to be there.
static void churn(uint64_t count, uint64_t sectors, uint64_t seed)
{
    uint64_t *seeds = cell_allocate(sectors * sizeof(*seeds), 8); // of each sector; 0: zeros
    int status = seeds ? counted(cell_block_write_zeroes(&port, 0, sectors)) : -1;
    for (uint64_t i = 0; i < count && !status; i++) {
        uint64_t chance = word_of(seed, i);
        uint64_t sector = chance % sectors;
        uint64_t most = sectors - sector < 200 ? sectors - sector : 200;
        uint64_t length = 1 + (chance >> 32) % most;
        uint64_t own = chance >> 60 > 3 ? i + 1 : 0;
        status = own ? write_pattern(sector, length, own)
                     : counted(cell_block_write_zeroes(&port, sector, length));
        for (uint64_t k = 0; k < length; k++)
            seeds[sector + k] = own;
        uint64_t other = (chance >> 20) % sectors;
        if (!status)
            status = verify(other, 1, seeds[other]);
    }
    for (uint64_t i = 0; i < sectors && !status; i++)
        status = verify(i, 1, seeds[i]);
    say("churn %d\n", status);
}

static void ready(void)
{
    int status;
    do
        status = counted(cell_block_read(&port, 0, data, 1));
    while (status == PORT_STATUS_DOWN || status == PORT_STATUS_LOST);
    say("ready %d\n", status);
}

static void wait_for_line(void)
{
    char byte = 0;
    say("waiting\n");
    while (byte != '\n' && cell_console_read(&byte, 1) == 1)
        continue;
}

static int run_short(int argc, char **argv)
{
    const char *what = argv[0];
    if (argc != 1)
        return 1;
    if (!strcmp(what, "flush"))
        say("flush %d\n", counted(cell_block_flush(&port)));
    else if (!strcmp(what, "ready"))
        ready();
    else if (!strcmp(what, "wait"))
        wait_for_line();
    else if (!strcmp(what, "requests"))
        say("requests %u\n", requests);
    else if (!strcmp(what, "storm"))
        for (;;)
            cell_block_read(&port, 0, data, 1);
    else
        return 1;
    return 0;
}

static int run(int argc, char **argv)
{
    const char *what = argv[0];
    if (!strcmp(what, "raw") && argc == 7) {
        raw(argv + 1);
        return 0;
    }
    if (argc < 3)
        return run_short(argc, argv);
    uint64_t sector = number(argv[1]);
    uint64_t count = number(argv[2]);
    bool marks = !strcmp(what, "zeroes") || !strcmp(what, "discard") || !strcmp(what, "churn");
    if (!marks && count > DATA_SIZE / BLOCK_SECTOR_BYTES)
        return 1;
    if (!strcmp(what, "print") && argc == 3)
        print(sector, count);
    else if (!strcmp(what, "write") && argc == 4)
        say("write %d\n", write_pattern(sector, count, number(argv[3])));
    else if (!strcmp(what, "verify") && argc == 4)
        say("verify %d\n", verify(sector, count, number(argv[3])));
    else if (!strcmp(what, "zero") && argc == 3)
        say("zero %d\n", verify(sector, count, 0));
    else if (!strcmp(what, "zeroes") && argc == 3)
        say("zeroes %d\n", counted(cell_block_write_zeroes(&port, sector, count)));
    else if (!strcmp(what, "discard") && argc == 3)
        say("discard %d\n", counted(cell_block_discard(&port, sector, count)));
    else if (!strcmp(what, "churn") && argc == 4)
        churn(sector, count, number(argv[3]));
    else
        return 1;
    return 0;
}

int main(int argc, char **argv)
{
    int status = cell_port_open(&port, "block");
    for (int at = 1; at < argc && !status;) {
        int end = at;
        while (end < argc && strcmp(argv[end], "--"))
            end++;
        status = end > at ? run(end - at, argv + at) : 1;
        at = end + 1;
    }
    return status ? 1 : 0;
}
