// SPDX-License-Identifier: Apache-2.0
// The inference program in a cell: weights from the boot info, output through the console port.

#include "platform.h"

#include <guillotine/cell.h>
#include <string.h>

static void run(void *context, void (*function)(void *argument, unsigned worker), void *argument)
{
    (void)context;
    cell_run(function, argument);
}

static int write_output(void *context, const void *data, size_t length)
{
    (void)context;
    return cell_console_write(data, length) ? -1 : 0;
}

static long read_input(void *context, void *data, size_t length)
{
    (void)context;
    return cell_console_read(data, length);
}

static uint64_t isa_of_cell(uint64_t cell)
{
    static const struct {
        uint64_t cell;
        uint64_t llm;
    } sets[] = {
        {CELL_ISA_AVX2, LLM_ISA_AVX2},         {CELL_ISA_FMA, LLM_ISA_FMA},
        {CELL_ISA_F16C, LLM_ISA_F16C},         {CELL_ISA_AVX512F, LLM_ISA_AVX512F},
        {CELL_ISA_AVX512BW, LLM_ISA_AVX512BW}, {CELL_ISA_AVX512VL, LLM_ISA_AVX512VL},
    };
    uint64_t isa = 0;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
        isa |= cell & sets[i].cell ? sets[i].llm : 0;
    return isa;
}

int main(int argc, char **argv)
{
    const struct cell_boot_info *boot = cell_boot();
    if (boot->weights_count != 1) {
        cell_print("llm: give exactly one weights file (run --weights MODEL.gguf)");
        return LLM_EXIT_FAILURE;
    }
    size_t arena_length = cell_heap_left() & ~(size_t)4095;
    if (arena_length > 4096)
        arena_length -= 4096;
    struct llm_platform platform = {
        .weights = (const void *)boot->weights[0].address,
        .weights_length = boot->weights[0].bytes,
        .arena = cell_allocate(arena_length, 64),
        .arena_length = arena_length,
        .workers = boot->vcpus,
        .isa = isa_of_cell(boot->isa),
        .argc = argc - 1,
        .argv = argv + 1,
        .run = run,
        .write = write_output,
        .read = read_input,
    };
    return llm_main(&platform);
}
