// SPDX-License-Identifier: Apache-2.0
// guillotine policy: checks, explains, tests and compares policy documents.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "control_server.h"
#include "escape.h"
#include "order_file.h"
#include "paths.h"
#include "policy_diff.h"
#include "policy_document.h"
#include "policy_question.h"
#include "vm_file.h"
#include "whole_file.h"

struct options {
    const char *runtime_dir;
    const char *order; // NULL: none
    bool json;
    bool quiet;
};

static int help(void)
{
    printf(
        "Usage: guillotine policy check FILE\n"
        "       guillotine policy explain FILE REQUEST\n"
        "       guillotine policy test FILE CASES\n"
        "       guillotine policy diff A B\n"
        "       guillotine policy apply VM FILE [--order ORDER]\n\n"
        "Works on policy documents (docs/policy.md). FILE may be -, standard input.\n\n"
        "check    reads and compiles the document; errors have line, column and JSON pointer\n"
        "explain  says which rule decides a request, and why those before it do not. REQUEST is a\n"
        "         JSON object, or @FILE with one:\n"
        "         {\"port\": \"web\", \"operation\": \"request\", \"fields\": {\"host\": "
        "\"a.org\"}}\n"
        "         also: \"payload\": TEXT, \"payload_hex\", \"argument\": N, \"level\": "
        "\"probation\",\n"
        "         \"time\": \"2026-11-23T10:00:00Z\"\n"
        "test     decides every request of CASES and compares: {\"format\":\n"
        "         \"guillotine-policy-cases/1\", \"cases\": [{\"name\": \"docs can be read\",\n"
        "         \"request\": {...}, \"outcome\": \"allow\", \"rule\": \"docs\"}, ...]}\n"
        "diff     lists what B permits that A does not; what is not provably as tight counts.\n"
        "         Status 0: B only tightens. Status 1: it loosens, or that cannot be excluded\n"
        "apply    puts FILE in force in a running VM in the place of its document, if it only\n"
        "         tightens. Returns when no request is decided by the old one any more. A looser\n"
        "         one takes ORDER: signed for it by as many administrators as lower a level\n"
        "         (guillotine quorum propose VM policy FILE)\n\n"
        "  --json             one object on standard output\n"
        "  --quiet            test: prints only what fails, and the sum\n"
        "  --order ORDER      apply: the administrators' signed order\n"
        "  --runtime-dir DIR  where control sockets live\n\n"
        "Examples:\n"
        "  guillotine policy check web.json\n"
        "  guillotine policy explain web.json '{\"port\": \"console\", \"operation\": \"write\",\n"
        "      \"payload\": \"hello\"}'\n"
        "  guillotine policy diff running.json proposed.json\n"
        "  guillotine policy apply agent tighter.json\n"
        "  guillotine policy apply agent looser.json --order order.json\n");
    return EXIT_STATUS_OK;
}

static void print_text(const char *text)
{
    char safe[1024];
    escape_line(safe, sizeof(safe), text, strlen(text));
    fputs(safe, stdout);
}

static int check(const char *path, const struct options *options)
{
    struct policy_document document = {0};
    struct error err;
    if (policy_document_load(path, &document, &err) < 0)
        return cli_fail(&err);
    const struct policy_table *table = document.arrays.table;
    unsigned ports = 0;
    while (ports < POLICY_MAX_PORTS && table->ports[ports].name[0])
        ports++;
    if (options->json)
        printf("{\"ports\":%u,\"rules\":%u,\"bytes\":%llu}\n", ports, table->rule_count,
               (unsigned long long)table->bytes);
    else
        printf("%u ports, %u rules, %llu bytes compiled\n", ports, table->rule_count,
               (unsigned long long)table->bytes);
    policy_document_free(&document);
    return EXIT_STATUS_OK;
}

static void print_reason(const struct policy_arrays *arrays, const struct policy_question *question,
                         uint32_t rule)
{
    static const char *const texts[] = {
        [POLICY_REASON_MATCHES] = "matches",
        [POLICY_REASON_OPERATION] = "is about other operations",
        [POLICY_REASON_LEVEL] = "is about another level",
        [POLICY_REASON_REQUEST_BYTES] = "is about other sizes",
        [POLICY_REASON_ARGUMENT] = "is about other arguments",
        [POLICY_REASON_HOURS] = "does not hold at this hour",
        [POLICY_REASON_CONDITION] = "does not match",
        [POLICY_REASON_EFFORT] = "would take too long to decide",
    };
    uint32_t condition;
    enum policy_reason reason = policy_question_explain(question, rule, &condition);
    printf("  %-24s ", policy_rule_text(arrays, rule));
    if (reason == POLICY_REASON_CONDITION)
        printf("does not match: %s\n",
               policy_field_name(question->port->kind, arrays->conditions[condition].field));
    else
        printf("%s\n", texts[reason]);
}

static int explain(const char *path, const char *text, const struct options *options)
{
    struct policy_document document = {0};
    struct policy_question question = {0};
    struct error err;
    if (policy_document_load(path, &document, &err) < 0)
        return cli_fail(&err);
    if (policy_question_parse(&question, &document, text, &err) < 0) {
        policy_document_free(&document);
        return cli_fail(&err);
    }
    const struct policy_result result = policy_question_decide(&question);
    const char *outcome = policy_result_name(&result);
    const char *rule = policy_result_rule(&document.arrays, &result);
    if (options->json) {
        printf("{\"outcome\":\"%s\",\"rule\":\"%s\"}\n", outcome, rule);
    } else {
        const struct policy_table_port *port = question.port;
        for (uint32_t i = 0; port && i < port->rule_count; i++) {
            print_reason(&document.arrays, &question, port->first_rule + i);
            if (result.finding != POLICY_FINDING_NONE && result.rule == port->first_rule + i)
                break;
        }
        printf("%s, by %s\n", outcome, rule);
    }
    policy_question_free(&question);
    policy_document_free(&document);
    return EXIT_STATUS_OK;
}

static void tell_case(void *context, const struct policy_case *tested)
{
    const struct options *options = context;
    if (options->json || (tested->passed && options->quiet))
        return;
    printf("%s - ", tested->passed ? "ok" : "not ok");
    print_text(tested->name);
    if (!tested->passed)
        printf(": %s by %s", tested->outcome, tested->rule);
    printf("\n");
}

static int test(const char *path, const char *cases, struct options *options)
{
    struct policy_document document = {0};
    struct error err;
    unsigned passed;
    unsigned failed;
    if (policy_document_load(path, &document, &err) < 0)
        return cli_fail(&err);
    int result = policy_cases_run(cases, &document, tell_case, options, &passed, &failed, &err);
    policy_document_free(&document);
    if (result < 0)
        return cli_fail(&err);
    printf(options->json ? "{\"passed\":%u,\"failed\":%u}\n" : "%u passed, %u failed\n", passed,
           failed);
    return failed ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

struct listing {
    const struct policy_document *before;
    const struct policy_document *after;
    bool json;
    unsigned count;
};

static void list_difference(void *context, const struct policy_difference *difference)
{
    static const char *const texts[] = {
        [POLICY_DIFFERENCE_PERMITS] = "permits what was not",
        [POLICY_DIFFERENCE_ESCALATES] = "no longer escalates as before",
        [POLICY_DIFFERENCE_DENIALS] = "reacts later or less to denials",
    };
    struct listing *listing = context;
    const char *rule = difference->kind == POLICY_DIFFERENCE_PERMITS
                           ? policy_rule_text(&listing->after->arrays, difference->rule)
                       : difference->kind == POLICY_DIFFERENCE_ESCALATES
                           ? policy_rule_text(&listing->before->arrays, difference->rule)
                           : "";
    if (listing->json)
        printf("%s{\"port\":\"%s\",\"rule\":\"%s\",\"what\":\"%s\"}", listing->count ? "," : "",
               difference->port->name, rule, texts[difference->kind]);
    else
        printf("%s: %s%s%s\n", difference->port->name, rule, *rule ? ": " : "",
               texts[difference->kind]);
    listing->count++;
}

static int diff(const char *before_path, const char *after_path, const struct options *options)
{
    struct policy_document before = {0};
    struct policy_document after = {0};
    struct listing listing = {&before, &after, options->json, 0};
    struct error err;
    if (policy_document_load(before_path, &before, &err) < 0)
        return cli_fail(&err);
    if (policy_document_load(after_path, &after, &err) < 0) {
        policy_document_free(&before);
        return cli_fail(&err);
    }
    if (options->json)
        printf("{\"loosens\":[");
    unsigned count = policy_diff(&before.arrays, &after.arrays, list_difference, &listing);
    if (options->json)
        printf("]}\n");
    else if (!count)
        printf("only tightens\n");
    policy_document_free(&before);
    policy_document_free(&after);
    return count ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

// Puts the order's line in front of the document.
static int add_order(const char *path, char **text, size_t *length, struct error *err)
{
    cleanup_free char *order = NULL;
    struct signed_order parsed;
    size_t order_length;
    if (whole_file_read(path, SIGNED_ORDER_MAX, &order, &order_length, err) < 0 ||
        signed_order_parse(path, order, order_length, &parsed, err) < 0)
        return -1;
    free(steal_pointer(&order));
    if (signed_order_format(&parsed, &order, err) < 0)
        return -1;
    order_length = strlen(order); // with its newline
    char *whole = malloc(order_length + *length);
    if (!whole || order_length + *length > CONTROL_MESSAGE_MAX) {
        free(whole);
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the document is too large");
    }
    memcpy(whole, order, order_length);
    memcpy(whole + order_length, *text, *length);
    free(*text);
    *text = whole;
    *length += order_length;
    return 0;
}

// Another document takes the place of the one in force.
static int apply(const char *name, const char *path, const struct options *options)
{
    char runtime_dir[PATH_MAX];
    char answer[1024];
    cleanup_free char *text = NULL;
    size_t length;
    struct error err;
    struct policy_document document = {0};
    // Here first: errors with the file's name.
    if (policy_document_load(path, &document, &err) < 0)
        return cli_fail(&err);
    policy_document_free(&document);
    if (whole_file_read(path, CONTROL_MESSAGE_MAX, &text, &length, &err) < 0 ||
        (options->order && add_order(options->order, &text, &length, &err) < 0) ||
        paths_runtime_dir(options->runtime_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    cleanup_fd int fd = control_connect(runtime_dir, name, &err);
    const struct control_question question = {
        .operation = options->order ? "policy-ordered" : "policy",
        .body = text,
        .body_length = length,
    };
    if (fd < 0 || control_ask(fd, &question, answer, sizeof(answer), NULL, &err) < 0) {
        error_prefix(&err, "policy apply %s", name);
        return cli_fail(&err);
    }
    if (options->json)
        printf("%s\n", answer);
    else if (!options->quiet)
        printf("in force\n");
    return EXIT_STATUS_OK;
}

int cli_policy(int argc, char **argv)
{
    struct options options = {0};
    bool wants_help = false;
    const struct cli_option known[] = {{"json", NULL, &options.json},
                                       {"quiet", NULL, &options.quiet},
                                       {"order", &options.order, NULL},
                                       {"runtime-dir", &options.runtime_dir, NULL}};
    int usage = cli_options_take("policy", argc, argv, known, 4, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help();
    char **arguments = argv + optind;
    int count = argc - optind;
    if (options.order && (!count || strcmp(arguments[0], "apply") != 0))
        return cli_usage("policy", "--order belongs to apply");
    if (count == 2 && !strcmp(arguments[0], "check"))
        return check(arguments[1], &options);
    if (count == 3 && !strcmp(arguments[0], "explain"))
        return explain(arguments[1], arguments[2], &options);
    if (count == 3 && !strcmp(arguments[0], "test"))
        return test(arguments[1], arguments[2], &options);
    if (count == 3 && !strcmp(arguments[0], "diff"))
        return diff(arguments[1], arguments[2], &options);
    if (count == 3 && !strcmp(arguments[0], "apply") && vm_name_is_valid(arguments[1]))
        return apply(arguments[1], arguments[2], &options);
    return cli_usage("policy", "say what to do: check FILE, explain FILE REQUEST, test FILE CASES, "
                               "diff A B, apply VM FILE");
}
