// SPDX-License-Identifier: Apache-2.0
// Escaping: nothing that a model chose may move a cursor, hide or reorder text, or end a line.
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "escape.h"
#include "support.h"

// Whole stream at once, in one buffer that is exactly as large as the contract asks for.
static char *filter(const void *source, size_t length, size_t *used)
{
    struct escape_terminal state = {0};
    char *target = (char *)malloc((length + 4) * ESCAPE_MAX_EXPANSION + 1);
    size_t n = escape_terminal_filter(&state, target, source, length);
    n += escape_terminal_finish(&state, target + n);
    target[n] = '\0';
    *used = n;
    return target;
}

static void expect_filtered(const char *source, size_t length, const char *wanted)
{
    size_t used;
    char *result = filter(source, length, &used);
    cr_expect_str_eq(result, wanted);
    cr_expect_eq(used, strlen(wanted));
    free(result);
}

#define EXPECT_FILTERED(source, wanted) expect_filtered(source, sizeof(source) - 1, wanted)

// Decodes one code point by table 3-7 of the Unicode standard (well-formed UTF-8 byte sequences):
// an independent check of what the filter let through. Returns its length or 0.
static unsigned decode_strict(const unsigned char *s, size_t left, uint32_t *code)
{
    static const struct {
        unsigned char first[2], second[2];
        unsigned length;
    } table[] = {
        {{0x00, 0x7f}, {0, 0}, 1},       {{0xc2, 0xdf}, {0x80, 0xbf}, 2},
        {{0xe0, 0xe0}, {0xa0, 0xbf}, 3}, {{0xe1, 0xec}, {0x80, 0xbf}, 3},
        {{0xed, 0xed}, {0x80, 0x9f}, 3}, {{0xee, 0xef}, {0x80, 0xbf}, 3},
        {{0xf0, 0xf0}, {0x90, 0xbf}, 4}, {{0xf1, 0xf3}, {0x80, 0xbf}, 4},
        {{0xf4, 0xf4}, {0x80, 0x8f}, 4},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        unsigned length = table[i].length;
        if (s[0] < table[i].first[0] || s[0] > table[i].first[1] || length > left)
            continue;
        if (length > 1 && (s[1] < table[i].second[0] || s[1] > table[i].second[1]))
            continue;
        uint32_t value = length == 1 ? s[0] : s[0] & (0x7fu >> length);
        bool good = true;
        for (unsigned k = 1; k < length; k++) {
            good = good && s[k] >= 0x80 && s[k] <= 0xbf;
            value = value << 6 | (s[k] & 0x3fu);
        }
        if (good) {
            *code = value;
            return length;
        }
    }
    return 0;
}

// Bidirectional controls (Unicode 15, Bidi_Control) and what the header promises to stop.
static bool may_pass(uint32_t code)
{
    static const uint32_t bidi[] = {0x061c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c,
                                    0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069};
    for (size_t i = 0; i < COUNT(bidi); i++) {
        if (code == bidi[i])
            return false;
    }
    if (code < 0x20)
        return code == '\n' || code == '\t';
    if (code >= 0x7f && code <= 0x9f)
        return false;
    if (code >= 0x200b && code <= 0x200d) // zero width
        return false;
    if (code == 0x2060 || code == 0xfeff)
        return false;
    return !(code >= 0xe000 && code <= 0xf8ff) && !(code >= 0xe0000 && code <= 0xe0fff) &&
           code < 0xf0000;
}

static void check_harmless(const char *output, size_t length, uint64_t seed)
{
    const unsigned char *at = (const unsigned char *)output;
    while (length) {
        uint32_t code;
        unsigned n = decode_strict(at, length, &code);
        cr_assert_neq(n, 0u, "malformed output, seed %#llx", (unsigned long long)seed);
        cr_assert(may_pass(code), "U+%04X passed, seed %#llx", code, (unsigned long long)seed);
        at += n;
        length -= n;
    }
}

Test(escape, line_all_bytes)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned char source = (unsigned char)byte;
        char target[8];
        char wanted[8];
        if (byte == '\\')
            snprintf(wanted, sizeof(wanted), "\\\\");
        else if (byte >= 0x20 && byte < 0x7f)
            snprintf(wanted, sizeof(wanted), "%c", (int)byte);
        else
            snprintf(wanted, sizeof(wanted), "\\x%02x", byte);
        size_t used = escape_line(target, sizeof(target), &source, 1);
        cr_expect_str_eq(target, wanted);
        cr_expect_eq(used, strlen(wanted));
    }
}

// A cut never leaves half an escape and never writes beyond the capacity.
Test(escape, line_capacity)
{
    struct random random = random_start(1);
    for (int round = 0; round < 20000; round++) {
        unsigned char source[24];
        char whole[sizeof(source) * ESCAPE_MAX_EXPANSION + 1];
        size_t length = random_below(&random, sizeof(source) + 1);
        random_fill(&random, source, length);
        size_t whole_length = escape_line(whole, sizeof(whole), source, length);
        cr_assert_eq(strlen(whole), whole_length);

        size_t size = 1 + random_below(&random, sizeof(whole));
        char target[sizeof(whole) + 1];
        memset(target, 'Z', sizeof(target));
        size_t used = escape_line(target, size, source, length);
        cr_assert_lt(used, size);
        cr_assert_eq(target[used], '\0');
        cr_assert_eq(target[size], 'Z', "wrote beyond %zu", size);
        cr_assert_eq(memcmp(target, whole, used), 0);
        // What is missing is at most what did not fit.
        if (used < whole_length)
            cr_assert_gt(used + ESCAPE_MAX_EXPANSION, size - 1);
        // No half escape: the cut text parses.
        for (size_t i = 0; i < used;) {
            cr_assert_geq(target[i], 0x20);
            cr_assert_lt(target[i], 0x7f);
            i += target[i] != '\\' ? 1 : target[i + 1] == '\\' ? 2 : 4;
            cr_assert_leq(i, used);
        }
    }
}

Test(escape, terminal_all_bytes)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char source = (char)byte;
        char wanted[8];
        if ((byte >= 0x20 && byte < 0x7f) || byte == '\n' || byte == '\t')
            snprintf(wanted, sizeof(wanted), "%c", (int)byte);
        else
            snprintf(wanted, sizeof(wanted), "\\x%02x", byte);
        expect_filtered(&source, 1, wanted);
    }
}

Test(escape, terminal_controls)
{
    EXPECT_FILTERED("\x1b[31mred", "\\x1b[31mred");
    EXPECT_FILTERED("\x1b]0;title\x07", "\\x1b]0;title\\x07");
    EXPECT_FILTERED("\x1b]52;c;aGk=\x1b\\", "\\x1b]52;c;aGk=\\x1b\\");
    EXPECT_FILTERED("a\rb\x08 c\x7f", "a\\x0db\\x08 c\\x7f");
    // 8-bit CSI, OSC, ST, as bare bytes and as UTF-8.
    EXPECT_FILTERED("\x9b\x33\x31m", "\\x9b31m");
    EXPECT_FILTERED("\xc2\x9b\x33\x31m", "\\xc2\\x9b31m");
    EXPECT_FILTERED("\xc2\x9d"
                    "0;t\xc2\x9c",
                    "\\xc2\\x9d0;t\\xc2\\x9c");
    EXPECT_FILTERED("\xc2\x85", "\\xc2\\x85"); // NEL moves the cursor
}

Test(escape, terminal_passes_text)
{
    EXPECT_FILTERED("z\xc3\xa4hl \xe2\x82\xac \xe6\xbc\xa2 \xf0\x9f\x98\x80\n",
                    "z\xc3\xa4hl \xe2\x82\xac \xe6\xbc\xa2 \xf0\x9f\x98\x80\n");
    EXPECT_FILTERED("\xc2\xa0", "\xc2\xa0"); // first code point that may pass
}

Test(escape, terminal_malformed)
{
    EXPECT_FILTERED("\xc0\xaf", "\\xc0\\xaf");                   // overlong /
    EXPECT_FILTERED("\xc1\xbf", "\\xc1\\xbf");                   // overlong
    EXPECT_FILTERED("\xe0\x80\x9b", "\\xe0\\x80\\x9b");          // overlong ESC
    EXPECT_FILTERED("\xe0\x82\x9b", "\\xe0\\x82\\x9b");          // overlong CSI
    EXPECT_FILTERED("\xf0\x80\x82\x9b", "\\xf0\\x80\\x82\\x9b"); // overlong CSI
    EXPECT_FILTERED("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"); // overlong U+FFFF
    EXPECT_FILTERED("\xed\xa0\x80", "\\xed\\xa0\\x80");          // first surrogate
    EXPECT_FILTERED("\xed\xbf\xbf", "\\xed\\xbf\\xbf");          // last surrogate
    EXPECT_FILTERED("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"); // cannot lead
    EXPECT_FILTERED("\xff\xfe", "\\xff\\xfe");
    EXPECT_FILTERED("\xc3", "\\xc3"); // ends too early
    EXPECT_FILTERED("\xe2\x82", "\\xe2\\x82");
    EXPECT_FILTERED("\xf0\x9f\x98", "\\xf0\\x9f\\x98");
    EXPECT_FILTERED("\xe2\x82x", "\\xe2\\x82x");            // interrupted by text
    EXPECT_FILTERED("\xe2\x82\x1b[m", "\\xe2\\x82\\x1b[m"); // interrupted by ESC
    EXPECT_FILTERED("\xe2\xc3\xa4", "\\xe2\xc3\xa4");       // interrupted by a lead
    EXPECT_FILTERED("\xe2\xe2\x82\xac", "\\xe2\xe2\x82\xac");
}

// Beyond U+10FFFF, which F4 can lead into (RFC 3629, section 4: F4 80-8F only).
Test(escape, terminal_beyond_unicode)
{
    EXPECT_FILTERED("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
    EXPECT_FILTERED("\xf4\xbf\xbf\xbf", "\\xf4\\xbf\\xbf\\xbf");
}

// Every code point, surrogates included.
Test(escape, terminal_every_code_point)
{
    for (uint32_t code = 0x80; code <= 0x13ffff; code++) {
        char source[4];
        unsigned length = 0;
        if (code < 0x800) {
            source[length++] = (char)(0xc0 | code >> 6);
        } else if (code < 0x10000) {
            source[length++] = (char)(0xe0 | code >> 12);
            source[length++] = (char)(0x80 | (code >> 6 & 0x3f));
        } else {
            source[length++] = (char)(0xf0 | code >> 18);
            source[length++] = (char)(0x80 | (code >> 12 & 0x3f));
            source[length++] = (char)(0x80 | (code >> 6 & 0x3f));
        }
        source[length++] = (char)(0x80 | (code & 0x3f));
        struct escape_terminal state = {0};
        char target[64];
        size_t used = escape_terminal_filter(&state, target, source, length);
        used += escape_terminal_finish(&state, target + used);
        bool valid = code < 0x110000 && !(code >= 0xd800 && code <= 0xdfff);
        if (used == length) {
            cr_assert(valid, "U+%X is not Unicode and passed", code);
            cr_assert(may_pass(code), "U+%04X passed", code);
            cr_assert_eq(memcmp(target, source, length), 0);
        } else {
            cr_assert_eq(used, 4 * length, "U+%04X", code);
            // Letters and symbols must not be lost: the blocks that people write with.
            cr_assert_not((code >= 0xa1 && code < 0xad) || (code >= 0xae && code < 0x300) ||
                              (code >= 0x3040 && code < 0x3100) ||
                              (code >= 0x4e00 && code < 0xa000) ||
                              (code >= 0x1f300 && code < 0x1f700),
                          "U+%04X was escaped", code);
        }
    }
}

static void expect_escaped(const uint32_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t code = codes[i];
        char source[4];
        unsigned length = 0;
        if (code < 0x800) {
            source[length++] = (char)(0xc0 | code >> 6);
        } else if (code < 0x10000) {
            source[length++] = (char)(0xe0 | code >> 12);
            source[length++] = (char)(0x80 | (code >> 6 & 0x3f));
        } else {
            source[length++] = (char)(0xf0 | code >> 18);
            source[length++] = (char)(0x80 | (code >> 12 & 0x3f));
            source[length++] = (char)(0x80 | (code >> 6 & 0x3f));
        }
        source[length++] = (char)(0x80 | (code & 0x3f));
        size_t used;
        char *result = filter(source, length, &used);
        cr_expect_eq(used, 4 * length, "U+%04X is invisible and passed", code);
        free(result);
    }
}

// Format controls without width (Unicode 15, category Cf) that the header promises to stop
// ("zero-width or private-use formatting controls").
Test(escape, terminal_invisible)
{
    static const uint32_t codes[] = {0x00ad, 0x061c, 0x200b, 0x200e, 0x202e,  0x2060,  0x2064,
                                     0x2069, 0xfe0f, 0xfeff, 0xfff9, 0xe0001, 0xe0041, 0xf0000};
    expect_escaped(codes, COUNT(codes));
}

Test(escape, terminal_invisible_rare)
{
    static const uint32_t codes[] = {0x180e, 0x1bca0, 0x1bca3, 0x1d173, 0x1d17a};
    expect_escaped(codes, COUNT(codes));
}

// All splits of every sequence that is interesting: the output is that of the whole.
Test(escape, terminal_all_splits)
{
    static const char *const streams[] = {
        "\xc3\xa4",         "\xe2\x82\xac",     "\xf0\x9f\x98\x80",
        "\xc2\x9b",         "\xe2\x80\xae",     "\xe0\x80\x9b",
        "\xed\xa0\x80",     "\xf4\x90\x80\x80", "\xe2\x82\x1b[m",
        "\xe2\xe2\x82\xac", "\xf0\x9f\x98x",    "a\xf0\x9f\x98\x80\xc3\xa4\x1b]0;x\x07z",
        "\xf0\xf0\xf0\xf0", "\x80\x80\xc2",
    };
    for (size_t i = 0; i < COUNT(streams); i++) {
        size_t length = strlen(streams[i]);
        size_t whole_length;
        char *whole = filter(streams[i], length, &whole_length);
        for (unsigned mask = 0; mask < 1u << (length - 1); mask++) {
            struct escape_terminal state = {0};
            char result[256];
            size_t used = 0;
            size_t from = 0;
            for (size_t to = 1; to <= length; to++) {
                if (to < length && !(mask >> (to - 1) & 1))
                    continue;
                used += escape_terminal_filter(&state, result + used, streams[i] + from, to - from);
                from = to;
            }
            used += escape_terminal_finish(&state, result + used);
            result[used] = '\0';
            cr_assert_eq(used, whole_length, "stream %zu, split %#x", i, mask);
            cr_assert_str_eq(result, whole);
        }
        free(whole);
    }
}

// Bytes that make sequences likely.
static unsigned char random_byte(struct random *random)
{
    static const unsigned char leads[] = {0xc2, 0xc3, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf3,
                                          0xf4, 0xf5, 0xc0, 0x1b, 0x9b, '\n', '\r', '\\'};
    switch (random_below(random, 4)) {
    case 0:
        return leads[random_below(random, COUNT(leads))];
    case 1:
    case 2:
        return (unsigned char)(0x80 + random_below(random, 64));
    default:
        return (unsigned char)random_next(random);
    }
}

Test(escape, terminal_random_streams)
{
    uint64_t seed = test_seed();
    struct random random = random_start(2);
    for (int round = 0; round < 20000; round++) {
        unsigned char source[200];
        size_t length = random_below(&random, sizeof(source) + 1);
        for (size_t i = 0; i < length; i++)
            source[i] = random_byte(&random);
        size_t whole_length;
        char *whole = filter(source, length, &whole_length);
        check_harmless(whole, whole_length, seed);

        struct escape_terminal state = {0};
        char result[(sizeof(source) + 4) * ESCAPE_MAX_EXPANSION];
        size_t used = 0;
        for (size_t at = 0; at < length;) {
            size_t part = random_below(&random, 9);
            if (part > length - at)
                part = length - at;
            unsigned before = state.pending_length;
            size_t n = escape_terminal_filter(&state, result + used, source + at, part);
            // The contract: room for the expansion of input and pending bytes is enough.
            cr_assert_leq(n, (part + before) * ESCAPE_MAX_EXPANSION);
            cr_assert_lt(state.pending_length, 4u);
            used += n;
            at += part;
        }
        used += escape_terminal_finish(&state, result + used);
        cr_assert_eq(used, whole_length, "seed %#llx round %d", (unsigned long long)seed, round);
        cr_assert_eq(memcmp(result, whole, used), 0);
        cr_assert_eq(state.pending_length, 0u);
        free(whole);
    }
}

static void check_json(const void *text, size_t length, const char *expected)
{
    char target[256];
    size_t used = escape_json(target, text, length);
    cr_assert_leq(used, length * ESCAPE_JSON_EXPANSION);
    target[used] = '\0';
    cr_expect_str_eq(target, expected);
}

Test(escape, json)
{
    check_json("plain text, 'quoted' <&>", 24, "plain text, 'quoted' <&>");
    check_json("\"\\\n\r\t", 5, "\\\"\\\\\\n\\r\\t");
    check_json("\0\x01\x1b\x7f", 4, "\\u0000\\u0001\\u001b\\u007f");
    check_json("\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82");
    // Well formed and harmful: escaped, above U+FFFF as a pair.
    check_json("\xc2\x80\xc2\x9b\xe2\x80\xae\xe2\x80\xa8", 10, "\\u0080\\u009b\\u202e\\u2028");
    check_json("\xf3\xa0\x81\x81\xf4\x8f\xbf\xbf", 8, "\\udb40\\udc41\\udbff\\udfff");
    // Not UTF-8: a stray byte, overlong, a surrogate, too large, cut off.
#define LOST "\xef\xbf\xbd"
    check_json("\x80", 1, LOST);
    check_json("\xff"
               "a",
               2, LOST "a");
    check_json("\xc0\x9b", 2, LOST LOST);
    check_json("\xe0\x80\x9b", 3, LOST LOST LOST);
    check_json("\xed\xa0\x80", 3, LOST LOST LOST);
    check_json("\xf4\x90\x80\x80", 4, LOST LOST LOST LOST);
    check_json("\xe2\x82", 2, LOST LOST);
    check_json("\xe2\x82"
               "a",
               3, LOST LOST "a");
    check_json("\xe2\xe2\x82\xac", 4, LOST "\xe2\x82\xac");
    check_json("", 0, "");
}
