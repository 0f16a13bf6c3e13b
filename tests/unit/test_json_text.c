// SPDX-License-Identifier: Apache-2.0
// Strict JSON: what is read, what is refused, and where the error is said to be.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "json_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_BYTES    (1u << 20)

static int parse(struct json_document *document, const char *text, size_t length, struct error *err)
{
    return json_document_parse(document, "t.json", text, length, MAX_BYTES, err);
}

// Strings with their length, so that texts may contain NUL.
struct refusal {
    const char *text;
    size_t length;
    const char *message;
};

#define REFUSAL(text, message)                                                                     \
    {                                                                                              \
        text, sizeof(text) - 1, message                                                            \
    }

static void check_refusals(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct json_document document;
        struct error err = {0};
        int result = parse(&document, refusals[i].text, refusals[i].length, &err);
        cr_expect_eq(result, -1, "accepted: %s", refusals[i].text);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
        cr_expect_str_eq(err.text, refusals[i].message);
        cr_expect_null(document.root);
    }
}

Test(json_text, accepts_what_the_rfc_allows)
{
    static const struct {
        const char *text;
        const char *tree;
    } cases[] = {
        {"0", "0"},
        {"-0", "0"},
        {" \t\r\n null \n", "null"},
        {"[]", "[]"},
        {"{}", "{}"},
        {"[ ]", "[]"},
        {"{ }", "{}"},
        {"[true,false,null]", "[true,false,null]"},
        {"{\"a\":{\"b\":[1,{\"c\":2}]},\"A\":3,\"\":4}",
         "{\"a\":{\"b\":[1,{\"c\":2}]},\"A\":3,\"\":4}"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""},
        {"\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
         "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\""},
        {"[9223372036854775807,-9223372036854775808]",
         "[9223372036854775807,-9223372036854775808]"},
        {"[9223372036854775808,18446744073709551615]",
         "[9223372036854775808,18446744073709551615]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cleanup_json_document struct json_document document = {0};
        struct error err = {0};
        cr_assert_eq(parse(&document, cases[i].text, strlen(cases[i].text), &err), 0, "%s",
                     err.text);
        cr_expect_str_eq(json_object_to_json_string_ext(document.root, JSON_C_TO_STRING_PLAIN),
                         cases[i].tree);
    }
}

Test(json_text, decodes_unicode_escapes)
{
    static const struct {
        const char *text;
        const char *bytes;
        int length;
    } cases[] = {
        {"\"\\u0041\\u00e4\\u20AC\"", "A\xc3\xa4\xe2\x82\xac", 6},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", 4},
        {"\"\\uD800\\uDC00\"", "\xf0\x90\x80\x80", 4},
        {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf", 4},
        {"\"\\ufffe\\uffff\\ud7ff\\ue000\"", "\xef\xbf\xbe\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80",
         12},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\\u007f\\u0080\\u07ff\\u0800\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80", 8},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cleanup_json_document struct json_document document = {0};
        struct error err = {0};
        cr_assert_eq(parse(&document, cases[i].text, strlen(cases[i].text), &err), 0, "%s",
                     err.text);
        cr_assert_eq(json_object_get_string_len(document.root), cases[i].length);
        cr_expect_arr_eq(json_object_get_string(document.root), cases[i].bytes,
                         (size_t)cases[i].length);
    }
}

Test(json_text, refuses_bad_syntax)
{
    static const struct refusal refusals[] = {
        REFUSAL("", "t.json:1:1: a value is expected, found the end of the text"),
        REFUSAL(" \n ", "t.json:2:2: a value is expected, found the end of the text"),
        REFUSAL("{", "t.json:1:2: a key in double quotes is expected, found the end of the text"),
        REFUSAL("{}x", "t.json:1:3: the end of the document is expected, found 'x'"),
        REFUSAL("{}{}", "t.json:1:3: the end of the document is expected, found '{'"),
        REFUSAL("{}\0", "t.json:1:3: the end of the document is expected, found byte 0x00"),
        REFUSAL("[1,]", "t.json:1:4: /1: a value is expected, found ']'"),
        REFUSAL("[1 2]", "t.json:1:4: ',' or ']' is expected, found '2'"),
        REFUSAL("[1}", "t.json:1:3: ',' or ']' is expected, found '}'"),
        REFUSAL("[,1]", "t.json:1:2: /0: a value is expected, found ','"),
        REFUSAL("{\"a\":1,}", "t.json:1:8: a key in double quotes is expected, found '}'"),
        REFUSAL("{\"a\":1 \"b\":2}", "t.json:1:8: ',' or '}' is expected, found '\"'"),
        REFUSAL("{\"a\" 1}", "t.json:1:6: /a: ':' is expected, found '1'"),
        REFUSAL("{\"a\":}", "t.json:1:6: /a: a value is expected, found '}'"),
        REFUSAL("{a:1}", "t.json:1:2: a key in double quotes is expected, found 'a'"),
        REFUSAL("{'a':1}", "t.json:1:2: a key in double quotes is expected, found '''"),
        REFUSAL("{1:1}", "t.json:1:2: a key in double quotes is expected, found '1'"),
        REFUSAL("// x\n{}", "t.json:1:1: a value is expected, found '/': JSON has no comments"),
        REFUSAL("[1/* x */]",
                "t.json:1:3: ',' or ']' is expected, found '/': JSON has no comments"),
        REFUSAL("{} # x", "t.json:1:4: the end of the document is expected, found '#'"),
        REFUSAL("\xef\xbb\xbf{}", "t.json:1:1: JSON has no byte order mark"),
        REFUSAL("\xc3\xa4", "t.json:1:1: a value is expected, found byte 0xc3"),
        REFUSAL("True", "t.json:1:1: a value is expected, found 'T'"),
        REFUSAL("tru", "t.json:1:1: a value is expected, found 't'"),
        REFUSAL("nullx", "t.json:1:5: the end of the document is expected, found 'x'"),
        REFUSAL("[\f1]", "t.json:1:2: /0: a value is expected, found byte 0x0c"),
        REFUSAL("\"a", "t.json:1:3: the text ends inside a string"),
        REFUSAL("\"a\\", "t.json:1:4: the text ends inside a string"),
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(json_text, refuses_what_is_no_integer_of_64_bits)
{
    static const struct refusal refusals[] = {
        REFUSAL("[1.0]", "t.json:1:2: /0: a number is an integer, without fraction or exponent"),
        REFUSAL("1e2", "t.json:1:1: a number is an integer, without fraction or exponent"),
        REFUSAL("0E0", "t.json:1:1: a number is an integer, without fraction or exponent"),
        REFUSAL("[1,-01]", "t.json:1:4: /1: a number has no leading zeros"),
        REFUSAL("00", "t.json:1:1: a number has no leading zeros"),
        REFUSAL("-", "t.json:1:2: a digit is expected, found the end of the text"),
        REFUSAL("-x", "t.json:1:2: a digit is expected, found 'x'"),
        REFUSAL("+1", "t.json:1:1: a value is expected, found '+'"),
        REFUSAL(".5", "t.json:1:1: a value is expected, found '.'"),
        REFUSAL("0x10", "t.json:1:2: the end of the document is expected, found 'x'"),
        REFUSAL("NaN", "t.json:1:1: a value is expected, found 'N'"),
        REFUSAL("[Infinity]", "t.json:1:2: /0: a value is expected, found 'I'"),
        REFUSAL("-Infinity", "t.json:1:2: a digit is expected, found 'I'"),
        REFUSAL("18446744073709551616", "t.json:1:1: the number does not fit into 64 bits"),
        REFUSAL("184467440737095516150", "t.json:1:1: the number does not fit into 64 bits"),
        REFUSAL("-9223372036854775809", "t.json:1:1: the number does not fit into 64 bits"),
        REFUSAL("-18446744073709551616", "t.json:1:1: the number does not fit into 64 bits"),
        REFUSAL("{\"a\":99999999999999999999999999999999999999}",
                "t.json:1:6: /a: the number does not fit into 64 bits"),
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(json_text, refuses_bad_strings)
{
    static const struct refusal refusals[] = {
        REFUSAL("\"a\nb\"", "t.json:1:3: control character in a string: write \\u000a"),
        REFUSAL("\"\0\"", "t.json:1:2: control character in a string: write \\u0000"),
        REFUSAL("\"\x1b\"", "t.json:1:2: control character in a string: write \\u001b"),
        REFUSAL("\"\\x\"", "t.json:1:2: a backslash is followed by one of \" \\ / b f n r t u"),
        REFUSAL("\"\\\0\"", "t.json:1:2: a backslash is followed by one of \" \\ / b f n r t u"),
        REFUSAL("\"\\u12\"", "t.json:1:2: four hexadecimal digits are expected after \\u"),
        REFUSAL("\"\\u12g4\"", "t.json:1:2: four hexadecimal digits are expected after \\u"),
        REFUSAL("\"\\u\0\0\0\0\"", "t.json:1:2: four hexadecimal digits are expected after \\u"),
        REFUSAL("\"x\\ud800\"", "t.json:1:3: \\ud800 is half of a surrogate pair"),
        REFUSAL("\"\\udc00\\ud800\"", "t.json:1:2: \\udc00 is half of a surrogate pair"),
        REFUSAL("\"\\ud800\\ud800\"", "t.json:1:2: \\ud800 is half of a surrogate pair"),
        REFUSAL("\"\\ud800\\n\"", "t.json:1:2: \\ud800 is half of a surrogate pair"),
        REFUSAL("\"\\ud800", "t.json:1:2: \\ud800 is half of a surrogate pair"),
        REFUSAL("\"\x80\"", "t.json:1:2: invalid UTF-8 (byte 0x80)"),
        REFUSAL("\"\xff\"", "t.json:1:2: invalid UTF-8 (byte 0xff)"),
        REFUSAL("\"\xc0\x80\"", "t.json:1:2: invalid UTF-8 (byte 0xc0)"),
        REFUSAL("\"\xc1\xbf\"", "t.json:1:2: invalid UTF-8 (byte 0xc1)"),
        REFUSAL("\"\xc3\"", "t.json:1:2: invalid UTF-8 (byte 0xc3)"),
        REFUSAL("\"\xc3", "t.json:1:2: invalid UTF-8 (byte 0xc3)"),
        REFUSAL("\"\xe0\x9f\xbf\"", "t.json:1:2: invalid UTF-8 (byte 0xe0)"),
        REFUSAL("\"\xe2\x82\"", "t.json:1:2: invalid UTF-8 (byte 0xe2)"),
        REFUSAL("\"\xed\xa0\x80\"", "t.json:1:2: invalid UTF-8 (byte 0xed)"),
        REFUSAL("\"\xf0\x8f\xbf\xbf\"", "t.json:1:2: invalid UTF-8 (byte 0xf0)"),
        REFUSAL("\"\xf4\x90\x80\x80\"", "t.json:1:2: invalid UTF-8 (byte 0xf4)"),
        REFUSAL("\"\xf5\x80\x80\x80\"", "t.json:1:2: invalid UTF-8 (byte 0xf5)"),
        REFUSAL("{\"\xff\":1}", "t.json:1:3: invalid UTF-8 (byte 0xff)"),
        REFUSAL("{\"a\\u0000b\":1}", "t.json:1:2: a key has no U+0000"),
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(json_text, refuses_duplicate_keys_at_any_depth)
{
    static const struct refusal refusals[] = {
        REFUSAL("{\"a\":1,\"a\":1}", "t.json:1:8: /a: duplicate key"),
        REFUSAL("{\"a\":null,\"a\":null}", "t.json:1:11: /a: duplicate key"),
        REFUSAL("{\"a\":1,\"\\u0061\":2}", "t.json:1:8: /a: duplicate key"),
        REFUSAL("{\"\":1,\"\":2}", "t.json:1:7: /: duplicate key"),
        REFUSAL("{\"/\":1,\"\\/\":2}", "t.json:1:8: /~1: duplicate key"),
        REFUSAL("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}",
                "t.json:1:8: /\\xf0\\x9f\\x98\\x80: duplicate key"),
        REFUSAL("{\"a\":[0,{\"b\":{\"c\":1,\"d\":2,\n  \"c\":3}}]}",
                "t.json:2:3: /a/1/b/c: duplicate key"),
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(json_text, positions_count_lines_and_characters)
{
    static const struct refusal refusals[] = {
        REFUSAL("{\n  \"a\": [\n    1,\n    x\n  ]\n}",
                "t.json:4:5: /a/1: a value is expected, found 'x'"),
        REFUSAL("\r\n\r\n x", "t.json:3:2: a value is expected, found 'x'"),
        REFUSAL("[\"\xc3\xa4\xf0\x9f\x98\x80\",x]",
                "t.json:1:7: /1: a value is expected, found 'x'"),
        REFUSAL("{\"a/b~c\":x}", "t.json:1:10: /a~1b~0c: a value is expected, found 'x'"),
        REFUSAL("{\"a\\n\x7f\":x}", "t.json:1:9: /a\\x0a\\x7f: a value is expected, found 'x'"),
    };
    check_refusals(refusals, COUNT(refusals));
}

// Writes `count` times `open`, then `middle`, then `count` times `close`.
static char *nest(const char *open, const char *middle, const char *close, size_t count)
{
    size_t size = count * (strlen(open) + strlen(close)) + strlen(middle) + 1;
    char *text = malloc(size);
    char *at = text;
    cr_assert_not_null(text);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, open);
    at = stpcpy(at, middle);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, close);
    return text;
}

Test(json_text, limits_nesting)
{
    struct error err = {0};
    struct json_document document;
    cleanup_free char *deep_array = nest("[", "1", "]", JSON_MAX_DEPTH);
    cr_assert_eq(parse(&document, deep_array, strlen(deep_array), &err), 0, "%s", err.text);
    json_document_free(&document);

    cleanup_free char *deeper_array = nest("[", "", "]", JSON_MAX_DEPTH + 1);
    cr_assert_eq(parse(&document, deeper_array, strlen(deeper_array), &err), -1);
    cr_expect(strstr(err.text, "t.json:1:33: /0/0/0/"), "%s", err.text);
    cr_expect(strstr(err.text, "/0: nested deeper than 32"), "%s", err.text);

    cleanup_free char *deeper_object = nest("{\"a\":", "{}", "}", JSON_MAX_DEPTH);
    cr_assert_eq(parse(&document, deeper_object, strlen(deeper_object), &err), -1);
    cr_expect(strstr(err.text, "/a: nested deeper than 32"), "%s", err.text);

    cleanup_free char *bomb = nest("[", "", "", 500000);
    cr_assert_eq(parse(&document, bomb, strlen(bomb), &err), -1);
}

Test(json_text, limits_the_size_and_the_number_of_values)
{
    struct error err = {0};
    struct json_document document;
    cr_expect_eq(json_document_parse(&document, "t.json", "[10]", 4, 3, &err), -1);
    cr_expect_str_eq(err.text, "t.json: larger than 3 bytes");
    cr_expect_eq(json_document_parse(&document, "t.json", "[10]", 4, 4, &err), 0);
    json_document_free(&document);

    cleanup_free char *most = nest("0,", "0]", "", JSON_MAX_VALUES - 2);
    cleanup_free char *text = NULL;
    cr_assert(asprintf(&text, "[%s", most) > 0);
    cr_expect_eq(parse(&document, text, strlen(text), &err), 0, "%s", err.text);
    json_document_free(&document);
    cleanup_free char *more = NULL;
    cr_assert(asprintf(&more, "[0,%s", most) > 0);
    cr_expect_eq(parse(&document, more, strlen(more), &err), -1);
    cr_expect(strstr(err.text, "/65535: more than 65536 values"), "%s", err.text);
}

Test(json_text, cuts_long_names_and_pointers)
{
    char key[1001];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    cleanup_free char *text = NULL;
    cr_assert(asprintf(&text, "{\"%s\":{\"%s\":x}}", key, key) > 0);
    char name[2001];
    memset(name, '\x1b', sizeof(name) - 1);
    memcpy(name + sizeof(name) - 8, "/a.json", 8);
    struct json_document document;
    struct error err = {0};
    cr_assert_eq(json_document_parse(&document, name, text, strlen(text), MAX_BYTES, &err), -1);
    cr_expect_null(strchr(err.text, '\x1b'));
    cr_expect_eq(strncmp(err.text, "...\\x1b", 7), 0, "%s", err.text);
    cr_expect(strstr(err.text, "\\x1b/a.json:1:2009: ...kkk"), "%s", err.text);
    cr_expect(strstr(err.text, "kkk: a value is expected, found 'x'"), "%s", err.text);
}

static struct json_place element(const struct json_place *array, size_t index)
{
    return (struct json_place){
        array->document, array, NULL, index, json_object_array_get_idx(array->value, index), NULL};
}

Test(json_text, locates_values_and_keys)
{
    static const char text[] = "{\n"
                               "  \"a\": [1, {\"x\" : null}],\n"
                               "  \"a/b\":\n"
                               "    \"\xc3\xa4\", \"z\": -1\n"
                               "}";
    cleanup_json_document struct json_document document = {0};
    struct error err = {0};
    cr_assert_eq(parse(&document, text, sizeof(text) - 1, &err), 0, "%s", err.text);
    struct json_place root = json_document_root(&document);
    struct json_place a, ab, x, z;
    cr_assert(json_member(&root, "a", &a));
    cr_assert(json_member(&root, "a/b", &ab));
    cr_assert(json_member(&root, "z", &z));
    cr_expect_not(json_member(&root, "b", &x));
    struct json_place second = element(&a, 1);
    cr_assert(json_member(&second, "x", &x));
    const struct {
        const struct json_place *place;
        enum json_part part;
        const char *message;
    } cases[] = {
        {&root, JSON_PART_VALUE, "t.json:1:1: no"},
        {&a, JSON_PART_KEY, "t.json:2:3: /a: no"},
        {&a, JSON_PART_VALUE, "t.json:2:8: /a: no"},
        {&second, JSON_PART_VALUE, "t.json:2:12: /a/1: no"},
        {&x, JSON_PART_KEY, "t.json:2:13: /a/1/x: no"},
        {&x, JSON_PART_VALUE, "t.json:2:19: /a/1/x: no"},
        {&ab, JSON_PART_KEY, "t.json:3:3: /a~1b: no"},
        {&ab, JSON_PART_VALUE, "t.json:4:5: /a~1b: no"},
        {&z, JSON_PART_KEY, "t.json:4:10: /z: no"},
        {&z, JSON_PART_VALUE, "t.json:4:15: /z: no"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cr_expect_eq(json_refuse(cases[i].place, cases[i].part, &err, "%s", "no"), -1);
        cr_expect_str_eq(err.text, cases[i].message);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    }
    cr_expect_eq(json_refuse(&z, JSON_PART_VALUE, NULL, "nobody listens"), -1);
}

struct target {
    uint32_t small;
    uint64_t big;
    bool flag;
    size_t mode;
    const char *text;
    unsigned list_sum;
};

static int read_mode(const struct json_place *place, void *target, struct error *err)
{
    static const char *const modes[] = {"slow", "fast"};
    return json_read_name(place, modes, COUNT(modes), &((struct target *)target)->mode, err);
}

static int read_text(const struct json_place *place, void *target, struct error *err)
{
    return json_read_text(place, &((struct target *)target)->text, err);
}

static int add_element(const struct json_place *place, void *target, struct error *err)
{
    uint64_t value;
    if (json_read_integer(place, 0, 9, &value, err))
        return -1;
    ((struct target *)target)->list_sum += (unsigned)value;
    return 0;
}

static int read_list(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, 3, add_element, target, err);
}

static int read_target(const char *text, struct target *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"small", json_field_u32, true, offsetof(struct target, small), 1, 16},
        {"big", json_field_u64, false, offsetof(struct target, big), 0, UINT64_MAX},
        {"flag", json_field_bool, false, offsetof(struct target, flag), 0, 0},
        {.key = "mode", .read = read_mode},
        {.key = "text", .read = read_text},
        {.key = "list", .read = read_list},
    };
    cleanup_json_document struct json_document document = {0};
    if (parse(&document, text, strlen(text), err))
        return -1;
    struct json_place root = json_document_root(&document);
    int result = json_read_object(&root, fields, COUNT(fields), target, err);
    target->text = NULL; // belonged to the document
    return result;
}

Test(json_text, reads_typed_values)
{
    struct target target = {0};
    struct error err = {0};
    cr_assert_eq(read_target("{\"list\":[1,2,3],\"mode\":\"fast\",\"flag\":true,\"text\":\"\","
                             "\"big\":18446744073709551615,\"small\":16}",
                             &target, &err),
                 0, "%s", err.text);
    cr_expect_eq(target.small, 16);
    cr_expect_eq(target.big, UINT64_MAX);
    cr_expect(target.flag);
    cr_expect_eq(target.mode, 1);
    cr_expect_eq(target.list_sum, 6);
}

Test(json_text, refuses_wrong_types_values_and_keys)
{
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"[]", "t.json:1:1: an object is expected, found an array"},
        {"null", "t.json:1:1: an object is expected, found null"},
        {"{}", "t.json:1:1: missing key 'small'"},
        {"{\"small\":\"1\"}", "t.json:1:10: /small: an integer is expected, found a string"},
        {"{\"small\":null}", "t.json:1:10: /small: an integer is expected, found null"},
        {"{\"small\":{}}", "t.json:1:10: /small: an integer is expected, found an object"},
        {"{\"small\":0}", "t.json:1:10: /small: 0 is outside 1 to 16"},
        {"{\"small\":17}", "t.json:1:10: /small: 17 is outside 1 to 16"},
        {"{\"small\":-1}", "t.json:1:10: /small: -1 is outside 1 to 16"},
        {"{\"small\":18446744073709551615}",
         "t.json:1:10: /small: 18446744073709551615 is outside 1 to 16"},
        {"{\"small\":4294967297}", "t.json:1:10: /small: 4294967297 is outside 1 to 16"},
        {"{\"small\":1,\"big\":-9223372036854775808}",
         "t.json:1:18: /big: -9223372036854775808 is outside 0 to 18446744073709551615"},
        {"{\"small\":1,\"flag\":1}",
         "t.json:1:19: /flag: true or false is expected, found an integer"},
        {"{\"small\":1,\"flag\":\"true\"}",
         "t.json:1:19: /flag: true or false is expected, found a string"},
        {"{\"small\":1,\"mode\":true}",
         "t.json:1:19: /mode: a string is expected, found true or false"},
        {"{\"small\":1,\"mode\":\"Fast\\u001b\"}",
         "t.json:1:19: /mode: 'Fast\\x1b' is not one of: slow, fast"},
        {"{\"small\":1,\"mode\":\"fast\\u0000\"}",
         "t.json:1:19: /mode: this text must not contain U+0000"},
        {"{\"small\":1,\"text\":\"a\\u0000\"}",
         "t.json:1:19: /text: this text must not contain U+0000"},
        {"{\"small\":1,\"list\":[1,2,3,4]}",
         "t.json:1:19: /list: 4 elements, at most 3 are possible"},
        {"{\"small\":1,\"list\":[1,10]}", "t.json:1:22: /list/1: 10 is outside 0 to 9"},
        {"{\"small\":1,\"list\":{}}", "t.json:1:19: /list: an array is expected, found an object"},
        {"{\"smal\":1}", "t.json:1:2: /smal: unknown key, did you mean 'small'? "
                         "(known: small, big, flag, mode, text, list)"},
        {"{\"small\":1,\"lits\":[]}", "t.json:1:12: /lits: unknown key, did you mean 'list'? "
                                      "(known: small, big, flag, mode, text, list)"},
        {"{\"small\":1,\"whatever\":{\"small\":1}}",
         "t.json:1:12: /whatever: unknown key (known: small, big, flag, mode, text, list)"},
        {"{\"small\":1,\"a key that is far longer than any that is known\":1}",
         "t.json:1:12: /a key that is far longer than any that is known: unknown key "
         "(known: small, big, flag, mode, text, list)"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct target target = {0};
        struct error err = {0};
        cr_expect_eq(read_target(cases[i].text, &target, &err), -1, "accepted: %s", cases[i].text);
        cr_expect_str_eq(err.text, cases[i].message);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    }
}

Test(json_text, excerpts_are_bounded_and_say_that_they_are_cut)
{
    char excerpt[JSON_EXCERPT_SIZE];
    char text[200];
    for (size_t length = 0; length < sizeof(text); length++) {
        for (int byte = 'x'; byte; byte = byte == 'x' ? 0x1b : 0) {
            memset(text, byte, length);
            text[length] = '\0';
            size_t whole = length * (byte == 'x' ? 1 : 4);
            cr_assert_eq(json_excerpt(excerpt, text), excerpt);
            cr_assert_lt(strlen(excerpt), sizeof(excerpt));
            bool cut = strstr(excerpt, "...") != NULL;
            cr_assert_eq(cut, whole > 60, "%zu: %s", length, excerpt);
            cr_assert(cut || strlen(excerpt) == whole);
        }
    }
}

// A document with every kind of token.
static const char sample[] =
    "{ \"a\" : [ 1, -20, true, false, null, \"t\\u00e4\\ud83d\\ude00\\n\xc3\xa4\xe2\x82\xac\" ] ,\n"
    "  \"b\" : { \"c\" : { } , \"d\" : [ ] } }";

Test(json_text, every_truncation_is_an_error)
{
    for (size_t length = 0; length < sizeof(sample) - 1; length++) {
        // An exact allocation lets the sanitizers see a read beyond the end.
        cleanup_free char *text = malloc(length ? length : 1);
        cr_assert_not_null(text);
        memcpy(text, sample, length);
        struct json_document document;
        struct error err = {0};
        cr_assert_eq(parse(&document, text, length, &err), -1, "accepted %zu bytes", length);
        cr_assert_eq(strncmp(err.text, "t.json:", 7), 0, "%s", err.text);
    }
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// What is accepted must be what json-c's own strict reader makes of it.
static void compare_with_json_c(const struct json_document *document)
{
    struct json_tokener *tokener = json_tokener_new_ex(JSON_MAX_DEPTH + 1);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *other =
        json_tokener_parse_ex(tokener, document->text, (int)document->length);
    cr_expect_eq(json_tokener_get_error(tokener), json_tokener_success);
    cr_expect(json_object_equal(document->root, other));
    json_object_put(other);
    json_tokener_free(tokener);
}

Test(json_text, random_changes_never_crash)
{
    uint64_t state = 0x6775696c6c6f74;
    unsigned accepted = 0;
    for (unsigned round = 0; round < 50000; round++) {
        char text[sizeof(sample)];
        memcpy(text, sample, sizeof(sample));
        for (uint64_t changes = 1 + next_random(&state) % 3; changes; changes--)
            text[next_random(&state) % (sizeof(sample) - 1)] ^=
                (char)(1u << next_random(&state) % 8);
        cleanup_json_document struct json_document document = {0};
        struct error err = {0};
        if (parse(&document, text, sizeof(sample) - 1, &err)) {
            cr_assert_eq(strncmp(err.text, "t.json:", 7), 0, "%s", err.text);
            continue;
        }
        accepted++;
        compare_with_json_c(&document);
    }
    cr_expect_gt(accepted, 100);
}
