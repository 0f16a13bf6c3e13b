// SPDX-License-Identifier: Apache-2.0
// Schemas of tools' arguments: which are read, and what they let through.
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "json_schema.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// A text with its document, for one test.
struct value {
    struct json_document document;
    struct json_place place;
};

static struct value read(const char *text)
{
    struct value value;
    struct error err = {0};
    cr_assert_eq(
        json_document_parse_fractions(&value.document, "t", text, strlen(text), 1 << 20, &err), 0,
        "%s: %s", text, err.text);
    return value;
}

static int check(const char *text, enum json_schema_origin origin, struct error *err)
{
    struct value schema = read(text);
    schema.place = json_document_root(&schema.document);
    int result = json_schema_check(&schema.place, origin, err);
    json_document_free(&schema.document);
    return result;
}

static bool matches(const char *schema_text, const char *value_text, char *why, size_t size)
{
    struct value schema = read(schema_text);
    struct value value = read(value_text);
    struct error err = {0};
    schema.place = json_document_root(&schema.document);
    cr_assert_eq(json_schema_check(&schema.place, JSON_SCHEMA_OTHERS, &err), 0, "%s: %s",
                 schema_text, err.text);
    bool result = json_schema_matches(schema.document.root, value.document.root, why, size);
    json_document_free(&schema.document);
    json_document_free(&value.document);
    return result;
}

Test(json_schema, own_schemas_have_no_unknown_keyword)
{
    static const struct {
        const char *schema;
        const char *error; // NULL: accepted
    } cases[] = {
        {"{}", NULL},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}},"
         "\"required\":[\"a\"],\"additionalProperties\":false,\"title\":\"t\"}",
         NULL},
        {"{\"enum\":[1,null,{\"a\":[]}],\"const\":null,\"description\":\"d\"}", NULL},
        {"{\"minimum\":-1,\"maximum\":0.5,\"minLength\":0,\"maxLength\":9,\"minItems\":1,"
         "\"maxItems\":2,\"items\":{}}",
         NULL},
        {"[]", "t:1:1: an object is expected, found an array"},
        {"{\"typ\":\"object\"}", "t:1:2: /typ: unknown key, did you mean 'type'?"},
        {"{\"type\":\"thing\"}", "/type"},
        {"{\"type\":[\"string\",\"thing\"]}", "/type/1"},
        {"{\"type\":1}", "/type"},
        {"{\"anyOf\":[]}", "/anyOf"},
        {"{\"$ref\":\"#\"}", "/$ref"},
        {"{\"pattern\":\"x\"}", "/pattern"},
        {"{\"properties\":[]}", "/properties"},
        {"{\"properties\":{\"a\":1}}", "/properties/a"},
        {"{\"properties\":{\"a\":{\"items\":{\"pattern\":\"\"}}}}", "/properties/a/items/pattern"},
        {"{\"required\":\"a\"}", "/required"},
        {"{\"required\":[1]}", "/required/0"},
        {"{\"additionalProperties\":{}}", "/additionalProperties"},
        {"{\"minimum\":\"1\"}", "/minimum"},
        {"{\"maxLength\":-1}", "/maxLength"},
        {"{\"maxLength\":1.5}", "/maxLength"},
        {"{\"items\":[]}", "/items"},
        {"{\"enum\":1}", "/enum"},
        {"{\"description\":1}", "/description"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err = {0};
        int result = check(cases[i].schema, JSON_SCHEMA_OWN, &err);
        cr_expect_eq(result, cases[i].error ? -1 : 0, "%s: %s", cases[i].schema, err.text);
        if (cases[i].error)
            cr_expect(strstr(err.text, cases[i].error), "%s: %s", cases[i].schema, err.text);
    }
}

Test(json_schema, schemas_of_others_may_say_more)
{
    static const struct {
        const char *schema;
        int result;
    } cases[] = {
        {"{\"$schema\":\"x\",\"default\":1,\"anyOf\":[1],\"type\":\"object\"}", 0},
        {"{\"properties\":{\"a\":{\"pattern\":\"x\",\"additionalProperties\":{\"type\":7}}}}", 0},
        {"{\"properties\":{\"a\":{\"type\":\"thing\"}}}", -1},
        {"{\"properties\":{\"a\":true}}", -1},
        {"{\"items\":[{}]}", -1},
        {"{\"additionalProperties\":1}", -1},
        {"true", -1},
        {"null", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err = {0};
        cr_expect_eq(check(cases[i].schema, JSON_SCHEMA_OTHERS, &err), cases[i].result, "%s: %s",
                     cases[i].schema, err.text);
    }
}

Test(json_schema, depth_is_bounded)
{
    for (unsigned depth = 0; depth < 30; depth++) {
        char text[512] = "";
        struct error err = {0};
        for (unsigned i = 0; i < depth; i++)
            strcat(text, "{\"items\":");
        strcat(text, "{}");
        for (unsigned i = 0; i < depth; i++)
            strcat(text, "}");
        cr_expect_eq(check(text, JSON_SCHEMA_OWN, &err), depth <= JSON_SCHEMA_DEPTH ? 0 : -1,
                     "%u: %s", depth, err.text);
    }
}

Test(json_schema, values)
{
    static const struct {
        const char *schema;
        const char *value;
        bool fits;
    } cases[] = {
        {"{}", "1", true},
        {"{}", "{}", true},
        {"{}", "{\"a\":1}", false}, // a member that nothing names
        {"{\"additionalProperties\":true}", "{\"a\":1}", true},
        {"{\"additionalProperties\":{\"type\":\"string\"}}", "{\"a\":1}", true},
        {"{\"properties\":{\"a\":{}}}", "{\"a\":1}", true},
        {"{\"properties\":{\"a\":{}}}", "{\"A\":1}", false},
        {"{\"properties\":{\"a\":{}},\"additionalProperties\":false}", "{\"a\":1,\"b\":2}", false},
        {"{\"required\":[\"a\"],\"properties\":{\"a\":{}}}", "{}", false},
        {"{\"required\":[\"a\"],\"properties\":{\"a\":{}}}", "{\"a\":null}", true},
        {"{\"required\":[\"a\"]}", "[]", true}, // speaks of objects only
        {"{\"type\":\"object\"}", "[]", false},
        {"{\"type\":\"object\"}", "null", false},
        {"{\"type\":\"array\"}", "[1,\"a\"]", true},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", "[1,\"a\"]", false},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", "[\"b\",\"a\"]", true},
        {"{\"minItems\":1,\"maxItems\":2}", "[]", false},
        {"{\"minItems\":1,\"maxItems\":2}", "[1,2]", true},
        {"{\"minItems\":1,\"maxItems\":2}", "[1,2,3]", false},
        {"{\"type\":\"string\"}", "1", false},
        {"{\"minLength\":2,\"maxLength\":3}", "\"a\"", false},
        {"{\"minLength\":2,\"maxLength\":3}", "\"\xc3\xa4\xe2\x82\xac\"", true}, // 2 characters
        {"{\"minLength\":2,\"maxLength\":3}", "\"abcd\"", false},
        {"{\"type\":\"integer\"}", "1", true},
        {"{\"type\":\"integer\"}", "1.0", false},
        {"{\"type\":\"number\"}", "1", true},
        {"{\"type\":\"number\"}", "1.5", true},
        {"{\"type\":\"number\"}", "\"1\"", false},
        {"{\"minimum\":-1,\"maximum\":1}", "-1", true},
        {"{\"minimum\":-1,\"maximum\":1}", "-1.01", false},
        {"{\"minimum\":-1,\"maximum\":1}", "2", false},
        {"{\"maximum\":0.5}", "0.5", true},
        {"{\"maximum\":0.5}", "1", false},
        {"{\"maximum\":9007199254740993}", "9007199254740993", true},
        {"{\"maximum\":9007199254740992}", "9007199254740993", false}, // the same double
        {"{\"maximum\":1}", "18446744073709551615", false},
        {"{\"minimum\":0}", "-9223372036854775808", false},
        {"{\"type\":\"boolean\"}", "true", true},
        {"{\"type\":\"boolean\"}", "0", false},
        {"{\"type\":\"null\"}", "null", true},
        {"{\"type\":[\"string\",\"null\"]}", "null", true},
        {"{\"type\":[\"string\",\"null\"]}", "1", false},
        {"{\"type\":[]}", "1", false},
        {"{\"enum\":[\"a\",1,{\"b\":[2]}]}", "\"a\"", true},
        {"{\"enum\":[\"a\",1,{\"b\":[2]}],\"properties\":{\"b\":{}}}", "{\"b\":[2]}", true},
        {"{\"enum\":[\"a\",1]}", "\"1\"", false},
        {"{\"enum\":[]}", "1", false},
        {"{\"const\":null}", "null", true},
        {"{\"const\":null}", "0", false},
        {"{\"const\":\"a\"}", "\"a\\u0000b\"", false},
        {"{\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":\"string\"}}}}}",
         "{\"a\":{\"b\":1}}", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char why[256] = "";
        bool fits = matches(cases[i].schema, cases[i].value, why, sizeof(why));
        cr_expect_eq(fits, cases[i].fits, "%s with %s: %s", cases[i].value, cases[i].schema, why);
        cr_expect_eq(!*why, fits, "a reason for what is refused only: %s", why);
    }
}

Test(json_schema, reasons_are_printable_and_bounded)
{
    char why[64];
    cr_expect_not(matches("{}", "{\"\\u001b[31m\\u00e4\":1}", why, sizeof(why)));
    cr_expect_str_eq(why, "a member that is not granted: \\x1b[31m\\xc3\\xa4");
    char value[600];
    snprintf(value, sizeof(value), "{\"%0500d\":1}", 1);
    cr_expect_not(matches("{}", value, why, sizeof(why)));
    cr_expect_lt(strlen(why), sizeof(why));
}
