// SPDX-License-Identifier: Apache-2.0
// Guests that never end by themselves: the operator's stop ends them.
#include "attack.h"

#include <string.h>

static void spin_worker(void *argument, unsigned worker)
{
    (void)argument;
    (void)worker;
    for (;;)
        __asm__ volatile("");
}

static int spin(void)
{
    spin_worker(NULL, 0);
    return ATTACK_SURVIVED;
}

static int spin_all(void)
{
    cell_run(spin_worker, NULL);
    return ATTACK_SURVIVED;
}

static void park_worker(void *argument, unsigned worker)
{
    (void)argument;
    for (;;)
        cell_park(cell_event_count(worker));
}

static int park(void)
{
    park_worker(NULL, 0);
    return ATTACK_SURVIVED;
}

static int park_all(void)
{
    cell_run(park_worker, NULL);
    return ATTACK_SURVIVED;
}

// Wakes itself again and again: no sleep ever lasts.
static int unpark_self(void)
{
    for (;;)
        cell_unpark(0);
    return ATTACK_SURVIVED;
}

static int ring(void)
{
    const struct port_table_entry *entry = cell_find_port("console");
    if (!entry)
        return ATTACK_UNKNOWN;
    for (;;)
        __asm__ volatile("movl %0, (%1)" : : "r"(0), "r"(entry->doorbell) : "memory");
    return ATTACK_SURVIVED;
}

static int flood(void)
{
    static char text[4096];
    memset(text, 'x', sizeof(text));
    while (!cell_console_write(text, sizeof(text)))
        continue;
    for (;;)
        __asm__ volatile(""); // the port was closed: stay all the same
    return ATTACK_SURVIVED;
}

// Waits for input that nobody sends.
static int read_forever(void)
{
    char byte;
    for (;;)
        cell_console_read(&byte, 1);
    return ATTACK_SURVIVED;
}

static const struct attack attacks[] = {
    {"spin", spin},          {"spin-all", spin_all}, {"park", park},   {"park-all", park_all},
    {"unpark", unpark_self}, {"ring", ring},         {"flood", flood}, {"read", read_forever},
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
