// SPDX-License-Identifier: Apache-2.0
// A guest that rings the console's doorbell again and again without a request.
//
//   RINGS REST   so many rings, with REST turns of a loop that does nothing behind each
#include <guillotine/cell.h>

#include <stdlib.h>

int main(int argc, char **argv)
{
    const struct port_table_entry *entry = cell_find_port("console");
    if (argc != 3 || !entry)
        return 1;
    unsigned long rest = strtoul(argv[2], NULL, 10);
    for (unsigned long left = strtoul(argv[1], NULL, 10); left; left--) {
        __asm__ volatile("movl %0, (%1)" : : "r"(0), "r"(entry->doorbell) : "memory");
        for (volatile unsigned long i = 0; i < rest; i++)
            continue;
    }
    cell_print("done");
    return 0;
}
