// SPDX-License-Identifier: Apache-2.0
// host-probe.elf: tries one instruction that a cell must not have the use of, for `guillotine host
// check`. Exit status 1: it worked; 0: the guest looked, and it did not. Else the cell is stopped.
#include <cpuid.h>
#include <guillotine/cell.h>
#include <string.h>

#define WORKED  1
#define DID_NOT 0
#define UNKNOWN 2

#define RETURN_OPCODE 0xc3

static int read_tsc(void)
{
    __asm__ volatile("rdtsc" : : : "rax", "rdx");
    return WORKED;
}

static int read_counters(void)
{
    __asm__ volatile("xor %%ecx, %%ecx\n rdpmc" : : : "rax", "rcx", "rdx");
    return WORKED;
}

// The profile of cells has no brand string (leaves 0x80000002 to 4), every processor has one.
static int read_cpuid(void)
{
    unsigned eax;
    unsigned ebx;
    unsigned ecx;
    unsigned edx;
    __cpuid(0x80000002, eax, ebx, ecx, edx);
    return eax | ebx | ecx | edx ? WORKED : DID_NOT;
}

static int call_system(void)
{
    __asm__ volatile("mov $60, %%eax\n syscall" : : : "rax", "rcx", "r11", "memory");
    return WORKED;
}

static int write_port(void)
{
    __asm__ volatile("out %%al, $0x80" : : : "memory");
    return WORKED;
}

static int write_code(void)
{
    __asm__ volatile("movb $0x90, (%0)" : : "r"(write_code) : "memory");
    return WORKED;
}

static int run_data(void)
{
    static volatile unsigned char code[16];
    code[0] = RETURN_OPCODE;
    __asm__ volatile("call *%0" : : "r"(code) : "memory", "rax");
    return WORKED;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*probe)(void);
    } probes[] = {
        {"tsc", read_tsc},        {"counters", read_counters}, {"cpuid", read_cpuid},
        {"syscall", call_system}, {"port-io", write_port},     {"write-code", write_code},
        {"run-data", run_data},
    };
    for (unsigned i = 0; argc == 2 && i < sizeof(probes) / sizeof(probes[0]); i++) {
        if (!strcmp(argv[1], probes[i].name))
            return probes[i].probe();
    }
    return UNKNOWN;
}
