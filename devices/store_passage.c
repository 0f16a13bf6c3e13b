// SPDX-License-Identifier: Apache-2.0
// Where the passages of an object end.
#include "store_database.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

uint32_t store_passage_length(const uint8_t *bytes, uint64_t length)
{
    uint32_t line = 0;
    uint32_t word = 0;
    if (length <= STORE_PASSAGE_MAX)
        return (uint32_t)length;
    for (uint32_t end = STORE_PASSAGE_MAX; end >= STORE_PASSAGE_MIN; end--) {
        // What stands in front of `end` belongs to the passage.
        if (bytes[end - 1] == '\n' && bytes[end - 2] == '\n')
            return end;
        if (!line && bytes[end - 1] == '\n')
            line = end;
        if (!word && is_space(bytes[end - 1]))
            word = end;
    }
    if (line || word)
        return line ? line : word;
    // Not within a character: those have at most three bytes of the form 10xxxxxx.
    uint32_t end = STORE_PASSAGE_MAX;
    for (unsigned i = 0; i < 3 && (bytes[end] & 0xc0) == 0x80; i++)
        end--;
    return end;
}
