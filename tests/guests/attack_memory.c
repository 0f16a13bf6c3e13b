// SPDX-License-Identifier: Apache-2.0
// Attacks on memory: every page does only what its rights say.
#include <string.h>

#include "attack.h"
#include "cell_layout.h" // not ABI: an attacker learns the layout all the same

#define RETURN_OPCODE 0xc3 // executed, it comes back and the attack counts as survived

static uint8_t data_bytes[64] = {RETURN_OPCODE};
static uint8_t bss_bytes[64];
static const uint8_t rodata_bytes[64] = {RETURN_OPCODE};

static uint64_t address_of(const void *object)
{
    return (uint64_t)object;
}

static uint64_t own_code(void)
{
    return (uint64_t)attack_main;
}

static int load(uint64_t address)
{
    __asm__ volatile("movb (%0), %%al" : : "r"(address) : "rax", "memory");
    return ATTACK_SURVIVED;
}

static int store(uint64_t address)
{
    __asm__ volatile("movb $0xcc, (%0)" : : "r"(address) : "memory");
    return ATTACK_SURVIVED;
}

static int add(uint64_t address)
{
    __asm__ volatile("lock addl $0, (%0)" : : "r"(address) : "memory", "cc");
    return ATTACK_SURVIVED;
}

static int call(uint64_t address)
{
    __asm__ volatile("call *%0"
                     :
                     : "r"(address)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    return ATTACK_SURVIVED;
}

// Puts an instruction where data may be written, and executes it.
static int plant_and_call(uint64_t address)
{
    *(volatile uint8_t *)address = RETURN_OPCODE;
    return call(address);
}

static uint64_t weights(void)
{
    if (!cell_boot()->weights_count)
        cell_exit(ATTACK_UNKNOWN);
    return cell_boot()->weights[0].address;
}

static uint64_t weights_end(void)
{
    return (weights() + cell_boot()->weights[0].bytes + GUEST_PAGE_SIZE - 1) &
           ~(GUEST_PAGE_SIZE - 1);
}

// Code

static int write_code(void)
{
    return store(own_code());
}

static int write_code_atomic(void)
{
    return add(own_code() & ~3ull);
}

static int write_code_string(void)
{
    uint64_t target = own_code();
    uint64_t count = 16;
    __asm__ volatile("rep stosb" : "+D"(target), "+c"(count) : "a"(0xcc) : "memory");
    return ATTACK_SURVIVED;
}

static int write_code_vector(void)
{
    __asm__ volatile("movups %%xmm0, (%0)" : : "r"(own_code()) : "memory");
    return ATTACK_SURVIVED;
}

// Read-only data

static int write_rodata(void)
{
    return store(address_of(rodata_bytes));
}

static int write_boot_info(void)
{
    return store(address_of(cell_boot()));
}

static int write_arguments(void)
{
    return store(cell_boot()->arguments);
}

static int write_weights(void)
{
    return store(weights());
}

static int write_weights_end(void)
{
    return store(weights_end() - 1);
}

static int read_after_weights(void)
{
    return load(weights_end());
}

// Execution of what is not code

static int exec_rodata(void)
{
    return call(address_of(rodata_bytes));
}

static int exec_data(void)
{
    return call(address_of(data_bytes));
}

static int exec_bss(void)
{
    return plant_and_call(address_of(bss_bytes));
}

static int exec_stack(void)
{
    uint8_t local[16];
    return plant_and_call(address_of(local));
}

static int exec_thread_area(void)
{
    return plant_and_call(cell_thread_area(0).value + 64);
}

static int exec_heap(void)
{
    return plant_and_call(address_of(cell_allocate(64, 64)));
}

static int exec_weights(void)
{
    return call(weights());
}

static int exec_io(void)
{
    return plant_and_call(cell_boot()->io + cell_boot()->io_bytes - 64);
}

static int exec_boot_info(void)
{
    return call(address_of(cell_boot()));
}

// Supervisor pages

#define GDT             (CELL_GVA_SYSTEM + CELL_SYSTEM_GDT)
#define IDT             (CELL_GVA_SYSTEM + CELL_SYSTEM_IDT)
#define STUB            (CELL_GVA_SYSTEM + CELL_SYSTEM_STUB)
#define TSS             (CELL_GVA_SYSTEM + CELL_SYSTEM_TSS)
#define EXCEPTION_STACK (CELL_GVA_SYSTEM_STACK + GUEST_PAGE_SIZE - 64)

#define SUPERVISOR(name, address)                                                                  \
    static int read_##name(void)                                                                   \
    {                                                                                              \
        return load(address);                                                                      \
    }                                                                                              \
    static int write_##name(void)                                                                  \
    {                                                                                              \
        return store(address);                                                                     \
    }                                                                                              \
    static int exec_##name(void)                                                                   \
    {                                                                                              \
        return call(address);                                                                      \
    }

SUPERVISOR(gdt, GDT)
SUPERVISOR(idt, IDT)
SUPERVISOR(stub, STUB)
SUPERVISOR(tss, TSS)
SUPERVISOR(exception_stack, EXCEPTION_STACK)
// Page tables are mapped nowhere: these are the places where a kernel would have them.
SUPERVISOR(tables_behind_stacks, CELL_GVA_SYSTEM_STACK + 2 * GUEST_PAGE_SIZE * CELL_MAX_VCPUS)
SUPERVISOR(tables_direct_map, 0xffff888000000000ull + ATTACK_GPA_TABLES)
SUPERVISOR(tables_recursive, 0xfffff6fb7dbed000ull)
// The upper half, where software KVM keeps itself.
SUPERVISOR(upper_half, 0xffff800000000000ull)
SUPERVISOR(kernel_text, 0xffffffff81000000ull)
SUPERVISOR(vsyscall, 0xffffffffff600000ull)
SUPERVISOR(cpu_entry_area, 0xfffffe0000000000ull)
SUPERVISOR(last_page, 0xfffffffffffff000ull)
// Physical addresses as if they were virtual ones.
SUPERVISOR(tables_identity, ATTACK_GPA_TABLES)
SUPERVISOR(system_identity, CELL_GPA_SYSTEM)
SUPERVISOR(io_identity, ATTACK_GPA_IO)
SUPERVISOR(device_identity, CELL_GPA_DEVICE)
SUPERVISOR(ram_identity, CELL_GPA_RAM)
SUPERVISOR(null, 0)
SUPERVISOR(noncanonical, 0x0000800000000000ull)
SUPERVISOR(noncanonical_high, 0xfff0000000000000ull)
SUPERVISOR(after_heap, cell_boot()->heap + cell_boot()->heap_bytes)
SUPERVISOR(after_io, cell_boot()->io + cell_boot()->io_bytes)

// Starts in RAM and ends behind it.
static int write_across_heap_end(void)
{
    uint64_t end = cell_boot()->heap + cell_boot()->heap_bytes;
    __asm__ volatile("movq %0, -4(%1)" : : "r"(0ull), "r"(end) : "memory");
    return ATTACK_SURVIVED;
}

// A stack that lies where a push cannot be: the report must still arrive (every vector has a stack
// of its own).
static int push_noncanonical(void)
{
    __asm__ volatile("mov %0, %%rsp\n push %%rax" : : "r"(0x0000800000001000ull) : "memory");
    return ATTACK_SURVIVED;
}

static int push_supervisor(void)
{
    __asm__ volatile("mov %0, %%rsp\n push %%rax" : : "r"(EXCEPTION_STACK) : "memory");
    return ATTACK_SURVIVED;
}

// Stacks

static __attribute__((noinline)) uint32_t recurse(uint32_t depth)
{
    volatile uint8_t frame[200];
    frame[depth % sizeof(frame)] = (uint8_t)depth;
    if (depth == UINT32_MAX)
        return 0;
    return recurse(depth + 1) + frame[depth % sizeof(frame)];
}

static int stack_overflow(void)
{
    return recurse(0) ? ATTACK_SURVIVED : ATTACK_WRONG;
}

static void overflow_on_second(void *argument, unsigned worker)
{
    (void)argument;
    if (worker == 1)
        recurse(0);
}

// Another vCPU's stack has a guard of its own.
static int stack_overflow_second(void)
{
    cell_run(overflow_on_second, NULL);
    return ATTACK_SURVIVED;
}

static int stack_above(void)
{
    return store(cell_thread_area(0).value + CELL_THREAD_BYTES);
}

static int stack_below(void)
{
    return store(cell_stack_base(0).value - 1);
}

// A frame so large that it jumps over the guard page lands in nothing.
static int stack_leap(void)
{
    return store(cell_stack_base(0).value - (1ull << 20));
}

#define SUPERVISOR_ROWS(function, name)                                                            \
    {"read-" name, read_##function}, {"write-" name, write_##function},                            \
    {                                                                                              \
        "exec-" name, exec_##function                                                              \
    }

static const struct attack attacks[] = {
    // Code is immutable, whatever instruction stores to it.
    {"write-code", write_code},
    {"write-code-atomic", write_code_atomic},
    {"write-code-string", write_code_string},
    {"write-code-vector", write_code_vector},
    // Read-only data is.
    {"write-rodata", write_rodata},
    {"write-boot-info", write_boot_info},
    {"write-arguments", write_arguments},
    {"write-weights", write_weights},
    {"write-weights-end", write_weights_end},
    {"read-after-weights", read_after_weights},
    // Data is not executable.
    {"exec-rodata", exec_rodata},
    {"exec-data", exec_data},
    {"exec-bss", exec_bss},
    {"exec-stack", exec_stack},
    {"exec-thread-area", exec_thread_area},
    {"exec-heap", exec_heap},
    {"exec-weights", exec_weights},
    {"exec-io", exec_io},
    {"exec-boot-info", exec_boot_info},
    // Supervisor pages can be neither read, written nor entered.
    SUPERVISOR_ROWS(gdt, "gdt"),
    SUPERVISOR_ROWS(idt, "idt"),
    SUPERVISOR_ROWS(stub, "stub"),
    SUPERVISOR_ROWS(tss, "tss"),
    SUPERVISOR_ROWS(exception_stack, "exception-stack"),
    SUPERVISOR_ROWS(tables_behind_stacks, "tables-behind-stacks"),
    SUPERVISOR_ROWS(tables_direct_map, "tables-direct-map"),
    SUPERVISOR_ROWS(tables_recursive, "tables-recursive"),
    SUPERVISOR_ROWS(upper_half, "upper-half"),
    SUPERVISOR_ROWS(kernel_text, "kernel-text"),
    SUPERVISOR_ROWS(vsyscall, "vsyscall"),
    SUPERVISOR_ROWS(cpu_entry_area, "cpu-entry-area"),
    SUPERVISOR_ROWS(last_page, "last-page"),
    // What is not mapped is not there.
    SUPERVISOR_ROWS(tables_identity, "tables-identity"),
    SUPERVISOR_ROWS(system_identity, "system-identity"),
    SUPERVISOR_ROWS(io_identity, "io-identity"),
    SUPERVISOR_ROWS(device_identity, "device-identity"),
    SUPERVISOR_ROWS(ram_identity, "ram-identity"),
    SUPERVISOR_ROWS(null, "null"),
    SUPERVISOR_ROWS(noncanonical, "noncanonical"),
    SUPERVISOR_ROWS(noncanonical_high, "noncanonical-high"),
    SUPERVISOR_ROWS(after_heap, "after-heap"),
    SUPERVISOR_ROWS(after_io, "after-io"),
    {"write-across-heap-end", write_across_heap_end},
    {"push-noncanonical", push_noncanonical},
    {"push-supervisor", push_supervisor},
    // Stacks end in guard pages.
    {"stack-overflow", stack_overflow},
    {"stack-overflow-second", stack_overflow_second}, // two vCPUs
    {"stack-above", stack_above},
    {"stack-below", stack_below},
    {"stack-leap", stack_leap},
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
