// SPDX-License-Identifier: Apache-2.0
// guillotine message: exchanges messages with a model through a message port.
#include <errno.h>
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
#include "paths.h"
#include "vm_file.h"

struct message_options {
    const char *runtime_dir;
    const char *text;
    bool help;
};

static int help(void)
{
    printf("Usage: guillotine message send [--text TEXT] VM PORT\n"
           "       guillotine message receive VM PORT\n"
           "\n"
           "send gives the model one message: TEXT, or all of standard input, up to 1 MiB and\n"
           "the port's max_reply_bytes. It returns once the message waits for the model.\n"
           "receive waits for one message of the model and writes it to standard output, raw\n"
           "into files and pipes, with control characters neutralised on a terminal.\n"
           "\n"
           "Options:\n"
           "  --text TEXT         the message\n"
           "  --runtime-dir DIR   where control sockets live\n"
           "\n"
           "Examples:\n"
           "  guillotine message send --text 'Hello' demo inbox\n"
           "  guillotine message receive demo inbox > answer.bin\n");
    return EXIT_STATUS_OK;
}

static int parse(int argc, char **argv, struct message_options *options)
{
    const struct cli_option table[] = {
        {"text", &options->text, NULL},
        {"runtime-dir", &options->runtime_dir, NULL},
    };
    int usage = cli_options_take("message", argc, argv, table, 2, &options->help);
    if (usage)
        return usage;
    if (options->help)
        return 0;
    if (optind + 3 != argc || !vm_name_is_valid(argv[optind + 1]) ||
        !vm_name_is_valid(argv[optind + 2]))
        return cli_usage("message", "give send or receive, a VM and a port");
    return 0;
}

// Reads all of standard input.
static int read_input(char *data, size_t *length, struct error *err)
{
    *length = 0;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, data + *length, CONTROL_MESSAGE_MAX + 1 - *length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, EXIT_STATUS_FAILURE, errno, "standard input");
        if (n == 0)
            return 0;
        *length += (size_t)n;
        if (*length > CONTROL_MESSAGE_MAX)
            return error_set(err, EXIT_STATUS_USAGE, 0, "the message is larger than %u bytes",
                             CONTROL_MESSAGE_MAX);
    }
}

static int send_message(int fd, const struct message_options *options, const char *port,
                        struct error *err)
{
    char answer[1024];
    cleanup_free char *data = malloc(CONTROL_MESSAGE_MAX + 1);
    size_t length;
    if (!data)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "message");
    if (options->text) {
        length = strlen(options->text);
        if (length > CONTROL_MESSAGE_MAX)
            return error_set(err, EXIT_STATUS_USAGE, 0, "--text is longer than %u bytes",
                             CONTROL_MESSAGE_MAX);
        memcpy(data, options->text, length);
    } else if (read_input(data, &length, err) < 0) {
        return -1;
    }
    const struct control_question question = {
        .operation = "send", .port = port, .body = data, .body_length = length, .patient = true};
    return control_ask(fd, &question, answer, sizeof(answer), NULL, err);
}

static int receive_message(int fd, const char *port, struct error *err)
{
    char buffer[65536];
    size_t behind;
    const struct control_question question = {
        .operation = "receive", .port = port, .patient = true};
    if (control_ask(fd, &question, buffer, sizeof(buffer), &behind, err) < 0)
        return -1;
    return cli_vms_print_body(fd, buffer, sizeof(buffer), behind, err);
}

int cli_message(int argc, char **argv)
{
    struct message_options options = {0};
    struct error err = {0};
    char runtime_dir[PATH_MAX];
    int result = parse(argc, argv, &options);
    if (result)
        return result;
    if (options.help)
        return help();
    bool sends = !strcmp(argv[optind], "send");
    if (!sends && strcmp(argv[optind], "receive"))
        return cli_usage("message", "unknown command '%s'", argv[optind]);
    if (paths_runtime_dir(options.runtime_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    cleanup_fd int fd = control_connect(runtime_dir, argv[optind + 1], &err);
    if (fd < 0)
        return cli_fail(&err);
    const char *port = argv[optind + 2];
    result = sends ? send_message(fd, &options, port, &err) : receive_message(fd, port, &err);
    return result < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}
