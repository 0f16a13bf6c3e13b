// SPDX-License-Identifier: Apache-2.0
// Canonical JSON by the rules of RFC 8785, and documents that are not in it.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "canonical_json.h"
#include "order_file.h"
#include "order_world.h"
#include "support.h"

// The canonical form of a text, or NULL.
static char *canonical(const char *text)
{
    cleanup_json_document struct json_document document = {0};
    struct error err;
    char *result = NULL;
    size_t length;
    cr_assert_eq(json_document_parse(&document, "x", text, strlen(text), 1u << 20, &err), 0, "%s",
                 err.text);
    if (canonical_json_print(document.root, &result, &length, &err) < 0)
        return NULL;
    cr_assert_eq(strlen(result), length);
    return result;
}

static const struct {
    const char *text, *canonical;
} forms[] = {
    {"null", "null"},
    {" [ true , false ] ", "[true,false]"},
    {"{ }", "{}"},
    {"{\"b\":1,\"a\":{\"d\":[],\"c\":\"\"}}", "{\"a\":{\"c\":\"\",\"d\":[]},\"b\":1}"},
    {"-0", "0"},
    {"-12", "-12"},
    {"9007199254740991", "9007199254740991"},
    {"-9007199254740991", "-9007199254740991"},
    // 3.2.2.2: the short escapes, \u00xx in lower case, nothing else escaped.
    {"\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"",
     "\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""},
    {"\"\\b\\t\\n\\f\\r\\u0000\\u001f\\u007f\\u0080\"",
     "\"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f\xc2\x80\""},
    {"\"\\ud83d\\ude02\"", "\"\xf0\x9f\x98\x82\""},
    // 3.2.3: by UTF-16 code units, so that U+1F600 comes before U+FB33.
    {"{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet "
     "With "
     "Dagesh\",\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\","
     "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
     "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\",\"\xc3\xb6\":\"Latin "
     "Small "
     "Letter O With Diaeresis\",\"\xe2\x82\xac\":\"Euro Sign\",\"\xf0\x9f\x98\x80\":\"Emoji: "
     "Grinning "
     "Face\",\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}"},
    {"{\"aa\":1,\"a\":2,\"\":3,\"A\":4}", "{\"\":3,\"A\":4,\"a\":2,\"aa\":1}"},
};

Test(canonical_json, forms)
{
    for (size_t i = 0; i < COUNT(forms); i++) {
        char *text = canonical(forms[i].text);
        cr_assert_not_null(text);
        cr_expect_str_eq(text, forms[i].canonical);
        free(text);
        text = canonical(forms[i].canonical);
        cr_expect_str_eq(text, forms[i].canonical, "it is its own canonical form");
        free(text);
    }
    cr_expect_null(canonical("9007199254740992"), "a double does not hold it exactly");
    cr_expect_null(canonical("[-9007199254740992]"));
    cr_expect_null(canonical("18446744073709551615"));
}

Test(canonical_json, check)
{
    for (size_t i = 0; i < COUNT(forms); i++) {
        const char *texts[] = {forms[i].text, forms[i].canonical};
        for (unsigned k = 0; k < 2; k++) {
            cleanup_json_document struct json_document document = {0};
            struct error err;
            json_document_parse(&document, "x", texts[k], strlen(texts[k]), 4096, &err);
            int expected = strcmp(texts[k], forms[i].canonical) ? -1 : 0;
            cr_expect_eq(canonical_json_check(&document, &err), expected, "%s", texts[k]);
        }
    }
}

// The order's own writer, which has no JSON library, and the general one agree on every text.
Test(canonical_json, orders_agree)
{
    struct random random = random_start(7);
    make_world();
    for (unsigned round = 0; round < 2000; round++) {
        static struct signed_order file, back;
        struct error err;
        char *text = NULL;
        file = (struct signed_order){.order = order};
        uint64_t length = random_below(&random, LEVEL_ORDER_TEXT_SIZE - 4);
        size_t used = 0;
        memset(file.order.reason, 0, sizeof(file.order.reason));
        while (used <= length) {
            static const char *const pieces[] = {"\xc3\xb6", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                                 "\xef\xac\xb3"};
            if (random_chance(&random, 20) && used + 4 < LEVEL_ORDER_TEXT_SIZE) {
                strcpy(file.order.reason + used, pieces[random_below(&random, COUNT(pieces))]);
                used = strlen(file.order.reason);
            } else {
                file.order.reason[used++] = (char)(1 + random_below(&random, 127));
            }
        }
        file.order.sequence = 1 + random_below(&random, LEVEL_ORDER_INTEGER_MAX);
        random_fill(&random, file.order.nonce, sizeof(file.order.nonce));
        file.list.count = (uint32_t)random_below(&random, LEVEL_ORDER_MAX_SIGNATURES + 1);
        random_fill(&random, file.list.signatures,
                    file.list.count * sizeof(file.list.signatures[0]));
        cr_assert_eq(signed_order_format(&file, &text, &err), 0, "%s", err.text);
        cr_assert_eq(signed_order_parse("x", text, strlen(text), &back, &err), 0, "%s", err.text);
        cr_assert_eq(memcmp(&file, &back, sizeof(file)), 0);
        free(text);
    }
}

Test(canonical_json, too_many_signatures)
{
    static struct signed_order file;
    struct error err;
    char *text = NULL;
    make_world();
    file = (struct signed_order){.order = order, .list.count = LEVEL_ORDER_MAX_SIGNATURES + 1};
    cr_assert_eq(signed_order_format(&file, &text, &err), 0);
    cr_expect_eq(signed_order_parse("x", text, strlen(text), &file, &err), -1);
    cr_expect(strstr(err.text, "at most 16"), "%s", err.text);
    free(text);
}
