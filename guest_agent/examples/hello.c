// SPDX-License-Identifier: Apache-2.0
// The smallest useful cell: says what it was given, echoes its input.
#include <guillotine/cell.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    char line[256];
    const struct cell_boot_info *boot = cell_boot();
    snprintf(line, sizeof(line),
             "hello from a cell: %u vCPU(s), %llu MiB heap, %u port(s), isa %llx", boot->vcpus,
             (unsigned long long)boot->heap_bytes >> 20, boot->port_count,
             (unsigned long long)boot->isa);
    cell_print(line);
    for (int i = 1; i < argc; i++)
        cell_print(argv[i]);
    for (long n; (n = cell_console_read(line, sizeof(line))) > 0;)
        cell_console_write(line, (size_t)n);
    return 0;
}
