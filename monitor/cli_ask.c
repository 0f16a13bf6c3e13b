// SPDX-License-Identifier: Apache-2.0
// guillotine ask: a prompt to a served model, its reply to the terminal.
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask_stream.h"
#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "escape.h"
#include "number.h"
#include "paths.h"
#include "secret_file.h"
#include "serve_grant.h"
#include "socket_path.h"
#include "vm_file.h"

#define PROMPT_MAX (1u << 20)

struct ask_options {
    const char *system;
    const char *max_tokens;
    const char *temperature;
    const char *seed;
    const char *socket;
    const char *token_file;
    const char *runtime_dir;
    bool raw;
    bool help;
};

// Where the reply goes.
struct ask_output {
    bool terminal;
    struct escape_terminal state;
    char last; // byte written
    bool failed;
};

static int help(void)
{
    printf("Usage: guillotine ask [OPTIONS] VM [PROMPT]\n"
           "\n"
           "Sends PROMPT, or all of standard input, to the model that VM serves, and writes the\n"
           "reply as it comes: raw into files and pipes, with control characters neutralised\n"
           "on a terminal. The prompt and the reply take the same way as those of any client of\n"
           "the endpoint: the VM's serve port, its policy and its audit log.\n"
           "\n"
           "Options:\n"
           "  --system TEXT       what the model is told before the prompt\n"
           "  --raw               go on with the prompt as it is, without a chat template\n"
           "  --max-tokens N      length of the reply, at most\n"
           "  --temperature T     0 takes the most probable token, 2 is very random\n"
           "  --seed N            the same seed and prompt give the same reply\n"
           "  --socket PATH       the endpoint's Unix socket (default: VM.serve in the runtime\n"
           "                      directory)\n"
           "  --token-file FILE   bearer token of the endpoint\n"
           "  --runtime-dir DIR   where sockets live\n"
           "\n"
           "Exit status: 0, or 1 if there was no (whole) reply, 75 if too many wait already,\n"
           "81 if the VM is isolated.\n"
           "\n"
           "Examples:\n"
           "  guillotine ask demo 'Why is the sky blue?'\n"
           "  guillotine ask --system 'Answer in one word.' demo < question.txt\n"
           "  guillotine ask --raw --max-tokens 40 demo 'Once upon a time' > story.txt\n");
    return EXIT_STATUS_OK;
}

static int parse(int argc, char **argv, struct ask_options *options)
{
    const struct cli_option table[] = {
        {"system", &options->system, NULL},           {"max-tokens", &options->max_tokens, NULL},
        {"temperature", &options->temperature, NULL}, {"seed", &options->seed, NULL},
        {"socket", &options->socket, NULL},           {"token-file", &options->token_file, NULL},
        {"runtime-dir", &options->runtime_dir, NULL}, {"raw", NULL, &options->raw},
    };
    int usage = cli_options_take("ask", argc, argv, table, sizeof(table) / sizeof(table[0]),
                                 &options->help);
    if (usage || options->help)
        return usage;
    if (optind == argc || argc - optind > 2 || !vm_name_is_valid(argv[optind]))
        return cli_usage("ask", "give a VM and at most one prompt");
    if (options->raw && options->system)
        return cli_usage("ask", "--raw has no --system");
    return 0;
}

static int add_number(struct json_object *request, const char *key, const char *option,
                      const char *text, struct error *err)
{
    uint64_t number;
    if (!text)
        return 0;
    if (number_parse(text, 0, INT64_MAX, &number, err) < 0)
        return error_wrap(err, "%s", option);
    json_object_object_add(request, key, json_object_new_int64((int64_t)number));
    return 0;
}

static void add_message(struct json_object *messages, const char *role, const char *text,
                        size_t length)
{
    struct json_object *message = json_object_new_object();
    json_object_object_add(message, "role", json_object_new_string(role));
    json_object_object_add(message, "content", json_object_new_string_len(text, (int)length));
    json_object_array_add(messages, message);
}

// The request as the endpoint reads it.
static int build(struct json_object *request, const struct ask_options *options, const char *prompt,
                 size_t length, struct error *err)
{
    json_object_object_add(request, "stream", json_object_new_boolean(1));
    if (add_number(request, "max_tokens", "--max-tokens", options->max_tokens, err) < 0 ||
        add_number(request, "seed", "--seed", options->seed, err) < 0)
        return -1;
    if (options->temperature) {
        char *end;
        double value = strtod(options->temperature, &end);
        if (*end || end == options->temperature || !(value >= 0 && value <= 2))
            return error_set(err, EXIT_STATUS_USAGE, 0, "--temperature %s: use 0 to 2",
                             options->temperature);
        json_object_object_add(request, "temperature",
                               json_object_new_double_s(value, options->temperature));
    }
    if (options->raw) {
        json_object_object_add(request, "prompt", json_object_new_string_len(prompt, (int)length));
        return 0;
    }
    struct json_object *messages = json_object_new_array();
    if (options->system)
        add_message(messages, "system", options->system, strlen(options->system));
    add_message(messages, "user", prompt, length);
    json_object_object_add(request, "messages", messages);
    return 0;
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static int send_request(int fd, const struct ask_options *options, const char *prompt,
                        size_t length, struct error *err)
{
    char token[SERVE_TOKEN_MAX] = "";
    char head[SERVE_TOKEN_MAX + 256];
    if (options->token_file &&
        secret_file_read(options->token_file, token, sizeof(token), 1, err) < 0)
        return error_wrap(err, "--token-file");
    struct json_object *request = json_object_new_object();
    int result = build(request, options, prompt, length, err);
    if (result == 0) {
        const char *body = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
        int bytes = snprintf(head, sizeof(head),
                             "POST /v1/%s HTTP/1.0\r\nHost: localhost\r\n%s%s%s"
                             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                             options->raw ? "completions" : "chat/completions",
                             token[0] ? "Authorization: Bearer " : "", token,
                             token[0] ? "\r\n" : "", strlen(body));
        // What the endpoint refuses it may refuse before it has read everything: its reply says so.
        if (write_all(fd, head, (size_t)bytes) < 0 || write_all(fd, body, strlen(body)) < 0)
            result =
                errno == EPIPE ? 0 : error_set(err, EXIT_STATUS_FAILURE, errno, "send the prompt");
    }
    json_object_put(request);
    explicit_bzero(token, sizeof(token));
    explicit_bzero(head, sizeof(head));
    return result;
}

static void show(void *context, const char *bytes, size_t length)
{
    struct ask_output *output = context;
    char filtered[4096 * ESCAPE_MAX_EXPANSION];
    while (length && !output->failed) {
        size_t part = length < 4096 ? length : 4096;
        const char *shown = bytes;
        size_t size = part;
        if (output->terminal) {
            size = escape_terminal_filter(&output->state, filtered, bytes, part);
            shown = filtered;
        }
        output->failed = write_all(STDOUT_FILENO, shown, size) < 0;
        if (size)
            output->last = shown[size - 1];
        bytes += part;
        length -= part;
    }
}

static int receive(int fd, struct ask_stream *stream, const struct ask_output *output,
                   struct error *err)
{
    char bytes[4096];
    for (;;) {
        ssize_t length = read(fd, bytes, sizeof(bytes));
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0 && errno != ECONNRESET)
            return error_set(err, EXIT_STATUS_FAILURE, errno, "the endpoint");
        if (length <= 0)
            return ask_stream_end(stream, err);
        if (ask_stream_take(stream, bytes, (size_t)length, err) < 0)
            return -1;
        if (output->failed)
            return error_set(err, EXIT_STATUS_FAILURE, EPIPE, "standard output");
        if (stream->state == ASK_DONE)
            return 0;
    }
}

static int read_prompt(char **prompt, size_t *length, struct error *err)
{
    *prompt = malloc(PROMPT_MAX + 1);
    if (!*prompt)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "memory of the prompt");
    *length = fread(*prompt, 1, PROMPT_MAX + 1, stdin);
    if (ferror(stdin))
        return error_set(err, EXIT_STATUS_FAILURE, errno, "standard input");
    if (*length > PROMPT_MAX)
        return error_set(err, EXIT_STATUS_USAGE, 0, "the prompt is larger than %u bytes",
                         PROMPT_MAX);
    while (*length && (*prompt)[*length - 1] == '\n')
        (*length)--;
    return *length ? 0 : error_set(err, EXIT_STATUS_USAGE, 0, "the prompt is empty");
}

static int connect_to(const struct ask_options *options, const char *vm, struct error *err)
{
    char folder[PATH_MAX];
    char path[PATH_MAX];
    char name[VM_NAME_SIZE + 8];
    snprintf(name, sizeof(name), "%s.serve", vm);
    if (options->socket)
        snprintf(path, sizeof(path), "%s%s", strchr(options->socket, '/') ? "" : "./",
                 options->socket);
    else if (paths_runtime_dir(options->runtime_dir, folder, err) < 0 ||
             paths_join(path, folder, name, err) < 0)
        return -1;
    int fd = socket_path_connect(path, err);
    if (fd < 0 && (err->code == ENOENT || err->code == ECONNREFUSED))
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "%s serves nothing here: %s; see `guillotine ps` and --socket", vm,
                         err->text);
    return fd;
}

int cli_ask(int argc, char **argv)
{
    struct ask_options options = {0};
    struct ask_output output = {.terminal = isatty(STDOUT_FILENO), .last = '\n'};
    struct ask_stream stream = {.text = show, .context = &output};
    struct error err = {0};
    cleanup_free char *input = NULL;
    size_t length = 0;
    int usage = parse(argc, argv, &options);
    if (usage || options.help)
        return usage ? usage : help();
    signal(SIGPIPE, SIG_IGN); // who hangs up on us is told from errno
    const char *prompt = argc - optind == 2 ? argv[optind + 1] : NULL;
    if (prompt)
        length = strlen(prompt);
    else if (read_prompt(&input, &length, &err) < 0)
        return cli_fail(&err);
    cleanup_fd int fd = connect_to(&options, argv[optind], &err);
    int result = fd < 0 ? -1 : ask_stream_open(&stream, &err);
    if (result == 0)
        result = send_request(fd, &options, prompt ? prompt : input, length, &err);
    if (result == 0)
        result = receive(fd, &stream, &output, &err);
    if (output.terminal) {
        char rest[ESCAPE_MAX_EXPANSION * 8];
        write_all(STDOUT_FILENO, rest, escape_terminal_finish(&output.state, rest));
    }
    if (output.last != '\n')
        write_all(STDOUT_FILENO, "\n", 1);
    ask_stream_close(&stream);
    return result < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}
