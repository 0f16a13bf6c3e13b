// SPDX-License-Identifier: Apache-2.0
// A guest whose ports are closed, opened, broken and restarted while it goes on.
//
//   survive PORT                    asks a loopback again and again, whatever it answers
//   anomaly-then-survive PORT OTHER breaks a rule of PORT's queue, then survives on OTHER
//   deaf                            never asks for anything
#include <guillotine/cell.h>

#include <string.h>

#define FAILED 63

static int survive(const char *name)
{
    static uint8_t payload[64];
    static uint8_t reply[64];
    struct cell_port port;
    if (cell_port_open(&port, name) < 0)
        return FAILED;
    for (;;)
        cell_port_call(&port, LOOPBACK_ECHO, 0, payload, sizeof(payload), reply, sizeof(reply),
                       NULL);
}

// Says that more was published than the queue holds.
static void break_queue(const char *name)
{
    const struct port_table_entry *entry = cell_find_port(name);
    if (!entry)
        cell_exit(FAILED);
    uint16_t *index = (uint16_t *)(entry->queues[0].available + VIRTQ_RING_INDEX);
    __atomic_store_n(index, (uint16_t)(*index + entry->queues[0].size + 1), __ATOMIC_SEQ_CST);
    __asm__ volatile("movl %0, (%1)" : : "r"(0), "r"(entry->doorbell) : "memory");
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "survive") && argc == 3)
        return survive(argv[2]);
    if (!strcmp(command, "anomaly-then-survive") && argc == 4) {
        break_queue(argv[2]);
        return survive(argv[3]);
    }
    if (!strcmp(command, "deaf")) {
        for (;;)
            cell_park(cell_event_count(0));
    }
    return FAILED;
}
