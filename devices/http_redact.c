// SPDX-License-Identifier: Apache-2.0
// Keeps secrets out of replies.
#include "http_redact.h"

#include <stdbool.h>
#include <string.h>

void http_redactor_open(struct http_redactor *redactor, const struct http_grant *grant)
{
    *redactor = (struct http_redactor){.grant = grant};
    for (uint32_t i = 0; i < grant->secret_count; i++) {
        if (grant->secrets[i].secret_length > redactor->longest)
            redactor->longest = grant->secrets[i].secret_length;
    }
}

// Marks what lies in [from, to) of text[start, start + length).
static void mark(size_t start, size_t length, size_t from, size_t to, uint8_t *target)
{
    size_t end = start + length < to ? start + length : to;
    if (start < from)
        start = from;
    if (start < end)
        memset(target + start - from, '*', end - start);
}

static void redact_one(const struct http_secret *secret, const uint8_t *text, size_t used,
                       size_t from, size_t to, uint8_t *target)
{
    const uint8_t *bytes = (const uint8_t *)secret->value + secret->secret_at;
    size_t length = secret->secret_length;
    // Those that begin before `from` may reach beyond it; occurrences may overlap.
    size_t at = from >= length ? from - length + 1 : 0;
    while (at < to && length <= used - at) {
        const uint8_t *first = memchr(text + at, bytes[0], used - length + 1 - at);
        if (!first)
            return;
        at = (size_t)(first - text);
        if (memcmp(first, bytes, length) == 0)
            mark(at, length, from, to, target);
        at++;
    }
}

void http_redact(const struct http_redactor *redactor, const uint8_t *text, size_t used,
                 size_t from, size_t to, uint8_t *target)
{
    if (from == to)
        return;
    memcpy(target, text + from, to - from);
    // The search is in the text as it came: a mark would hide what overlaps it.
    for (uint32_t i = 0; i < redactor->grant->secret_count; i++)
        redact_one(&redactor->grant->secrets[i], text, used, from, to, target);
}
