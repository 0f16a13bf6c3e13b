// SPDX-License-Identifier: Apache-2.0
// guillotine quorum: keys, key sets and orders of the administrators.
#include "cli_quorum.h"

#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "number.h"

static const struct {
    const char *name;
    int (*function)(const struct quorum_options *options, struct error *err);
    int minimum; // of its arguments
    int maximum;
} subcommands[] = {
    {"init", quorum_init, 0, 0},       {"key", quorum_make_key, 1, 1},
    {"propose", quorum_propose, 2, 3}, {"sign", quorum_sign, 1, 64},
    {"submit", quorum_submit, 1, 2},   {"status", quorum_status, 0, 1},
    {"show", quorum_show, 1, 1},       {"rotate", quorum_rotate, 0, 1},
};

static int help(void)
{
    printf(
        "Usage: guillotine quorum COMMAND [OPTIONS]\n"
        "\n"
        "The administrators' keys and their signed orders: a quorum of them raises a level\n"
        "beyond offline, and lowers it. Without a key set, levels only rise.\n"
        "\n"
        "Commands:\n"
        "  init                 makes keys (--keys 7) and the first key set (--raise 3,\n"
        "                       --lower 5), or, with --public, a key set of keys that others made\n"
        "  key FILE             makes one key: FILE, and its public half in FILE.pub\n"
        "  propose VM LEVEL     writes an order for a VM (name, or UUID of one that does not\n"
        "                       run), to be signed\n"
        "  propose VM policy FILE  the same for a policy document that is looser than the one in\n"
        "                       force: guillotine policy apply VM FILE --order ORDER\n"
        "  sign FILE...         adds a signature to orders or key sets; works offline\n"
        "  submit FILE [VM]     has an order carried out, by the VM's supervisor, or on its\n"
        "                       state file if it does not run\n"
        "  status [VM]          the key set in force, and an open proposal\n"
        "  show FILE            what an order or key set says\n"
        "  rotate               writes the next version of the key set, to be signed;\n"
        "  rotate --install FILE  puts it in force\n"
        "\n"
        "Options:\n"
        "  --demo                   keys for demonstration: their secrets are not encrypted\n"
        "  --keys N, --raise K, --lower K   number of keys, signatures to raise and to lower\n"
        "  --out FILE               where to write (init: a folder)\n"
        "  --key FILE               the key to sign with\n"
        "  --name NAME              of a new key\n"
        "  --public FILE            a public half (init, rotate), repeatable\n"
        "  --remove NAME            a key that the next key set does not have, repeatable\n"
        "  --replica SHA256         weights that may run under several registrations\n"
        "  --passphrase-file FILE   first line is the passphrase; - for standard input\n"
        "  --reason TEXT, --repaired STATEMENT, --expires 15m   of an order\n"
        "  --propose                submit: opens a proposal that still looks for signatures\n"
        "  --message                show: the very bytes that are signed\n"
        "  --yes                    sign without asking\n"
        "  --json                   answers for programs\n"
        "  --actuators FILE, --allow-host-cut   submit, for a VM that does not run: what is\n"
        "                           cut, or restored (guillotine actuator --help)\n"
        "  --state-dir DIR, --runtime-dir DIR\n"
        "\n"
        "Examples:\n"
        "  guillotine quorum init --demo --out demo-keys\n"
        "  guillotine quorum propose demo standard --reason 'false alarm' --out order.json\n"
        "  guillotine quorum propose demo policy looser.json --reason 'new tool' --out order.json\n"
        "  guillotine quorum sign --key alice.key order.json\n"
        "  guillotine quorum submit order.json demo\n");
    return EXIT_STATUS_OK;
}

enum quorum_option {
    OPTION_DEMO = 256,
    OPTION_JSON,
    OPTION_YES,
    OPTION_PROPOSE,
    OPTION_MESSAGE,
    OPTION_INSTALL,
    OPTION_KEYS,
    OPTION_RAISE,
    OPTION_LOWER,
    OPTION_EXPIRES,
    OPTION_OUT,
    OPTION_KEY,
    OPTION_NAME,
    OPTION_REASON,
    OPTION_REPAIRED,
    OPTION_STATE_DIR,
    OPTION_RUNTIME_DIR,
    OPTION_PASSPHRASE_FILE,
    OPTION_PUBLIC,
    OPTION_REMOVE,
    OPTION_REPLICA,
    OPTION_ACTUATORS,
    OPTION_ALLOW_HOST_CUT,
    OPTION_HELP,
};

static const struct option table[] = {
    {"demo", 0, NULL, OPTION_DEMO},
    {"json", 0, NULL, OPTION_JSON},
    {"yes", 0, NULL, OPTION_YES},
    {"propose", 0, NULL, OPTION_PROPOSE},
    {"message", 0, NULL, OPTION_MESSAGE},
    {"install", 0, NULL, OPTION_INSTALL},
    {"keys", 1, NULL, OPTION_KEYS},
    {"raise", 1, NULL, OPTION_RAISE},
    {"lower", 1, NULL, OPTION_LOWER},
    {"expires", 1, NULL, OPTION_EXPIRES},
    {"out", 1, NULL, OPTION_OUT},
    {"key", 1, NULL, OPTION_KEY},
    {"name", 1, NULL, OPTION_NAME},
    {"reason", 1, NULL, OPTION_REASON},
    {"repaired", 1, NULL, OPTION_REPAIRED},
    {"state-dir", 1, NULL, OPTION_STATE_DIR},
    {"runtime-dir", 1, NULL, OPTION_RUNTIME_DIR},
    {"passphrase-file", 1, NULL, OPTION_PASSPHRASE_FILE},
    {"public", 1, NULL, OPTION_PUBLIC},
    {"remove", 1, NULL, OPTION_REMOVE},
    {"replica", 1, NULL, OPTION_REPLICA},
    {"actuators", 1, NULL, OPTION_ACTUATORS},
    {"allow-host-cut", 0, NULL, OPTION_ALLOW_HOST_CUT},
    {"help", 0, NULL, OPTION_HELP},
    {0},
};

// "15m", "90s", "2h": at most a day.
static int parse_duration(const char *text, uint64_t *seconds, struct error *err)
{
    static const char units[] = "smh";
    static const uint64_t factors[] = {1, 60, 3600};
    char number[16];
    size_t length = strlen(text);
    const char *unit = length ? strchr(units, text[length - 1]) : NULL;
    if (unit && *unit && length <= sizeof(number)) {
        uint64_t factor = factors[unit - units];
        snprintf(number, sizeof(number), "%.*s", (int)length - 1, text);
        if (number_parse(number, 1, LEVEL_ORDER_LIFETIME_S / factor, seconds, err) == 0) {
            *seconds *= factor;
            return 0;
        }
    }
    return error_set(err, EXIT_STATUS_USAGE, 0, "--expires %s: use a time like 15m, at most 24h",
                     text);
}

static int add_to_list(const char **list, unsigned *count, unsigned maximum, const char *name,
                       const char *value, struct error *err)
{
    if (*count == maximum)
        return error_set(err, EXIT_STATUS_USAGE, 0, "more than %u of %s", maximum, name);
    list[(*count)++] = value;
    return 0;
}

static const char **find_text(struct quorum_options *o, int option)
{
    switch (option) {
    case OPTION_OUT:
        return &o->out;
    case OPTION_KEY:
        return &o->key;
    case OPTION_NAME:
        return &o->name;
    case OPTION_REASON:
        return &o->reason;
    case OPTION_REPAIRED:
        return &o->repaired;
    case OPTION_STATE_DIR:
        return &o->state_dir;
    case OPTION_RUNTIME_DIR:
        return &o->runtime_dir;
    case OPTION_PASSPHRASE_FILE:
        return &o->passphrase.file;
    case OPTION_ACTUATORS:
        return &o->actuators;
    default:
        return NULL;
    }
}

static bool *find_flag(struct quorum_options *o, int option)
{
    switch (option) {
    case OPTION_DEMO:
        return &o->demo;
    case OPTION_JSON:
        return &o->json;
    case OPTION_YES:
        return &o->yes;
    case OPTION_PROPOSE:
        return &o->propose;
    case OPTION_MESSAGE:
        return &o->message;
    case OPTION_INSTALL:
        return &o->install;
    case OPTION_ALLOW_HOST_CUT:
        return &o->allow_host_cut;
    default:
        return NULL;
    }
}

static int apply(struct quorum_options *o, int option, const char *value, struct error *err)
{
    if (find_flag(o, option)) {
        *find_flag(o, option) = true;
        return 0;
    }
    if (find_text(o, option)) {
        *find_text(o, option) = value;
        return 0;
    }
    switch (option) {
    case OPTION_KEYS:
        return number_parse(value, 1, LEVEL_MAX_KEYS, &o->keys, err);
    case OPTION_RAISE:
        return number_parse(value, 1, LEVEL_MAX_KEYS, &o->raise, err);
    case OPTION_LOWER:
        return number_parse(value, 1, LEVEL_MAX_KEYS, &o->lower, err);
    case OPTION_EXPIRES:
        return parse_duration(value, &o->expires_s, err);
    case OPTION_PUBLIC:
        return add_to_list(o->publics, &o->public_count, LEVEL_MAX_KEYS, "--public", value, err);
    case OPTION_REMOVE:
        return add_to_list(o->removed, &o->removed_count, LEVEL_MAX_KEYS, "--remove", value, err);
    default:
        return add_to_list(o->replicas, &o->replica_count, KEY_SET_MAX_REPLICAS, "--replica", value,
                           err);
    }
}

int cli_quorum(int argc, char **argv)
{
    struct quorum_options options = {0};
    struct error err = {0};
    int option;
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help();
        return argc < 2 ? EXIT_STATUS_USAGE : EXIT_STATUS_OK;
    }
    size_t command = 0;
    while (command < sizeof(subcommands) / sizeof(subcommands[0]) &&
           strcmp(argv[1], subcommands[command].name))
        command++;
    if (command == sizeof(subcommands) / sizeof(subcommands[0]))
        return cli_usage("quorum", "unknown command '%s'", argv[1]);
    opterr = 0;
    while ((option = getopt_long(argc - 1, argv + 1, ":", table, NULL)) >= 0) {
        if (option == OPTION_HELP)
            return help();
        if (option == '?' || option == ':')
            return cli_usage("quorum", option == ':' ? "%s needs a value" : "unknown option %s",
                             argv[optind]);
        if (apply(&options, option, optarg, &err) < 0)
            return cli_fail(&err);
    }
    options.arguments = argv + 1 + optind;
    options.argument_count = argc - 1 - optind;
    if (options.argument_count < subcommands[command].minimum ||
        options.argument_count > subcommands[command].maximum)
        return cli_usage("quorum", "%s takes other arguments", argv[1]);
    if (sodium_init() < 0) {
        error_set(&err, EXIT_STATUS_INTERNAL, 0, "no random numbers");
        return cli_fail(&err);
    }
    return subcommands[command].function(&options, &err) < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}
