// SPDX-License-Identifier: Apache-2.0
// guillotine approvals, approve and reject: requests that a rule holds.
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "cli_vms.h"
#include "control_server.h"
#include "escape.h"
#include "paths.h"
#include "vm_file.h"

#define WATCH_MS 500

// Digits of an id that people need to type; control sockets want at least as many.
#define ID_DIGITS 32

static int help_approvals(void)
{
    printf("Usage: guillotine approvals [--watch] [--json] [VM]\n"
           "       guillotine approvals [--json] VM ID\n"
           "\n"
           "Lists the requests of running models that a rule of their policy holds until somebody\n"
           "approves them: guillotine approve, guillotine reject. Each has an id, the SHA-256 of\n"
           "the exact request. Without a VM: of all VMs. With an id: writes that request's whole\n"
           "payload to standard output. Nobody's answer in time means no.\n"
           "\n"
           "Options:\n"
           "  --watch             print each request once, as it comes, until interrupted\n"
           "  --json              one JSON object a line\n"
           "  --runtime-dir DIR   where control sockets live\n"
           "\n"
           "Examples:\n"
           "  guillotine approvals\n"
           "  guillotine approvals --watch agent\n"
           "  guillotine approvals agent 5e8c1d0b7a4f2c9613d8e07fa25b4c6e | less\n");
    return EXIT_STATUS_OK;
}

static int help_approve(const char *command)
{
    bool approves = !strcmp(command, "approve");
    printf("Usage: guillotine %s [--reason TEXT] [--json] VM ID\n"
           "\n"
           "%s a request that a rule holds, named by the first 32 digits or more of its\n"
           "id (guillotine approvals). The id is the SHA-256 of the exact request: the answer\n"
           "counts for that one and only once, and goes to the audit log with your user id.\n"
           "\n"
           "Options:\n"
           "  --reason TEXT       why, for the audit log (at most 256 bytes)\n"
           "  --json              the request as it was answered\n"
           "  --runtime-dir DIR   where control sockets live\n"
           "\n"
           "Example:\n"
           "  guillotine %s agent 5e8c1d0b7a4f2c9613d8e07fa25b4c6e\n",
           command, approves ? "Lets pass" : "Denies", command);
    return EXIT_STATUS_OK;
}

struct list {
    const char *runtime_dir;
    bool json;
    bool watch;
    char (*seen)[CONTROL_ID_SIZE]; // ids printed before
    size_t seen_count;
    size_t seen_room;
    struct error err; // of a VM that was named
};

static const char *text_of(json_object *object, const char *key)
{
    json_object *member;
    return json_object_object_get_ex(object, key, &member) ? json_object_get_string(member) : "?";
}

// False if it was printed before, or cannot be remembered.
static bool is_new(struct list *list, const char *id)
{
    if (!list->watch)
        return true;
    for (size_t i = 0; i < list->seen_count; i++) {
        if (!strcmp(list->seen[i], id))
            return false;
    }
    if (list->seen_count == list->seen_room) {
        size_t room = list->seen_room ? 2 * list->seen_room : 64;
        void *grown = reallocarray(list->seen, room, sizeof(*list->seen));
        if (!grown)
            return true; // twice is better than never
        list->seen = grown;
        list->seen_room = room;
    }
    snprintf(list->seen[list->seen_count++], CONTROL_ID_SIZE, "%s", id);
    return true;
}

// Whatever the supervisor says is made fit for a terminal once more.
static void print_text(const char *text)
{
    cleanup_free char *safe = malloc(strlen(text) * ESCAPE_MAX_EXPANSION + 1);
    if (safe) {
        escape_line(safe, strlen(text) * ESCAPE_MAX_EXPANSION + 1, text, strlen(text));
        fputs(safe, stdout);
    }
}

static void print_entry(const struct list *list, json_object *entry)
{
    if (list->json) {
        printf("%s\n", json_object_to_json_string_ext(entry, JSON_C_TO_STRING_PLAIN));
        return;
    }
    printf("%.*s  ", ID_DIGITS, text_of(entry, "id"));
    print_text(text_of(entry, "vm"));
    printf("  ");
    print_text(text_of(entry, "port"));
    printf(" ");
    print_text(text_of(entry, "operation"));
    printf("  rule ");
    print_text(text_of(entry, "rule"));
    printf("  %.12s bytes, argument %.20s, expires in %.12s ms\n    ",
           text_of(entry, "length_bytes"), text_of(entry, "argument"),
           text_of(entry, "expires_in_ms"));
    // Escaped by the supervisor; not trusted to be.
    print_text(text_of(entry, "payload"));
    printf("%s\n", strcmp(text_of(entry, "payload_is_whole"), "true") ? " ..." : "");
}

static void list_vm(void *context, const char *name)
{
    struct list *list = context;
    cleanup_free char *answer = malloc(CONTROL_APPROVALS_MAX);
    const struct control_question question = {.operation = "approvals"};
    json_object *entries;
    if (!answer) {
        error_set(&list->err, EXIT_STATUS_RESOURCES, ENOMEM, "approvals");
        return;
    }
    cleanup_fd int fd = control_connect(list->runtime_dir, name, &list->err);
    if (fd < 0 || control_ask(fd, &question, answer, CONTROL_APPROVALS_MAX, NULL, &list->err) < 0)
        return;
    json_object *object = json_tokener_parse(answer);
    if (object && json_object_object_get_ex(object, "approvals", &entries)) {
        for (size_t i = 0; i < json_object_array_length(entries); i++) {
            json_object *entry = json_object_array_get_idx(entries, i);
            if (is_new(list, text_of(entry, "id")))
                print_entry(list, entry);
        }
    }
    json_object_put(object);
}

static int run_list(struct list *list, const char *name)
{
    do {
        list->err = (struct error){0};
        if (name)
            list_vm(list, name);
        else if (cli_vms_each(list->runtime_dir, list_vm, list, &list->err) < 0)
            return cli_fail(&list->err);
        if (fflush(stdout)) {
            error_set(&list->err, EXIT_STATUS_FAILURE, errno, "standard output");
            return cli_fail(&list->err);
        }
        if (name && list->err.status)
            return cli_fail(&list->err);
    } while (list->watch && poll(NULL, 0, WATCH_MS) == 0);
    return EXIT_STATUS_OK;
}

static int show(const char *runtime_dir, const char *name, const char *id, bool json)
{
    struct error err;
    char answer[65536];
    size_t behind;
    const struct control_question question = {.operation = "approvals", .id = id};
    cleanup_fd int fd = control_connect(runtime_dir, name, &err);
    if (fd < 0 || control_ask(fd, &question, answer, sizeof(answer), &behind, &err) < 0)
        return cli_fail(&err);
    if (json)
        return printf("%s\n", answer) < 0 ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
    return cli_vms_print_body(fd, answer, sizeof(answer), behind, &err) < 0 ? cli_fail(&err)
                                                                            : EXIT_STATUS_OK;
}

int cli_approvals(int argc, char **argv)
{
    struct error err = {0};
    char runtime_dir[PATH_MAX];
    const char *given_dir = NULL;
    struct list list = {.runtime_dir = runtime_dir};
    bool wants_help = false;
    const struct cli_option options[] = {
        {"json", NULL, &list.json},
        {"watch", NULL, &list.watch},
        {"runtime-dir", &given_dir, NULL},
    };
    int usage = cli_options_take("approvals", argc, argv, options, 3, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help_approvals();
    int count = argc - optind;
    if (count > 2 || (count && !vm_name_is_valid(argv[optind])) || (count == 2 && list.watch))
        return cli_usage("approvals", "give at most one VM, and then one id");
    if (paths_runtime_dir(given_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    if (count == 2)
        return show(runtime_dir, argv[optind], argv[optind + 1], list.json);
    int result = run_list(&list, count ? argv[optind] : NULL);
    free(list.seen);
    return result;
}

int cli_approve(int argc, char **argv)
{
    const char *command = argv[0];
    struct error err = {0};
    char runtime_dir[PATH_MAX];
    char answer[65536];
    const char *given_dir = NULL;
    const char *reason = NULL;
    bool json = false;
    bool wants_help = false;
    const struct cli_option options[] = {
        {"json", NULL, &json},
        {"reason", &reason, NULL},
        {"runtime-dir", &given_dir, NULL},
    };
    int usage = cli_options_take(command, argc, argv, options, 3, &wants_help);
    if (usage)
        return usage;
    if (wants_help)
        return help_approve(command);
    if (optind + 2 != argc || !vm_name_is_valid(argv[optind]))
        return cli_usage(command, "give the name of one VM and the id of one request");
    if (reason && strlen(reason) >= CONTROL_REASON_SIZE)
        return cli_usage(command, "a reason has at most %d bytes", CONTROL_REASON_SIZE - 1);
    const struct control_question question = {
        .operation = command,
        .id = argv[optind + 1],
        .reason = reason,
    };
    if (paths_runtime_dir(given_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    cleanup_fd int fd = control_connect(runtime_dir, argv[optind], &err);
    if (fd < 0)
        return cli_fail(&err);
    if (control_ask(fd, &question, answer, sizeof(answer), NULL, &err) < 0) {
        error_prefix(&err, "%s %s", command, argv[optind + 1]);
        return cli_fail(&err);
    }
    if (json)
        printf("%s\n", answer);
    return EXIT_STATUS_OK;
}
