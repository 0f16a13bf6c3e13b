// SPDX-License-Identifier: Apache-2.0
// guillotine heartbeat: tells a VM, again and again, that its operator is there.
#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "beat_token.h"
#include "cleanup.h"
#include "cli.h"
#include "clock.h"
#include "control_server.h"
#include "number.h"
#include "paths.h"
#include "quorum_key.h"
#include "vm_file.h"

// A token lives for some periods, so that a late one is not a lost one.
#define PERIODS_OF_LIFE 3

#define DEFAULT_PERIOD_S 10u
#define PERIOD_MAX_S     (BEAT_TOKEN_LIFETIME_S / PERIODS_OF_LIFE)

#define ANSWER_MAX 4096

struct heartbeat {
    const char *vm;
    const char *key;
    uint64_t period_s;
    bool once;
    struct quorum_passphrase passphrase;
    char runtime_dir[PATH_MAX];
};

static int help(void)
{
    printf("Usage: guillotine heartbeat [OPTIONS] VM --key FILE\n"
           "\n"
           "Sends signed heartbeats of an operator's console to a running VM until the VM ends.\n"
           "A VM whose file asks for them goes offline when they stop.\n"
           "\n"
           "Options:\n"
           "  --key FILE               a key of the key set (guillotine quorum key)\n"
           "  --passphrase-file FILE   first line is its passphrase; - for standard input\n"
           "  --period 10s             time between two of them, at most 100s\n"
           "  --once                   sends one\n"
           "  --runtime-dir DIR        where control sockets live\n"
           "\n"
           "Examples:\n"
           "  guillotine heartbeat demo --key console.key --period 5s\n"
           "  guillotine heartbeat demo --key console.key --once || page-somebody\n");
    return EXIT_STATUS_OK;
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, CONTROL_FORMAT, err);
}

static int skip(const struct json_place *place, void *target, struct error *err)
{
    (void)place;
    (void)target;
    (void)err;
    return 0;
}

// Asks what a token has to be bound to.
static int ask_binding(const struct heartbeat *heartbeat, struct beat_token *token,
                       struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {"vm", canonical_field_uuid, true, offsetof(struct beat_token, vm), 0, 0},
        {"deployment", canonical_field_uuid, true, offsetof(struct beat_token, deployment), 0, 0},
        {.key = "name", .read = skip},
        {.key = "level", .read = skip},
        {.key = "last_sequence", .read = skip},
        {.key = "orders_from_s", .read = skip},
        {.key = "key_set", .read = skip},
        {.key = "proposal", .read = skip},
    };
    static const struct control_question question = {.operation = "quorum"};
    char answer[ANSWER_MAX];
    cleanup_json_document struct json_document document = {0};
    cleanup_fd int fd = control_connect(heartbeat->runtime_dir, heartbeat->vm, err);
    if (fd < 0 || control_ask(fd, &question, answer, sizeof(answer), NULL, err) < 0 ||
        json_document_parse(&document, "the supervisor's answer", answer, strlen(answer),
                            sizeof(answer), err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    return json_read_object(&root, fields, sizeof(fields) / sizeof(fields[0]), token, err);
}

static int send_beat(const struct heartbeat *heartbeat, const struct quorum_key *key,
                     struct beat_token *token, struct error *err)
{
    char answer[ANSWER_MAX];
    cleanup_free char *message = NULL;
    cleanup_free char *text = NULL;
    size_t length;
    uint64_t now_ns = clock_wall_ns(&clock_host);
    // Time counts up over several consoles; a clock that was set back must not silence this one.
    uint64_t counter = now_ns / NS_PER_MS;
    token->counter = counter > token->counter ? counter : token->counter + 1;
    token->issued_s = now_ns / NS_PER_S;
    token->expires_s = token->issued_s + heartbeat->period_s * PERIODS_OF_LIFE;
    if (beat_token_message(token, &message, &length, err) < 0)
        return -1;
    quorum_key_sign(key, message, length, &token->signature);
    if (beat_token_format(token, &text, err) < 0)
        return -1;
    const struct control_question question = {
        .operation = "beat",
        .body = text,
        .body_length = strlen(text),
    };
    cleanup_fd int fd = control_connect(heartbeat->runtime_dir, heartbeat->vm, err);
    return fd < 0 || control_ask(fd, &question, answer, sizeof(answer), NULL, err) < 0 ? -1 : 0;
}

static int beat(const struct heartbeat *heartbeat, struct error *err)
{
    struct beat_token token = {0};
    struct quorum_key key;
    const struct timespec period = {.tv_sec = (time_t)heartbeat->period_s};
    if (ask_binding(heartbeat, &token, err) < 0 ||
        quorum_key_load(heartbeat->key, &heartbeat->passphrase, &key, err) < 0)
        return -1;
    int result = send_beat(heartbeat, &key, &token, err);
    while (result == 0 && !heartbeat->once) {
        nanosleep(&period, NULL);
        result = send_beat(heartbeat, &key, &token, err);
    }
    quorum_key_clear(&key);
    return result;
}

// "10s", or a number of seconds.
static int parse_period(const char *text, uint64_t *period_s, struct error *err)
{
    char number[16];
    size_t length = strlen(text);
    if (length && text[length - 1] == 's')
        length--;
    snprintf(number, sizeof(number), "%.*s", (int)(length < sizeof(number) ? length : 0), text);
    if (number_parse(number, 1, PERIOD_MAX_S, period_s, err) < 0)
        return error_wrap(err, "--period");
    return 0;
}

enum heartbeat_option {
    OPTION_KEY = 256,
    OPTION_PASSPHRASE_FILE,
    OPTION_PERIOD,
    OPTION_ONCE,
    OPTION_RUNTIME_DIR,
    OPTION_HELP,
};

int cli_heartbeat(int argc, char **argv)
{
    static const struct option table[] = {
        {"key", 1, NULL, OPTION_KEY},
        {"passphrase-file", 1, NULL, OPTION_PASSPHRASE_FILE},
        {"period", 1, NULL, OPTION_PERIOD},
        {"once", 0, NULL, OPTION_ONCE},
        {"runtime-dir", 1, NULL, OPTION_RUNTIME_DIR},
        {"help", 0, NULL, OPTION_HELP},
        {0},
    };
    struct heartbeat heartbeat = {.period_s = DEFAULT_PERIOD_S};
    struct error err = {0};
    const char *given_dir = NULL;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", table, NULL)) >= 0) {
        if (option == OPTION_HELP)
            return help();
        if (option == OPTION_KEY)
            heartbeat.key = optarg;
        else if (option == OPTION_PASSPHRASE_FILE)
            heartbeat.passphrase.file = optarg;
        else if (option == OPTION_ONCE)
            heartbeat.once = true;
        else if (option == OPTION_RUNTIME_DIR)
            given_dir = optarg;
        else if (option != OPTION_PERIOD)
            return cli_usage("heartbeat", option == ':' ? "%s needs a value" : "unknown option %s",
                             argv[optind - 1]);
        else if (parse_period(optarg, &heartbeat.period_s, &err) < 0)
            return cli_fail(&err);
    }
    if (optind + 1 != argc || !vm_name_is_valid(argv[optind]) || !heartbeat.key)
        return cli_usage("heartbeat", "give the name of one VM and --key");
    heartbeat.vm = argv[optind];
    if (sodium_init() < 0 || paths_runtime_dir(given_dir, heartbeat.runtime_dir, &err) < 0 ||
        beat(&heartbeat, &err) < 0)
        return cli_fail(&err);
    return EXIT_STATUS_OK;
}
