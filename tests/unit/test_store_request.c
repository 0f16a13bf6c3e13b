// SPDX-License-Identifier: Apache-2.0
// What a model sends to a store, decoded: names, queries, fields; and where passages end.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "port_fields_abi.h"
#include "store_database.h"
#include "store_request.h"
#include "support.h"

static bool is_name(const char *text)
{
    return store_name_is_valid(text, strlen(text));
}

Test(store_request, names)
{
    static const char *const good[] = {"a",   "Z",         "0",   "-",     "_",
                                       "...", "..a",       "a/b", ".a/b.", "a/.../..b",
                                       "x-y", "a/b/c/d/e", "a..", "..../a"};
    static const char *const bad[] = {"",    ".",    "..",       "/",     "/a",   "a/",  "a//b",
                                      "./a", "../a", "a/.",      "a/..",  "a b",  "a\n", "a\\b",
                                      "a:b", "a*",   "\xc3\xa4", "a\x7f", "a%00", "~",   "a/../b"};
    char name[STORE_NAME_MAX + 2];
    for (unsigned i = 0; i < COUNT(good); i++)
        cr_expect(is_name(good[i]), "%s", good[i]);
    for (unsigned i = 0; i < COUNT(bad); i++)
        cr_expect_not(is_name(bad[i]), "%s", bad[i]);
    cr_expect_not(store_name_is_valid("a\0b", 3));
    memset(name, 'x', sizeof(name));
    cr_expect(store_name_is_valid(name, STORE_NAME_MAX));
    cr_expect_not(store_name_is_valid(name, STORE_NAME_MAX + 1));
    // Every byte alone: exactly the permitted ones.
    unsigned permitted = 0;
    for (unsigned c = 0; c < 256; c++) {
        const char one[] = {'a', (char)c, 'a'};
        permitted += store_name_is_valid(one, 3);
    }
    cr_expect_eq(permitted, 26 + 26 + 10 + 4);
}

Test(store_request, text)
{
    static const struct {
        const char *bytes;
        size_t length;
        bool text;
    } cases[] = {
        {"", 0, true},
        {"plain\ttext\r\n\f", 13, true},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, true},
        {"a\0b", 3, false},
        {"a\x1b[0m", 5, false},
        {"a\x7f", 2, false},
        {"\xc3", 1, false},
        {"\xc0\xaf", 2, false},
        {"\xe0\x80\xaf", 3, false},
        {"\xed\xa0\x80", 3, false},
        {"\xf4\x90\x80\x80", 4, false},
        {"\xf8\x88\x80\x80\x80", 5, false},
        {"\x80", 1, false},
        {"\xe2\x82", 2, false},
    };
    for (unsigned i = 0; i < COUNT(cases); i++)
        cr_expect_eq(store_is_text((const uint8_t *)cases[i].bytes, cases[i].length), cases[i].text,
                     "case %u", i);
}

static uint32_t compile(const char *query, char expression[STORE_EXPRESSION_SIZE])
{
    return store_query_compile((const uint8_t *)query, (uint32_t)strlen(query), expression);
}

Test(store_request, queries_become_strings)
{
    static const char *const cases[][2] = {
        {"one", "\"one\""},
        {"  one\t two\n", "\"one\" OR \"two\""},
        {"a\"b", "\"a\"\"b\""},
        {"\"", "\"\"\"\""},
        {"NEAR(a b)", "\"NEAR(a\" OR \"b)\""},
        {"text:x* ^y", "\"text:x*\" OR \"^y\""},
        {"a AND b", "\"a\" OR \"AND\" OR \"b\""},
    };
    char expression[STORE_EXPRESSION_SIZE];
    for (unsigned i = 0; i < COUNT(cases); i++) {
        cr_expect_eq(compile(cases[i][0], expression), PORT_STATUS_OK);
        cr_expect_str_eq(expression, cases[i][1]);
    }
    cr_expect_eq(compile("", expression), PORT_STATUS_INVALID);
    cr_expect_eq(compile(" \n ", expression), PORT_STATUS_INVALID);
    cr_expect_eq(compile("a\xff", expression), PORT_STATUS_INVALID);
}

// Any text becomes a row of quoted strings that, taken out of their quotes, are its words.
Test(store_request, any_query_is_quoted_whole)
{
    static const char alphabet[] = "ab\" *()+-^:{}\\'\t\nNOR";
    struct random random = random_start(3);
    char query[300];
    char expression[STORE_EXPRESSION_SIZE];
    for (unsigned round = 0; round < 20000; round++) {
        size_t length = random_below(&random, sizeof(query));
        for (size_t i = 0; i < length; i++)
            query[i] = alphabet[random_below(&random, sizeof(alphabet) - 1)];
        query[length] = '\0';
        if (compile(query, expression) != PORT_STATUS_OK)
            continue;
        const char *at = expression;
        for (char *word = strtok(query, " \t\n"); word; word = strtok(NULL, " \t\n")) {
            if (at != expression) {
                cr_assert_eq(strncmp(at, " OR ", 4), 0, "%s", expression);
                at += 4;
            }
            cr_assert_eq(*at++, '"');
            for (; *word; word++) {
                cr_assert_eq(*at++, *word);
                if (*word == '"')
                    cr_assert_eq(*at++, '"');
            }
            cr_assert_eq(*at++, '"');
        }
        cr_assert_eq(*at, '\0', "%s", expression);
    }
}

Test(store_request, queries_are_bounded)
{
    char query[2 * STORE_QUERY_MAX];
    char expression[STORE_EXPRESSION_SIZE];
    memset(query, '"', sizeof(query));
    query[STORE_WORD_MAX] = '\0';
    cr_expect_eq(compile(query, expression), PORT_STATUS_OK);
    query[STORE_WORD_MAX] = '"';
    query[STORE_WORD_MAX + 1] = '\0';
    cr_expect_eq(compile(query, expression), PORT_STATUS_TOO_LARGE);
    // The most that a query can become.
    memset(query, '"', STORE_QUERY_MAX);
    for (unsigned i = 1; i <= STORE_WORDS_MAX; i++)
        query[i * (STORE_QUERY_MAX / STORE_WORDS_MAX) - 1] = ' ';
    cr_expect_eq(store_query_compile((uint8_t *)query, STORE_QUERY_MAX, expression),
                 PORT_STATUS_OK);
    cr_expect_lt(strlen(expression), sizeof(expression));
    cr_expect_eq(store_query_compile((uint8_t *)query, STORE_QUERY_MAX + 1, expression),
                 PORT_STATUS_TOO_LARGE);
    query[1] = ' ';
    query[3] = ' ';
    cr_expect_eq(store_query_compile((uint8_t *)query, STORE_QUERY_MAX, expression),
                 PORT_STATUS_TOO_LARGE, "a word more");
}

static uint8_t payload[4096];
static uint32_t used;

static void add(uint32_t field, const char *text)
{
    cr_assert(
        port_fields_append(payload, sizeof(payload), &used, field, text, (uint32_t)strlen(text)));
}

static uint32_t decode(struct store_request *request, uint32_t operation)
{
    uint32_t length = used;
    used = 0;
    return store_request_decode(request, operation, payload, length);
}

Test(store_request, values_and_defaults)
{
    static struct store_request request;
    add(STORE_FIELD_NAME, "a/b");
    cr_expect_eq(decode(&request, STORE_GET), PORT_STATUS_OK);
    cr_expect_str_eq(request.name, "a/b");
    cr_expect_eq(request.offset, 0u);
    cr_expect_eq(request.bytes, UINT64_MAX);
    cr_expect_not(request.offset_given);
    add(STORE_FIELD_NAME, "a");
    add(STORE_FIELD_OFFSET, "9223372036854775807");
    add(STORE_FIELD_BYTES, "0");
    cr_expect_eq(decode(&request, STORE_GET), PORT_STATUS_OK);
    cr_expect_eq(request.offset, (uint64_t)INT64_MAX);
    cr_expect_eq(request.bytes, 0u);
    cr_expect_eq(decode(&request, STORE_LIST), PORT_STATUS_OK);
    cr_expect_eq(request.limit, STORE_LIMIT_DEFAULT);
    cr_expect_str_eq(request.name, "", "nothing of the last one");
    add(STORE_FIELD_NAME, "a/"); // a prefix is not yet a name
    add(STORE_FIELD_LIMIT, "7");
    add(STORE_FIELD_AFTER, "a/b");
    cr_expect_eq(decode(&request, STORE_LIST), PORT_STATUS_OK);
    cr_expect_eq(request.limit, 7u);
    cr_expect_str_eq(request.after, "a/b");
    add(STORE_FIELD_QUERY, "x");
    cr_expect_eq(decode(&request, STORE_SEARCH), PORT_STATUS_OK);
    cr_expect_eq(request.limit, STORE_HITS_DEFAULT);
    cr_expect_str_eq(request.expression, "\"x\"");
    add(STORE_FIELD_NAME, "a");
    add(STORE_FIELD_OFFSET, "3");
    add(STORE_FIELD_DATA, "data");
    cr_expect_eq(decode(&request, STORE_PUT), PORT_STATUS_OK);
    cr_expect(request.offset_given);
    cr_expect_eq(request.data_length, 4u);
    add(STORE_FIELD_NAME, "a");
    cr_expect_eq(decode(&request, STORE_DELETE), PORT_STATUS_OK);
}

// Every set of fields with every operation: exactly those of the ABI's table are taken.
Test(store_request, fields_of_operations)
{
    static const struct {
        unsigned required, optional;
    } rules[] = {[STORE_GET] = {0x02, 0x0c},
                 [STORE_LIST] = {0, 0xa2},
                 [STORE_SEARCH] = {0x10, 0x20},
                 [STORE_PUT] = {0x42, 0x04},
                 [STORE_DELETE] = {0x02, 0}};
    static struct store_request request;
    for (uint32_t operation = 0; operation < 8; operation++) {
        for (unsigned set = 0; set < 256; set += 2) {
            for (uint32_t field = 1; field < 8; field++) {
                if (set >> field & 1)
                    add(field, "1");
            }
            bool known = operation >= STORE_GET && operation <= STORE_DELETE;
            bool right = known && (set & rules[operation].required) == rules[operation].required &&
                         !(set & ~(rules[operation].required | rules[operation].optional));
            cr_expect_eq(decode(&request, operation),
                         right ? (uint32_t)PORT_STATUS_OK : (uint32_t)PORT_STATUS_INVALID,
                         "operation %u, fields %x", operation, set);
        }
    }
}

Test(store_request, passages_end_where_text_does)
{
    static uint8_t text[4 * STORE_PASSAGE_MAX];
    memset(text, 'x', sizeof(text));
    cr_expect_eq(store_passage_length(text, 1), 1u);
    cr_expect_eq(store_passage_length(text, STORE_PASSAGE_MAX), STORE_PASSAGE_MAX);
    cr_expect_eq(store_passage_length(text, sizeof(text)), STORE_PASSAGE_MAX, "no end near");
    text[699] = ' ';
    cr_expect_eq(store_passage_length(text, sizeof(text)), 700u, "a word");
    text[599] = '\n';
    cr_expect_eq(store_passage_length(text, sizeof(text)), 600u, "a line");
    text[548] = text[549] = '\n';
    cr_expect_eq(store_passage_length(text, sizeof(text)), 550u, "a paragraph");
    memset(text, 'x', sizeof(text));
    text[100] = '\n';
    cr_expect_eq(store_passage_length(text, sizeof(text)), STORE_PASSAGE_MAX, "too near the start");
    for (unsigned shift = 0; shift < 4; shift++) {
        static const uint8_t smile[] = {0xf0, 0x9f, 0x98, 0x80};
        memset(text, 'x', 4);
        for (size_t i = shift; i + 4 <= sizeof(text); i += 4)
            memcpy(text + i, smile, 4);
        uint32_t length = store_passage_length(text, sizeof(text) - 4);
        cr_expect(store_is_text(text, length), "cut within a character");
        cr_expect_gt(length, STORE_PASSAGE_MAX - 4);
    }
    memset(text, 0x80, sizeof(text));
    cr_expect_eq(store_passage_length(text, sizeof(text)), STORE_PASSAGE_MAX - 3, "not text");
}
