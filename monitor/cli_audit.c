// SPDX-License-Identifier: Apache-2.0
// guillotine audit: prints audit logs, and follows those that are written.
#include "cli_audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "audit_print.h"
#include "cleanup.h"
#include "cli.h"
#include "clock.h"
#include "number.h"

#define FOLLOW_NS (100 * (long)NS_PER_MS)

struct cat_options {
    bool json;
    bool follow;
    const char *path;
    const char *type;
    const char *decision;
    uint64_t port; // UINT64_MAX: any; the same for the request
    uint64_t request;
    uint64_t since_ns;
    uint64_t until_ns;
    bool sealed; // the last record that was read is a seal
};

static int help(int status)
{
    printf("Usage: guillotine audit cat|follow [--json] [FILTERS] FILE.audit\n"
           "       guillotine audit verify [--key KEY] [--checkpoint FILE] [--json] FILE.audit\n"
           "       guillotine audit prove --record N | --from SIZE [--key KEY] FILE.audit\n"
           "\n"
           "cat     prints the records, one a line: every request with the decision and the rule\n"
           "        that made it, every completion, anomaly, violation and level\n"
           "follow  goes on printing until the log is sealed\n"
           "verify  checks that the log is what was signed, whole and unchanged\n"
           "prove   prints a proof, as JSON, that a record is in the log (--record), or that the\n"
           "        log of SIZE records is the beginning of this one (--from)\n"
           "\n"
           "Filters: --type TYPE, --port N, --decision DECISION, --request N,\n"
           "         --since TIME, --until TIME (2030-01-31T12:00:00Z)\n"
           "KEY is a file or the key itself (default: keys/log.pub in the state directory;\n"
           "--state-dir DIR). The checkpoint is FILE.audit.checkpoint unless another is given.\n"
           "\n"
           "Examples:\n"
           "  guillotine audit cat --decision deny --json vm.audit\n"
           "  guillotine audit verify --checkpoint seen-yesterday vm.audit\n"
           "  guillotine audit prove --record 17 vm.audit > proof.json\n");
    return status;
}

int cli_audit_open(struct audit_scan *scan, int *folder, const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char where[4096];
    if (!*name || strlen(name) > 240 || strlen(path) >= sizeof(where))
        return error_set(err, EXIT_STATUS_USAGE, 0, "%s is not the name of a log", path);
    snprintf(where, sizeof(where), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    *folder = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", where);
    audit_scan_init(scan, *folder, name, false);
    return 0;
}

static bool matches(const struct cat_options *options, const struct audit_record *record)
{
    return (!options->type || !strcmp(options->type, audit_type_name(record->type))) &&
           (!options->decision ||
            !strcmp(options->decision, audit_decision_name(record->decision))) &&
           (options->port == UINT64_MAX || options->port == record->port) &&
           (options->request == UINT64_MAX || options->request == record->request) &&
           record->wall_ns >= options->since_ns && record->wall_ns <= options->until_ns;
}

static int show(void *context, const struct audit_scan *scan,
                const struct audit_record_data *record, const struct merkle_hash *leaf,
                struct error *err)
{
    struct cat_options *options = context;
    (void)scan;
    (void)leaf;
    (void)err;
    options->sealed = record->record.type == AUDIT_SEAL;
    if (matches(options, &record->record))
        audit_print(record, options->json);
    return ferror(stdout) ? 1 : 0;
}

static int cat(struct cat_options *options)
{
    static struct audit_scan scan; // large
    struct error err;
    cleanup_fd int folder = -1;
    if (cli_audit_open(&scan, &folder, options->path, &err) < 0)
        return cli_fail(&err);
    scan.hashes = false;
    scan.forgives_tail = options->follow;
    int result = audit_scan_run(&scan, show, options, &err);
    while (result == 0 && options->follow && !options->sealed) {
        const struct timespec pause = {0, FOLLOW_NS};
        fflush(stdout);
        nanosleep(&pause, NULL);
        result = audit_scan_more(&scan, show, options, &err);
    }
    audit_scan_close(&scan);
    fflush(stdout);
    return result < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}

// RFC 3339, in UTC.
static int parse_time(const char *text, uint64_t *wall_ns, struct error *err)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (!end || *end || parts.tm_year < 70)
        return error_set(err, EXIT_STATUS_USAGE, 0, "%s: write times as 2030-01-31T12:00:00Z",
                         text);
    *wall_ns = (uint64_t)timegm(&parts) * NS_PER_S;
    return 0;
}

static int known_name(const char *text, const char *(*name)(unsigned number), struct error *err)
{
    for (unsigned i = 0; i < 64; i++) {
        if (!strcmp(name(i), text) && strcmp(text, "unknown") != 0)
            return 0;
    }
    return error_set(err, EXIT_STATUS_USAGE, 0, "there is no record with '%s'", text);
}

// Takes an option with its value. Returns 0 or -1.
static int take_filter(struct cat_options *options, const char *name, const char *value,
                       struct error *err)
{
    if (!strcmp(name, "--type")) {
        options->type = value;
        return known_name(value, audit_type_name, err);
    }
    if (!strcmp(name, "--decision")) {
        options->decision = value;
        return known_name(value, audit_decision_name, err);
    }
    if (!strcmp(name, "--port"))
        return number_parse(value, 0, AUDIT_NO_PORT - 1, &options->port, err);
    if (!strcmp(name, "--request"))
        return number_parse(value, 0, UINT64_MAX - 1, &options->request, err);
    if (!strcmp(name, "--since"))
        return parse_time(value, &options->since_ns, err);
    if (!strcmp(name, "--until"))
        return parse_time(value, &options->until_ns, err);
    return error_set(err, EXIT_STATUS_USAGE, 0, "unexpected argument %s", name);
}

static int run_cat(int argc, char **argv)
{
    struct cat_options options = {
        .follow = !strcmp(argv[0], "follow"),
        .port = UINT64_MAX,
        .request = UINT64_MAX,
        .until_ns = UINT64_MAX,
    };
    struct error err;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json"))
            options.json = true;
        else if (argv[i][0] != '-' && !options.path)
            options.path = argv[i];
        else if (argv[i][0] != '-' || i + 1 == argc)
            return cli_usage("audit", "unexpected argument %s", argv[i]);
        else if (take_filter(&options, argv[i], argv[i + 1], &err) < 0)
            return cli_usage("audit", "%s", err.text);
        else
            i++;
    }
    if (!options.path)
        return cli_usage("audit", "give one audit log");
    return cat(&options);
}

int cli_audit(int argc, char **argv)
{
    if (argc < 2)
        return help(EXIT_STATUS_USAGE);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return help(EXIT_STATUS_OK);
    }
    if (!strcmp(argv[1], "cat") || !strcmp(argv[1], "follow"))
        return run_cat(argc - 1, argv + 1);
    if (!strcmp(argv[1], "verify"))
        return cli_audit_verify(argc - 1, argv + 1);
    if (!strcmp(argv[1], "prove"))
        return cli_audit_prove(argc - 1, argv + 1);
    return cli_usage("audit", "unknown command '%s'", argv[1]);
}
