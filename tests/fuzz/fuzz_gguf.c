// SPDX-License-Identifier: Apache-2.0
// Fuzz target: the inference program on arbitrary bytes as a model file.

#include "platform.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_MAX (4u << 20) /* bytes: larger models would only be slower to compute */
#define PARTS_MAX 4

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

/* The bytes are one file, or, cut where a later one seems to begin, the parts of a split model.
 * Each gets memory of its own, so that reads beyond its end are seen. */
static size_t cut(struct llm_weights *parts, const uint8_t *data, size_t size)
{
    size_t count = 0;
    while (size > 0 && count < PARTS_MAX) {
        const uint8_t *next = size > 4 ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
        size_t length = next != NULL && count + 1 < PARTS_MAX ? (size_t)(next - data) : size;
        uint8_t *copy = malloc(length);
        if (copy == NULL) {
            break;
        }
        memcpy(copy, data, length);
        parts[count++] = (struct llm_weights){copy, length};
        data += length;
        size -= length;
    }
    return count;
}

static void run_model(const struct llm_weights *weights, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct llm_weights parts[PARTS_MAX];
    size_t count = cut(parts, data, size);

    run_model(parts, count);
    for (size_t index = 0; index < count; index++) {
        free((void *)(uintptr_t)parts[index].data);
    }
    return 0;
}

static void run_model(const struct llm_weights *weights, size_t count)
{
    static char *arguments[] = {"--prompt", "ab \xc3\xa9 <s>", "--tokens", "3", "--context", "8"};
    static char *describe[] = {"--info"};
    static const uint64_t sets[] = {0, LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C};
    struct llm_error err;
    uint64_t bytes;

    if (llm_memory_needed(weights, count, 8, &bytes, &err) != 0 || bytes > ARENA_MAX) {
        return;
    }
    void *arena = aligned_alloc(64, bytes); /* bytes is a multiple of 64 */
    if (arena == NULL) {
        return;
    }
    struct llm_platform platform = {
        .weights = weights,
        .weights_count = count,
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
}
