// SPDX-License-Identifier: Apache-2.0
// Policy documents that are refused, and what differs between two of them.
#include <criterion/criterion.h>
#include <string.h>

#include "policy_diff.h"
#include "policy_document.h"

#define RULE(text)                                                                                 \
    "{\"format\":\"guillotine-policy/"                                                             \
    "1\",\"ports\":{\"console\":{\"kind\":\"console\",\"rules\":[" text "]}}}"

Test(policy_document, refuses_with_a_position)
{
    static const struct {
        const char *text;
        const char *message;
    } refusals[] = {
        {"{}", "t:1:1: missing key 'format'"},
        {"{\"format\":\"guillotine-policy/2\",\"ports\":{}}", "this version reads"},
        {"{\"format\":\"guillotine-policy/1\",\"ports\":{\"A\":{}}}", "/ports/A: "},
        {"{\"format\":\"guillotine-policy/"
         "1\",\"ports\":{\"a\":{\"kind\":\"consol\",\"rules\":[]}}}",
         "/ports/a/kind: 'consol' is not one of: console"},
        {RULE("{\"name\":\"a\"}"), "/ports/console/rules/0: missing key 'outcome'"},
        {RULE("{\"name\":\"a\",\"outcome\":\"alow\"}"), "is not one of: allow, deny, redact"},
        {RULE("{\"name\":\"a\",\"outcome\":\"allow\"},{\"name\":\"a\",\"outcome\":\"deny\"}"),
         "/ports/console/rules/1/name: another rule is named 'a'"},
        {RULE("{\"name\":\"a\",\"operations\":[\"list\"],\"outcome\":\"allow\"}"),
         "/ports/console/rules/0/operations/0: 'list' is not one of: write, read"},
        {RULE("{\"name\":\"a\",\"where\":{\"host\":{\"equals\":\"x\"}},\"outcome\":\"allow\"}"),
         "/ports/console/rules/0/where/host: unknown key (known: payload)"},
        {RULE("{\"name\":\"a\",\"where\":{\"payload\":{}},\"outcome\":\"allow\"}"),
         "/ports/console/rules/0/where/payload: says nothing about the field"},
        {RULE(
             "{\"name\":\"a\",\"where\":{\"payload\":{\"pattern\":\"(a\"}},\"outcome\":\"allow\"}"),
         "/where/payload/pattern: pattern: missing closing parenthesis at character 3"},
        {RULE("{\"name\":\"a\",\"where\":{\"payload\":{\"prefix\":\"\"}},\"outcome\":\"allow\"}"),
         "an empty text fits everything"},
        {RULE("{\"name\":\"a\",\"where\":{\"payload\":{\"prefix\":\"a\",\"suffix\":\"b\","
              "\"not\":true}},\"outcome\":\"allow\"}"),
         "\"not\" with several tests is ambiguous"},
        {RULE("{\"name\":\"a\",\"outcome\":\"escalate\"}"), "\"escalate_to\" belongs to"},
        {RULE("{\"name\":\"a\",\"outcome\":\"allow\",\"escalate_to\":\"severed\"}"),
         "\"escalate_to\" belongs to"},
        {RULE("{\"name\":\"a\",\"outcome\":\"escalate\",\"escalate_to\":\"immolation\"}"),
         "'immolation' is not one of: probation, severed, offline"},
        {RULE("{\"name\":\"a\",\"outcome\":\"redact\"}"), "patterns in \"redact\" belong to"},
        {RULE("{\"name\":\"a\",\"outcome\":\"deny\",\"limits\":{\"requests_per_s\":1}}"),
         "limits of what does not pass"},
        {RULE("{\"name\":\"a\",\"outcome\":\"allow\",\"times\":[{\"from\":\"18:00\",\"to\":"
              "\"08:00\"}]}"),
         "\"from\" is not before \"to\""},
        {RULE("{\"name\":\"a\",\"outcome\":\"allow\",\"times\":[{\"from\":\"8:00\"}]}"),
         "a time is expected"},
        {RULE("{\"name\":\"a\",\"outcome\":\"allow\",\"request_bytes\":{\"min\":2,\"max\":1}}"),
         "min is above max"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct policy_document document = {0};
        struct error err = {0};
        int result =
            policy_document_parse("t", refusals[i].text, strlen(refusals[i].text), &document, &err);
        cr_expect_lt(result, 0, "not refused: %s", refusals[i].text);
        cr_expect(strstr(err.text, refusals[i].message), "%s: not %s", err.text,
                  refusals[i].message);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    }
}

static void ignore(void *context, const struct policy_difference *difference)
{
    (void)context;
    (void)difference;
}

static struct policy_document parse(const char *text)
{
    struct policy_document document = {0};
    struct error err = {0};
    cr_assert_eq(policy_document_parse("t", text, strlen(text), &document, &err), 0, "%s",
                 err.text);
    return document;
}

static unsigned differences(const char *before, const char *after)
{
    struct policy_document a = parse(before);
    struct policy_document b = parse(after);
    unsigned count = policy_diff(&a.arrays, &b.arrays, ignore, NULL);
    policy_document_free(&a);
    policy_document_free(&b);
    return count;
}

#define WRITE  "{\"name\":\"w\",\"operations\":[\"write\"],\"outcome\":\"allow\"}"
#define ANY    "{\"name\":\"any\",\"outcome\":\"allow\"}"
#define DENY_A "{\"name\":\"d\",\"where\":{\"payload\":{\"prefix\":\"a\"}},\"outcome\":\"deny\"}"
#define SLOW   "{\"name\":\"s\",\"outcome\":\"allow\",\"limits\":{\"requests_per_s\":5}}"

Test(policy_document, diff)
{
    static const struct {
        const char *before;
        const char *after;
        unsigned count;
    } cases[] = {
        {RULE(ANY), RULE(ANY), 0},
        {RULE(ANY), RULE(WRITE), 0},
        {RULE(WRITE), RULE(ANY), 1},
        {RULE(ANY), RULE(DENY_A "," ANY), 0},
        {RULE(DENY_A "," ANY), RULE(ANY), 1},
        {RULE(DENY_A "," ANY), RULE(DENY_A "," WRITE), 0},
        {RULE(DENY_A "," ANY), RULE(WRITE "," DENY_A), 1}, // the order counts
        {RULE(ANY), RULE(SLOW), 0},
        {RULE(SLOW), RULE(ANY), 1},
        {RULE(SLOW), RULE(SLOW), 0},
        {RULE(ANY), RULE(""), 0},
        {RULE(""), RULE(ANY), 1},
        // Two rules in the place of one with limits have twice as much.
        {RULE(SLOW),
         RULE("{\"name\":\"x\",\"operations\":[\"write\"],\"outcome\":\"allow\","
              "\"limits\":{\"requests_per_s\":5}}," SLOW),
         2},
        {RULE(ANY), RULE("{\"name\":\"h\",\"outcome\":\"hold\"}"), 0},
        {RULE("{\"name\":\"h\",\"outcome\":\"hold\"}"), RULE(ANY), 1},
        {RULE("{\"name\":\"r\",\"outcome\":\"redact\",\"redact\":{\"reply\":[\"a\",\"b\"]}}"),
         RULE("{\"name\":\"r\",\"outcome\":\"redact\",\"redact\":{\"reply\":[\"a\"]}}"), 1},
        {RULE("{\"name\":\"r\",\"outcome\":\"redact\",\"redact\":{\"reply\":[\"a\"]}}"),
         RULE("{\"name\":\"r\",\"outcome\":\"redact\",\"redact\":{\"reply\":[\"a\",\"b\"]}}"), 0},
        {RULE("{\"name\":\"e\",\"where\":{\"payload\":{\"prefix\":\"x\"}},\"outcome\":\"escalate\","
              "\"escalate_to\":\"severed\"}"),
         RULE(""), 1},
        // Case and patterns: \\d is not \\D.
        {RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"pattern\":\"\\\\d\"}},\"outcome\":"
              "\"allow\"}"),
         RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"pattern\":\"\\\\D\",\"ignore_case\":true}}"
              ",\"outcome\":\"allow\"}"),
         1},
        {RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":[\"a\",\"b\"]}},\"outcome\":"
              "\"allow\"}"),
         RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":\"b\"}},\"outcome\":\"allow\"}"),
         0},
        {RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":\"b\"}},\"outcome\":\"allow\"}"),
         RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":\"b\",\"ignore_case\":true}},"
              "\"outcome\":\"allow\"}"),
         1},
        {RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":\"b\",\"not\":true}},"
              "\"outcome\":\"allow\"}"),
         RULE("{\"name\":\"p\",\"where\":{\"payload\":{\"equals\":[\"a\",\"b\"],\"not\":true}},"
              "\"outcome\":\"allow\"}"),
         0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_eq(differences(cases[i].before, cases[i].after), cases[i].count, "%s -> %s",
                     cases[i].before, cases[i].after);
}
