// SPDX-License-Identifier: Apache-2.0
// Start, exit, heap and vCPUs of a cell.
#include <guillotine/cell.h>

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv);

// Passes that an idle vCPU spins before it parks: long against a parallel region's gaps, short
// against a wait for a person.
#define SPIN_PASSES 20000u

static const struct cell_boot_info *boot;
static uint64_t heap_used;

const struct cell_boot_info *cell_boot(void)
{
    return boot;
}

// A store to one of the pages that reach the VMM: always one aligned 4-byte store.
static void store(uint64_t page, uint32_t value)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(page) : "memory");
}

_Noreturn void cell_exit(uint32_t status)
{
    for (;;)
        store(boot->exit_page, status);
}

// musl's assert and abort paths end here instead of in a signal.
_Noreturn void abort(void)
{
    cell_exit(63);
}

void *cell_allocate(size_t size, size_t alignment)
{
    uint64_t base = boot->heap + heap_used;
    uint64_t aligned = (base + alignment - 1) & ~(uint64_t)(alignment - 1);
    uint64_t offset = aligned - boot->heap;
    if (offset > boot->heap_bytes || size > boot->heap_bytes - offset)
        return NULL;
    heap_used = offset + size;
    return (void *)aligned;
}

size_t cell_heap_left(void)
{
    return boot->heap_bytes - heap_used;
}

static struct cell_event *event_of(unsigned vcpu)
{
    return (struct cell_event *)boot->events + vcpu;
}

uint32_t cell_event_count(unsigned vcpu)
{
    return __atomic_load_n(&event_of(vcpu)->count, __ATOMIC_ACQUIRE);
}

void cell_park(uint32_t seen)
{
    store(boot->park_page, seen);
}

void cell_unpark(unsigned vcpu)
{
    store(boot->unpark_page, vcpu);
}

// One parallel region at a time: vCPU 0 raises `generation`, every other vCPU runs the function
// and counts itself into `done`.
static struct {
    _Alignas(64) uint32_t generation;
    void (*function)(void *argument, unsigned worker);
    void *argument;
    _Alignas(64) uint32_t done;
    _Alignas(64) uint32_t parked[CELL_MAX_VCPUS];
} team;

void cell_run(void (*function)(void *argument, unsigned worker), void *argument)
{
    unsigned others = boot->vcpus - 1;
    if (others) {
        team.function = function;
        team.argument = argument;
        __atomic_store_n(&team.done, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team.generation, team.generation + 1, __ATOMIC_SEQ_CST);
        for (unsigned vcpu = 1; vcpu <= others; vcpu++) {
            if (__atomic_load_n(&team.parked[vcpu], __ATOMIC_SEQ_CST))
                cell_unpark(vcpu);
        }
    }
    function(argument, 0);
    while (__atomic_load_n(&team.done, __ATOMIC_ACQUIRE) != others)
        __builtin_ia32_pause();
}

static uint32_t wait_for_generation(unsigned vcpu, uint32_t last)
{
    for (unsigned pass = 0;; pass++) {
        uint32_t now = __atomic_load_n(&team.generation, __ATOMIC_ACQUIRE);
        if (now != last)
            return now;
        if (pass < SPIN_PASSES) {
            __builtin_ia32_pause();
            continue;
        }
        uint32_t seen = cell_event_count(vcpu);
        __atomic_store_n(&team.parked[vcpu], 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&team.generation, __ATOMIC_SEQ_CST) == last)
            cell_park(seen);
        __atomic_store_n(&team.parked[vcpu], 0, __ATOMIC_SEQ_CST);
    }
}

__attribute__((weak)) void cell_vcpu_main(unsigned vcpu)
{
    for (uint32_t generation = 0;;) {
        generation = wait_for_generation(vcpu, generation);
        team.function(team.argument, vcpu);
        __atomic_add_fetch(&team.done, 1, __ATOMIC_ACQ_REL);
    }
}

static char **make_argv(void)
{
    char **argv = cell_allocate((boot->argument_count + 2) * sizeof(char *), sizeof(char *));
    static char name[] = "cell";
    const char *at = (const char *)boot->arguments;
    if (!argv)
        cell_exit(63);
    argv[0] = name;
    for (unsigned i = 0; i < boot->argument_count; i++) {
        size_t size = strlen(at) + 1;
        argv[i + 1] = cell_allocate(size, 1); // the boot info is read-only, argv is not
        if (!argv[i + 1])
            cell_exit(63);
        memcpy(argv[i + 1], at, size);
        at += size;
    }
    return argv;
}

_Noreturn void cell_start(const struct cell_boot_info *info, unsigned vcpu);

_Noreturn void cell_start(const struct cell_boot_info *info, unsigned vcpu)
{
    if (vcpu) {
        // `boot` is set by vCPU 0; every vCPU gets the same value.
        __atomic_store_n(&boot, info, __ATOMIC_RELEASE);
        cell_vcpu_main(vcpu);
        for (;;)
            cell_park(cell_event_count(vcpu));
    }
    __atomic_store_n(&boot, info, __ATOMIC_RELEASE);
    char **argv = make_argv();
    cell_exit((uint32_t)main((int)boot->argument_count + 1, argv));
}
