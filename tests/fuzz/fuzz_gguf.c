// SPDX-License-Identifier: Apache-2.0
// Fuzz target: the inference program on arbitrary bytes as a model file.

#include "platform.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_MAX (4u << 20) /* bytes: larger models would only be slower to compute */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_workers(void *context, void (*function)(void *argument, unsigned worker),
                        void *argument)
{
    (void)context;
    function(argument, 0);
    function(argument, 1);
}

static int discard(void *context, const void *data, size_t length)
{
    (void)context;
    (void)data;
    (void)length;
    return 0;
}

static long no_input(void *context, void *data, size_t length)
{
    (void)context;
    (void)data;
    (void)length;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *arguments[] = {"--prompt", "ab \xc3\xa9 <s>", "--tokens", "3", "--context", "8"};
    static char *describe[] = {"--info"};
    static const uint64_t sets[] = {0, LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C};
    struct llm_error err;
    uint64_t bytes;
    struct llm_weights weights = {data, size};

    if (llm_memory_needed(&weights, 1, 8, &bytes, &err) != 0 || bytes > ARENA_MAX) {
        return 0;
    }
    void *arena = aligned_alloc(64, bytes); /* bytes is a multiple of 64 */
    if (arena == NULL) {
        return 0;
    }
    struct llm_platform platform = {
        .weights = &weights,
        .weights_count = 1,
        .arena = arena,
        .arena_length = bytes,
        .workers = 2,
        .run = run_workers,
        .write = discard,
        .read = no_input,
    };
    for (size_t index = 0; index < 2; index++) {
        if (sets[index] != 0 && !__builtin_cpu_supports("avx2")) {
            continue;
        }
        platform.isa = sets[index];
        platform.argc = sizeof(arguments) / sizeof(arguments[0]);
        platform.argv = arguments;
        memset(arena, 0, bytes);
        (void)llm_main(&platform);
    }
    platform.argc = 1;
    platform.argv = describe;
    (void)llm_main(&platform);
    free(arena);
    return 0;
}
