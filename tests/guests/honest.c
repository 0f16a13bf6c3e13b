// SPDX-License-Identifier: Apache-2.0
// A guest that obeys: exits, reads and writes as it is told, and says what it got.
//
//   exit N              ends with status N
//   ports               ends with the number of ports
//   write N STATUS      writes one byte N times; every refusal must have STATUS; ends with the
//                       number of bytes that were taken, or 63
//   write-for-ever      writes one byte again and again
//   read STATUS         reads once; ends with 0 if the port answers STATUS
//   swallow             reads all input; ends with 0
//   touch-weights       says "ready", waits for a byte, then reads the last byte of the weights
//   trap                an invalid instruction in the function trap_here
#include <guillotine/cell.h>

#include <stdlib.h>
#include <string.h>

#define FAILED 63

static uint32_t number(int argc, char **argv, int index)
{
    if (index >= argc)
        cell_exit(FAILED);
    return (uint32_t)strtoull(argv[index], NULL, 0);
}

static int write_many(uint32_t count, int refusal)
{
    int taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        int status = cell_console_write("x", 1);
        if (status && status != refusal)
            return FAILED;
        taken += !status;
    }
    return taken;
}

static int read_once(int wanted)
{
    struct cell_port port;
    char byte;
    size_t length;
    if (cell_port_open(&port, "console") < 0)
        return FAILED;
    int status = cell_port_call(&port, CONSOLE_READ, 1, NULL, 0, &byte, 1, &length);
    return status == wanted ? 0 : FAILED;
}

static int swallow(void)
{
    static char bytes[4096];
    long n;
    do {
        n = cell_console_read(bytes, sizeof(bytes));
    } while (n > 0);
    return n == 0 ? 0 : FAILED;
}

static int touch_weights(void)
{
    char byte;
    const struct cell_weights *weights = &cell_boot()->weights[0];
    cell_print("ready");
    if (!cell_boot()->weights_count || cell_console_read(&byte, 1) != 1)
        return FAILED;
    return *(volatile uint8_t *)(weights->address + weights->bytes - 1) & 1;
}

__attribute__((noinline, noclone)) void trap_here(void);

__attribute__((noinline, noclone)) void trap_here(void)
{
    __asm__ volatile("ud2");
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "exit"))
        cell_exit(number(argc, argv, 2));
    if (!strcmp(command, "ports"))
        return (int)cell_boot()->port_count;
    if (!strcmp(command, "write"))
        return write_many(number(argc, argv, 2), (int)number(argc, argv, 3));
    if (!strcmp(command, "write-for-ever"))
        return write_many(UINT32_MAX, 0);
    if (!strcmp(command, "read"))
        return read_once((int)number(argc, argv, 2));
    if (!strcmp(command, "swallow"))
        return swallow();
    if (!strcmp(command, "touch-weights"))
        return touch_weights();
    if (!strcmp(command, "trap"))
        trap_here();
    return FAILED;
}
