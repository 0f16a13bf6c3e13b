// SPDX-License-Identifier: Apache-2.0
// A guest with something to find in its memory: a known global, its weights copied to the heap, a
// line on the console. Then it spins.
#include <guillotine/cell.h>

#include <string.h>

volatile uint64_t evidence;

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    evidence = 0x6576696465ull;
    if (cell_boot()->weights_count) {
        const struct cell_weights *weights = &cell_boot()->weights[0];
        void *copy = cell_allocate(weights->bytes, 64);
        if (copy)
            memcpy(copy, (const void *)weights->address, weights->bytes);
    }
    cell_print("ready\n");
    for (;;)
        evidence = evidence + 0;
}
