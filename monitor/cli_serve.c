// SPDX-License-Identifier: Apache-2.0
// guillotine serve: one model file in a cell, behind an endpoint that existing clients speak to.
//
// What it runs is a VM like any other: it writes the VM file that a person would write, and `run`
// does the rest.
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "model_inspect.h"
#include "number.h"
#include "paths.h"
#include "serve_grant.h"
#include "vm_file.h"
#include "vmm_protocol.h"

#define ARGUMENTS_MAX 64

// Memory of the program in the cell besides what the model needs: its image, stacks, tables.
#define PROGRAM_BYTES  (16ull << 20)
#define VM_MEMORY_UNIT (2ull << 20)

struct serve_options {
    const char *model; // the file
    const char *name;
    const char *alias;
    const char *context;
    const char *chat_template;
    const char *temperature;
    const char *max_tokens;
    const char *queue;
    const char *deadline;
    const char *token_file;
    const char *vcpus;
    const char *listen[SERVE_LISTENERS_MAX];
    unsigned listen_count;
    bool whole;
    bool print;
    // What goes on to `run`.
    char *arguments[ARGUMENTS_MAX];
    int argument_count;
};

enum serve_option {
    OPTION_NAME = 256,
    OPTION_ALIAS,
    OPTION_CONTEXT,
    OPTION_CHAT_TEMPLATE,
    OPTION_TEMPERATURE,
    OPTION_MAX_TOKENS,
    OPTION_QUEUE,
    OPTION_DEADLINE,
    OPTION_TOKEN_FILE,
    OPTION_VCPUS,
    OPTION_LISTEN,
    OPTION_WHOLE,
    OPTION_PRINT,
    OPTION_HELP,
    OPTION_RUN, // any that `run` takes as it is
};

static const struct {
    struct option option;
    const char *argument;
    const char *help; // NULL: see guillotine run --help
} serve_options_table[] = {
    {{"listen", 1, NULL, OPTION_LISTEN},
     "PLACE",
     "unix, unix:/PATH or tcp:127.0.0.1:PORT; twice at most (default unix: NAME.serve in the "
     "runtime directory)"},
    {{"name", 1, NULL, OPTION_NAME}, "NAME", "name of the VM (default: that of the file)"},
    {{"model", 1, NULL, OPTION_ALIAS},
     "NAME",
     "what clients call the model (default: the file without .gguf)"},
    {{"context", 1, NULL, OPTION_CONTEXT}, "N", "tokens of a prompt and its reply together"},
    {{"vcpus", 1, NULL, OPTION_VCPUS},
     "N",
     "virtual CPUs (default: all but one of those that may be used, or both of two)"},
    {{"memory", 1, NULL, OPTION_RUN}, "SIZE", "memory of the model besides its weights"},
    {{"policy", 1, NULL, OPTION_RUN},
     "FILE",
     "rules for prompts and replies (docs/policy.md, docs/serve.md)"},
    {{"whole", 0, NULL, OPTION_WHOLE},
     NULL,
     "replies leave the cell as a whole, so that rules see all of a text (no streaming)"},
    {{"chat-template", 1, NULL, OPTION_CHAT_TEMPLATE},
     "NAME",
     "how conversations are written (default: as the file says; docs/models.md)"},
    {{"temperature", 1, NULL, OPTION_TEMPERATURE}, "T", "where a client gives none (0.8)"},
    {{"max-tokens", 1, NULL, OPTION_MAX_TOKENS}, "N", "of one reply, whatever a client asks for"},
    {{"queue", 1, NULL, OPTION_QUEUE}, "N", "calls that may wait or run (16)"},
    {{"deadline", 1, NULL, OPTION_DEADLINE}, "MS", "from a call to the end of its reply (600000)"},
    {{"token-file", 1, NULL, OPTION_TOKEN_FILE}, "FILE", "bearer token that clients have to know"},
    {{"print", 0, NULL, OPTION_PRINT}, NULL, "write the VM file, run nothing"},
    {{"help", 0, NULL, OPTION_HELP}, NULL, "this text"},
    {{"accept-level-reset", 0, NULL, OPTION_RUN}, NULL, NULL},
    {{"actuators", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"audit", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"forensics", 0, NULL, OPTION_RUN}, NULL, NULL},
    {{"hypervisor-cores", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"huge-pages", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"lock-memory", 0, NULL, OPTION_RUN}, NULL, NULL},
    {{"model-cores", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"no-forensics", 0, NULL, OPTION_RUN}, NULL, NULL},
    {{"placement", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"require", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"result", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"runtime-dir", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"state-dir", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"uuid", 1, NULL, OPTION_RUN}, NULL, NULL},
    {{"witness", 1, NULL, OPTION_RUN}, NULL, NULL},
};

#define OPTION_COUNT (sizeof(serve_options_table) / sizeof(serve_options_table[0]))

static int help(void)
{
    printf("Usage: guillotine serve [OPTIONS] MODEL.gguf\n"
           "\n"
           "Runs the model in a cell that has nothing but a serve port, and answers clients that\n"
           "speak the OpenAI API (/v1/models, /v1/chat/completions, /v1/completions; streaming\n"
           "too) on a Unix socket or on the loopback. Every prompt and every reply passes the\n"
           "VM's policy and its audit log. Ctrl-C stops it; `guillotine isolate` shuts it off.\n"
           "\n"
           "Options:\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[64];
        if (!serve_options_table[i].help)
            continue;
        snprintf(left, sizeof(left), "--%s%s%s", serve_options_table[i].option.name,
                 serve_options_table[i].argument ? " " : "",
                 serve_options_table[i].argument ? serve_options_table[i].argument : "");
        printf("  %-22s %s\n", left, serve_options_table[i].help);
    }
    printf("\nAlso, as `guillotine run --help` explains them:\n ");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (!serve_options_table[i].help)
            printf(" --%s", serve_options_table[i].option.name);
    }
    printf("\n\n"
           "Examples:\n"
           "  guillotine serve model.gguf\n"
           "  guillotine serve --listen tcp:127.0.0.1:8080 --context 8192 model.gguf\n"
           "  guillotine ask model 'Why is the sky blue?'\n"
           "  curl --unix-socket /run/guillotine/model.serve http://localhost/v1/models\n"
           "  guillotine serve --print model.gguf > model.json    # then change and run it\n");
    return EXIT_STATUS_OK;
}

// An option that goes on to `run`.
static int pass_on(struct serve_options *options, const char *name, const char *value,
                   struct error *err)
{
    char *argument = NULL;
    if (options->argument_count + 3 >= ARGUMENTS_MAX)
        return error_set(err, EXIT_STATUS_USAGE, 0, "too many options");
    if (asprintf(&argument, "--%s%s%s", name, value ? "=" : "", value ? value : "") < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "options");
    options->arguments[options->argument_count++] = argument;
    return 0;
}

static int apply(int option, int index, struct serve_options *options, struct error *err)
{
    switch (option) {
    case OPTION_NAME:
        options->name = optarg;
        return 0;
    case OPTION_ALIAS:
        options->alias = optarg;
        return 0;
    case OPTION_CONTEXT:
        options->context = optarg;
        return 0;
    case OPTION_CHAT_TEMPLATE:
        options->chat_template = optarg;
        return 0;
    case OPTION_TEMPERATURE:
        options->temperature = optarg;
        return 0;
    case OPTION_MAX_TOKENS:
        options->max_tokens = optarg;
        return 0;
    case OPTION_QUEUE:
        options->queue = optarg;
        return 0;
    case OPTION_DEADLINE:
        options->deadline = optarg;
        return 0;
    case OPTION_TOKEN_FILE:
        options->token_file = optarg;
        return 0;
    case OPTION_VCPUS:
        options->vcpus = optarg;
        return 0;
    case OPTION_LISTEN:
        if (options->listen_count == SERVE_LISTENERS_MAX)
            return error_set(err, EXIT_STATUS_USAGE, 0, "more than %u places to listen at",
                             SERVE_LISTENERS_MAX);
        options->listen[options->listen_count++] = optarg;
        return 0;
    case OPTION_WHOLE:
        options->whole = true;
        return 0;
    case OPTION_PRINT:
        options->print = true;
        return 0;
    default:
        return pass_on(options, serve_options_table[index].option.name, optarg, err);
    }
}

static int parse(int argc, char **argv, struct serve_options *options, struct error *err)
{
    struct option table[OPTION_COUNT + 1] = {{0}};
    int option;
    int index = 0;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        table[i] = serve_options_table[i].option;
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", table, &index)) >= 0) {
        if (option == '?' || option == ':')
            return error_set(err, EXIT_STATUS_USAGE, 0,
                             option == ':' ? "%s needs a value"
                                           : "unknown option %s; see guillotine serve --help",
                             argv[optind - 1]);
        if (option == OPTION_HELP)
            exit(help());
        if (apply(option, index, options, err) < 0)
            return -1;
    }
    if (optind + 1 != argc)
        return error_set(err, EXIT_STATUS_USAGE, 0, "give one model: guillotine serve MODEL.gguf");
    options->model = argv[optind];
    return 0;
}

// The file's name without its folder, ".gguf", and the number of a part.
static void plain_name(const char *path, char *name, size_t size)
{
    const char *slash = strrchr(path, '/');
    snprintf(name, size, "%s", slash ? slash + 1 : path);
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".gguf") == 0)
        name[length - 5] = '\0';
    char *part = strstr(name, "-00001-of-");
    if (part && part != name)
        *part = '\0';
}

// A name of a VM that resembles it.
static void vm_name(const char *from, char name[VM_NAME_SIZE])
{
    size_t used = 0;
    for (; *from && used + 1 < VM_NAME_SIZE; from++) {
        unsigned char c = (unsigned char)*from;
        if (isalnum(c))
            name[used++] = (char)tolower(c);
        else if (used && name[used - 1] != '-')
            name[used++] = '-';
    }
    while (used && name[used - 1] == '-')
        used--;
    name[used] = '\0';
    if (!used)
        snprintf(name, VM_NAME_SIZE, "model");
}

static int add_number(struct json_object *object, const char *key, const char *option,
                      const char *text, struct error *err)
{
    uint64_t number;
    if (!text)
        return 0;
    if (number_parse(text, 1, INT64_MAX, &number, err) < 0)
        return error_wrap(err, "%s", option);
    json_object_object_add(object, key, json_object_new_int64((int64_t)number));
    return 0;
}

static void add_text(struct json_object *array, const char *text)
{
    json_object_array_add(array, json_object_new_string(text));
}

// With few CPUs the pollers, which sleep while the model computes, share them with it.
static int64_t default_vcpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    if (count > 2)
        count--;
    return count < (int)VMM_MAX_VCPUS ? count : (int)VMM_MAX_VCPUS;
}

static struct json_object *arguments_of(const struct serve_options *options)
{
    struct json_object *arguments = json_object_new_array();
    const struct {
        const char *option;
        const char *value;
    } table[] = {
        {"--context", options->context},
        {"--temperature", options->temperature},
        {"--chat-template", options->chat_template},
    };
    add_text(arguments, "--serve");
    if (options->whole)
        add_text(arguments, "--whole");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (!table[i].value)
            continue;
        add_text(arguments, table[i].option);
        add_text(arguments, table[i].value);
    }
    return arguments;
}

static struct json_object *port_of(const struct serve_options *options, const char *model,
                                   struct error *err)
{
    struct json_object *port = json_object_new_object();
    struct json_object *settings = json_object_new_object();
    json_object_object_add(port, "kind", json_object_new_string("serve"));
    if (options->whole) {
        struct json_object *operations = json_object_new_array();
        add_text(operations, "receive");
        add_text(operations, "answer");
        json_object_object_add(port, "operations", operations);
    }
    json_object_object_add(settings, "model", json_object_new_string(model));
    if (options->listen_count) {
        struct json_object *listen = json_object_new_array();
        for (unsigned i = 0; i < options->listen_count; i++)
            add_text(listen, options->listen[i]);
        json_object_object_add(settings, "listen", listen);
    }
    json_object_object_add(port, "settings", settings);
    if (options->token_file)
        json_object_object_add(settings, "token_file", json_object_new_string(options->token_file));
    if (add_number(settings, "queue", "--queue", options->queue, err) < 0 ||
        add_number(settings, "max_tokens", "--max-tokens", options->max_tokens, err) < 0 ||
        add_number(settings, "deadline_ms", "--deadline", options->deadline, err) < 0) {
        json_object_put(port);
        return NULL;
    }
    return port;
}

// What is not supported is refused here, by its name, before there is a VM; what is gets the memory
// that it needs.
static int size_memory(struct json_object *vm, const char *path,
                       const struct serve_options *options, struct error *err)
{
    static struct model_description model; // large
    uint64_t context = 0;
    if (options->context && number_parse(options->context, 1, UINT32_MAX, &context, err) < 0)
        return error_wrap(err, "--context");
    if (model_inspect(path, (uint32_t)context, &model, err) < 0)
        return -1;
    if (!model.supported)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: %s", options->model, model.reason);
    uint64_t bytes = model.memory_bytes + PROGRAM_BYTES;
    bytes = (bytes + VM_MEMORY_UNIT - 1) / VM_MEMORY_UNIT * VM_MEMORY_UNIT;
    json_object_object_add(vm, "memory_bytes", json_object_new_int64((int64_t)bytes));
    return 0;
}

// The path from the root. A link to the file keeps its name: those of a split model's other files
// are made from it.
static int absolute_path(const char *given, char path[PATH_MAX], struct error *err)
{
    char copy[PATH_MAX];
    const char *slash = strrchr(given, '/');
    if (snprintf(copy, sizeof(copy), "%s", given) >= (int)sizeof(copy))
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", given);
    cleanup_free char *folder = realpath(slash ? dirname(copy) : ".", NULL);
    if (!folder || access(given, F_OK) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", given);
    return paths_join(path, folder, slash ? slash + 1 : given, err);
}

static int fill(struct json_object *vm, const struct serve_options *options, struct error *err)
{
    char image[PATH_MAX];
    char model[PATH_MAX];
    char name[VM_NAME_SIZE];
    char path[PATH_MAX];
    if (absolute_path(options->model, path, err) < 0)
        return -1;
    if (paths_data("llm.elf", image, err) < 0)
        return -1;
    plain_name(options->model, model, sizeof(model));
    vm_name(model, name);
    json_object_object_add(vm, "format", json_object_new_string("guillotine-vm/1"));
    json_object_object_add(vm, "name",
                           json_object_new_string(options->name ? options->name : name));
    json_object_object_add(vm, "image", json_object_new_string(image));
    json_object_object_add(vm, "arguments", arguments_of(options));
    if (size_memory(vm, path, options, err) < 0)
        return -1;
    json_object_object_add(vm, "vcpus", json_object_new_int64(default_vcpus()));
    if (add_number(vm, "vcpus", "--vcpus", options->vcpus, err) < 0)
        return -1;
    struct json_object *weights = json_object_new_array();
    struct json_object *file = json_object_new_object();
    json_object_object_add(file, "file", json_object_new_string(path));
    json_object_array_add(weights, file);
    json_object_object_add(vm, "weights", weights);
    struct json_object *ports = json_object_new_array();
    json_object_object_add(vm, "ports", ports);
    struct json_object *port = port_of(options, options->alias ? options->alias : model, err);
    if (!port)
        return -1;
    json_object_array_add(ports, port);
    // What the program has to say if it cannot go on.
    struct json_object *console = json_object_new_object();
    struct json_object *operations = json_object_new_array();
    add_text(operations, "write");
    json_object_object_add(console, "kind", json_object_new_string("console"));
    json_object_object_add(console, "operations", operations);
    json_object_array_add(ports, console);
    return 0;
}

// The VM file as memory that `run` can open. Returns a descriptor.
static int write_file(struct json_object *vm, bool print, struct error *err)
{
    const char *text = json_object_to_json_string_ext(
        vm, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (print)
        printf("%s\n", text);
    cleanup_fd int fd = memfd_create("serve.json", MFD_CLOEXEC);
    size_t length = strlen(text);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "memory of the VM file");
    return steal_fd(&fd);
}

int cli_serve(int argc, char **argv)
{
    struct serve_options options = {.arguments = {(char *)"serve"}, .argument_count = 1};
    struct error err = {0};
    char path[64];
    if (parse(argc, argv, &options, &err) < 0)
        return cli_fail(&err);
    struct json_object *vm = json_object_new_object();
    cleanup_fd int fd = fill(vm, &options, &err) < 0 ? -1 : write_file(vm, options.print, &err);
    json_object_put(vm);
    int status;
    if (fd < 0) {
        status = cli_fail(&err);
    } else if (options.print) {
        status = EXIT_STATUS_OK;
    } else {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        options.arguments[options.argument_count] = path;
        status = cli_run(options.argument_count + 1, options.arguments);
    }
    for (int i = 1; i < options.argument_count; i++)
        free(options.arguments[i]);
    return status;
}
