// SPDX-License-Identifier: Apache-2.0
// Characters of a text: decoding of UTF-8, and classes of code points.

#include "character.h"

#include <string.h>

#define REPLACEMENT 0xfffd

uint32_t llm_character_decode(const char *text, size_t length, size_t *bytes)
{
    /* The smallest code point that needs as many bytes, by their number. */
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = (uint8_t)text[0];
    size_t count = first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 0;

    *bytes = 1;
    if (first < 0x80) {
        return first;
    }
    if (count == 0 || count > length) {
        return REPLACEMENT;
    }
    uint32_t point = first & (0x7fu >> count);
    for (size_t index = 1; index < count; index++) {
        uint8_t byte = (uint8_t)text[index];
        if ((byte & 0xc0) != 0x80) {
            return REPLACEMENT;
        }
        point = point << 6 | (byte & 0x3f);
    }
    if (point < smallest[count] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return REPLACEMENT;
    }
    *bytes = count;
    return point;
}

static uint32_t ascii_classes(uint32_t point)
{
    uint32_t classes = 0;
    uint32_t letter = point | 0x20;
    if (point == '\r' || point == '\n') {
        classes |= LLM_LINE_END;
    } else if (point == ' ') {
        classes |= LLM_BLANK;
    } else if (point >= '0' && point <= '9') {
        classes |= LLM_DIGIT;
    } else if (letter >= 'a' && letter <= 'z') {
        classes |= LLM_ASCII_LETTER;
    } else if (point > ' ' && point < 0x7f) {
        classes |= LLM_ASCII_SIGN;
        classes |= point == '/' ? LLM_SLASH : 0u;
        classes |= strchr("$+<=>^~|", (int)point) != NULL ? LLM_ASCII_SYMBOL : 0u;
    }
    return classes;
}

uint32_t llm_character_classes(uint32_t point)
{
    size_t low = 0;
    size_t high = llm_character_run_count;
    while (high - low > 1) { /* the run is in [low, high) */
        size_t middle = (low + high) / 2;
        if (llm_character_runs[middle] >> 8 <= point) {
            low = middle;
        } else {
            high = middle;
        }
    }
    uint32_t classes = llm_character_runs[low] & 0xff;
    if (point < 0x80) {
        return classes | ascii_classes(point);
    }
    if ((point >= 0x4e00 && point <= 0x9fa5) || (point >= 0x3040 && point <= 0x30ff)) {
        classes |= LLM_IDEOGRAPH;
    }
    return classes;
}
