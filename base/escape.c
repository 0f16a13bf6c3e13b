// SPDX-License-Identifier: Apache-2.0
// Neutralises bytes that somebody untrusted chose before a person or a log sees them.
#include "escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static size_t put_hex(char *target, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    target[0] = '\\';
    target[1] = 'x';
    target[2] = digits[byte >> 4];
    target[3] = digits[byte & 15];
    return 4;
}

static size_t escape(char *target, size_t size, const unsigned char *bytes, size_t length,
                     bool double_backslash)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char piece[ESCAPE_MAX_EXPANSION];
        size_t n = 1;
        if (bytes[i] == '\\' && double_backslash) {
            piece[0] = piece[1] = '\\';
            n = 2;
        } else if (bytes[i] >= 0x20 && bytes[i] < 0x7f) {
            piece[0] = (char)bytes[i];
        } else {
            n = put_hex(piece, bytes[i]);
        }
        if (used + n >= size)
            break;
        memcpy(target + used, piece, n);
        used += n;
    }
    target[used] = '\0';
    return used;
}

size_t escape_line(char *target, size_t size, const void *source, size_t length)
{
    return escape(target, size, source, length, true);
}

size_t escape_message(char *target, size_t size, const char *text)
{
    return escape(target, size, (const unsigned char *)text, strlen(text), false);
}

// Length of the sequence that a lead byte starts, 0 if it cannot start one (RFC 3629 section 4).
static unsigned sequence_length(unsigned char lead)
{
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    if (lead >= 0xf0 && lead <= 0xf4)
        return 4;
    return 0;
}

static uint32_t decode(const unsigned char *bytes, unsigned length)
{
    uint32_t code = bytes[0] & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++)
        code = code << 6 | (bytes[i] & 0x3fu);
    return code;
}

// False for what only looks like a character: overlong, a surrogate, too large.
static bool code_is_character(uint32_t code, unsigned length)
{
    static const uint32_t shortest[] = {0, 0, 0x80, 0x800, 0x10000};
    return code >= shortest[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

// Characters that are well formed but let a text lie about its order or hide itself.
static bool code_is_harmful(uint32_t code, unsigned length)
{
    static const struct {
        uint32_t first;
        uint32_t last;
    } ranges[] = {
        {0x0080, 0x009f},   // C1 controls: 8-bit CSI, OSC, DCS
        {0x00ad, 0x00ad},   // soft hyphen
        {0x034f, 0x034f},   // combining grapheme joiner
        {0x061c, 0x061c},   // Arabic letter mark
        {0x115f, 0x1160},   // Hangul fillers
        {0x180b, 0x180f},   // Mongolian selectors and vowel separator
        {0x200b, 0x200f},   // zero width, direction marks
        {0x2028, 0x202e},   // separators, bidirectional embeddings and overrides
        {0x2060, 0x206f},   // invisible operators, bidirectional isolates
        {0x3164, 0x3164},   // Hangul filler
        {0xfe00, 0xfe0f},   // variation selectors
        {0xfeff, 0xfeff},   // byte order mark
        {0xfff0, 0xfffb},   // specials, interlinear annotation
        {0xe000, 0xf8ff},   // private use
        {0xffa0, 0xffa0},   // half-width Hangul filler
        {0x1bca0, 0x1bca3}, // shorthand format controls
        {0x1d173, 0x1d17a}, // musical format controls
        {0xe0000, 0xe0fff}, // tags
        {0xf0000, 0x10ffff},
    };
    if (!code_is_character(code, length))
        return true;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    }
    return false;
}

// Length of the character at `bytes`, or 0 if no whole one is there.
static unsigned character_length(const unsigned char *bytes, size_t length)
{
    unsigned needed = sequence_length(bytes[0]);
    if (needed > length)
        return 0;
    for (unsigned i = 1; i < needed; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    return needed && code_is_character(decode(bytes, needed), needed) ? needed : 0;
}

static size_t put_unit(char *target, uint32_t unit)
{
    static const char digits[] = "0123456789abcdef";
    const char escaped[] = {'\\',
                            'u',
                            digits[unit >> 12 & 15],
                            digits[unit >> 8 & 15],
                            digits[unit >> 4 & 15],
                            digits[unit & 15]};
    memcpy(target, escaped, sizeof(escaped));
    return sizeof(escaped);
}

// One character as JSON escapes: a surrogate pair above U+FFFF.
static size_t put_escaped(char *target, uint32_t code)
{
    static const char plain[] = "\"\\\n\r\t";
    static const char letters[] = "\"\\nrt";
    const char *known = code && code < 0x80 ? strchr(plain, (int)code) : NULL;
    if (known) {
        target[0] = '\\';
        target[1] = letters[known - plain];
        return 2;
    }
    if (code < 0x10000)
        return put_unit(target, code);
    size_t used = put_unit(target, 0xd800 + ((code - 0x10000) >> 10));
    return used + put_unit(target + used, 0xdc00 + ((code - 0x10000) & 0x3ff));
}

size_t escape_json(char *target, const void *source, size_t length)
{
    static const char replacement[] = "\xef\xbf\xbd"; // U+FFFD
    const unsigned char *bytes = source;
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        unsigned character = character_length(bytes + i, length - i);
        if (bytes[i] < 0x80) {
            if (bytes[i] < 0x20 || bytes[i] == 0x7f || bytes[i] == '"' || bytes[i] == '\\')
                used += put_escaped(target + used, bytes[i]);
            else
                target[used++] = (char)bytes[i];
            i++;
        } else if (!character) {
            memcpy(target + used, replacement, sizeof(replacement) - 1);
            used += sizeof(replacement) - 1;
            i++;
        } else {
            uint32_t code = decode(bytes + i, character);
            if (code_is_harmful(code, character)) {
                used += put_escaped(target + used, code);
            } else {
                memcpy(target + used, bytes + i, character);
                used += character;
            }
            i += character;
        }
    }
    return used;
}

static size_t flush_pending(struct escape_terminal *state, char *target, bool complete)
{
    size_t used = 0;
    if (complete && !code_is_harmful(decode(state->pending, state->needed), state->needed)) {
        memcpy(target, state->pending, state->needed);
        used = state->needed;
    } else {
        for (unsigned i = 0; i < state->pending_length; i++)
            used += put_hex(target + used, state->pending[i]);
    }
    state->pending_length = 0;
    state->needed = 0;
    return used;
}

size_t escape_terminal_filter(struct escape_terminal *state, char *target, const void *source,
                              size_t length)
{
    const unsigned char *bytes = source;
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = bytes[i];
        if (state->needed) {
            if ((byte & 0xc0) == 0x80) {
                state->pending[state->pending_length++] = byte;
                if (state->pending_length == state->needed)
                    used += flush_pending(state, target + used, true);
                continue;
            }
            used += flush_pending(state, target + used, false);
        }
        if ((byte >= 0x20 && byte < 0x7f) || byte == '\n' || byte == '\t') {
            target[used++] = (char)byte;
            continue;
        }
        state->needed = sequence_length(byte);
        if (!state->needed) {
            used += put_hex(target + used, byte);
            continue;
        }
        state->pending[0] = byte;
        state->pending_length = 1;
    }
    return used;
}

size_t escape_terminal_finish(struct escape_terminal *state, char *target)
{
    return flush_pending(state, target, false);
}
