// SPDX-License-Identifier: Apache-2.0
// Regular expressions (PCRE2) whose cost is bounded: steps, depth and memory.
#include "policy_pattern.h"

#include <stdalign.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

// What searches ask the library for: contexts, match data, and frames. It never needs to grow: a
// search that wants more fails.
#define ARENA_BYTES (2 * POLICY_PATTERN_MEMORY + 16384u)

struct policy_patterns {
    struct policy_memory *memory; // of compiled patterns
    pcre2_compile_context *compile;
    pcre2_match_context *limits;
    pcre2_match_data *match;
    size_t count;
    size_t room;
    size_t used; // of the arena
    pcre2_code **codes;
    alignas(16) unsigned char arena[ARENA_BYTES];
};

// The arena is the engine's own: engines of one memory search on several threads. What is given
// back is not used again but by frames that grow once: ARENA_BYTES has room for both sizes.
static void *take_for_search(size_t size, void *context)
{
    struct policy_patterns *patterns = context;
    size = (size + 15) & ~(size_t)15;
    if (size > ARENA_BYTES - patterns->used)
        return NULL;
    void *taken = patterns->arena + patterns->used;
    patterns->used += size;
    return taken;
}

static void *take_for_pattern(size_t size, void *context)
{
    return policy_memory_take(((struct policy_patterns *)context)->memory, size);
}

static void give(void *memory, void *context)
{
    (void)memory;
    (void)context;
}

struct policy_patterns *policy_patterns_create(size_t count, struct policy_memory *memory,
                                               struct error *err)
{
    struct policy_patterns *patterns = policy_memory_take(memory, sizeof(*patterns));
    if (!patterns)
        goto fail;
    patterns->memory = memory;
    patterns->room = count;
    patterns->codes = policy_memory_take(memory, count * sizeof(pcre2_code *));
    pcre2_general_context *search = pcre2_general_context_create(take_for_search, give, patterns);
    pcre2_general_context *compile = pcre2_general_context_create(take_for_pattern, give, patterns);
    if (!patterns->codes || !search || !compile)
        goto fail;
    patterns->compile = pcre2_compile_context_create(compile);
    patterns->limits = pcre2_match_context_create(search);
    patterns->match = pcre2_match_data_create(1, search);
    if (!patterns->compile || !patterns->limits || !patterns->match)
        goto fail;
    pcre2_set_heap_limit(patterns->limits, POLICY_PATTERN_MEMORY / 1024);
    pcre2_set_max_pattern_length(patterns->compile, POLICY_PATTERN_MAX_BYTES);
    return patterns;
fail:
    error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for patterns");
    return NULL;
}

int policy_patterns_add(struct policy_patterns *patterns, const char *text, size_t length,
                        int ignore_case, size_t *at, struct error *err)
{
    int code;
    PCRE2_SIZE offset;
    uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_DOLLAR_ENDONLY |
                       PCRE2_NEVER_BACKSLASH_C | (ignore_case ? PCRE2_CASELESS : 0);
    if (patterns->count == patterns->room)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "more patterns than announced");
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)text, length, options, &code, &offset, patterns->compile);
    if (!compiled) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(code, message, sizeof(message));
        if (at)
            *at = offset;
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "pattern: %s at character %zu",
                         (const char *)message, (size_t)offset + 1);
    }
    patterns->codes[patterns->count] = compiled;
    return (int)patterns->count++;
}

enum policy_found policy_patterns_search(struct policy_patterns *patterns, unsigned index,
                                         const uint8_t *bytes, size_t length, size_t start,
                                         size_t *from, size_t *to)
{
    static const uint8_t nothing[1];
    if (length > POLICY_SEARCH_MAX_BYTES)
        return POLICY_SEARCH_FAILED;
    uint32_t steps = (uint32_t)(POLICY_SEARCH_STEPS / (length - start + 1));
    pcre2_set_match_limit(patterns->limits,
                          steps > POLICY_SEARCH_STEPS_MIN ? steps : POLICY_SEARCH_STEPS_MIN);
    int result = pcre2_match(patterns->codes[index], bytes ? bytes : nothing, length, start, 0,
                             patterns->match, patterns->limits);
    if (result == PCRE2_ERROR_NOMATCH)
        return POLICY_NOT_FOUND;
    if (result < 0)
        return POLICY_SEARCH_FAILED;
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(patterns->match);
    // \K can put the beginning behind the end.
    *from = bounds[0] < bounds[1] ? bounds[0] : bounds[1];
    *to = bounds[0] < bounds[1] ? bounds[1] : bounds[0];
    return POLICY_FOUND;
}
