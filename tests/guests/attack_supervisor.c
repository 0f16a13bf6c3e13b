// SPDX-License-Identifier: Apache-2.0
// Acts aimed at the supervisor rather than at the VMM: argv[1] names one.
#include <guillotine/cell.h>

#include <string.h>

#define FLOOD_REQUESTS 5000

// Operations that no console has: each costs the audit log two records.
static int flood(void)
{
    struct cell_port port;
    if (cell_port_open(&port, "console") < 0)
        return 1;
    for (int i = 0; i < FLOOD_REQUESTS; i++) {
        if (cell_port_call(&port, 9, 0, NULL, 0, NULL, 0, NULL) != PORT_STATUS_DENIED)
            return 2;
    }
    return 0;
}

// Lines of odd lengths without end: a paused terminal has to take the strain.
static int spew(void)
{
    static char line[999];
    memset(line, 'x', sizeof(line));
    int status = 0;
    for (size_t i = 0; !status; i = (i + 37) % sizeof(line)) {
        line[i] = '\n';
        status = cell_console_write(line, i + 1);
        line[i] = 'x';
    }
    return 3;
}

// Says a word, takes all the memory that it was promised, and goes on talking.
static int grow(void)
{
    volatile char *heap = (volatile char *)(uintptr_t)cell_boot()->heap;
    cell_console_write("grow\n", 5);
    for (uint64_t i = 0; i < cell_boot()->heap_bytes; i += 4096)
        heap[i] = 1;
    cell_console_write("grown\n", 6);
    return spew();
}

static volatile uint32_t go;

// vCPU 1 stores to code while vCPU 0 exits with success.
static int mask(void)
{
    go = 1;
    return 0;
}

void cell_vcpu_main(unsigned vcpu)
{
    (void)vcpu;
    while (!go)
        __builtin_ia32_pause();
    *(volatile char *)(uintptr_t)&cell_vcpu_main = 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*function)(void);
    } acts[] = {{"flood", flood}, {"spew", spew}, {"mask", mask}, {"grow", grow}};
    for (size_t i = 0; argc == 2 && i < sizeof(acts) / sizeof(acts[0]); i++) {
        if (!strcmp(argv[1], acts[i].name))
            return acts[i].function();
    }
    return 63;
}
