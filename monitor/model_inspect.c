// SPDX-License-Identifier: Apache-2.0
// What a model file is.
#include "model_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "json_text.h"
#include "paths.h"
#include "spawn.h"
#include "weights_parts.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// The program reads a table of tokens at most; a file on a slow disk takes its time.
#define INSPECT_NS (30 * NS_PER_S)

#define ANSWER_MAX 65536u

// Above the numbers that the program gets the files by.
#define FDS_FROM 64

static int read_name(const struct json_place *place, void *target, struct error *err)
{
    char *text = (char *)target + place->field->offset;
    const char *read;
    if (json_read_text(place, &read, err))
        return -1;
    for (const char *c = read; *c; c++) {
        if (*c < 0x20 || *c > 0x7e)
            return json_refuse(place, JSON_PART_VALUE, err, "printable ASCII is expected");
    }
    if (strlen(read) >= MODEL_TEXT_SIZE)
        return json_refuse(place, JSON_PART_VALUE, err, "the text is too long");
    memcpy(text, read, strlen(read) + 1);
    return 0;
}

static int read_type_name(const struct json_place *place, void *target, struct error *err)
{
    struct model_type_count *type = target;
    const char *read;
    if (json_read_text(place, &read, err))
        return -1;
    snprintf(type->type, sizeof(type->type), "%s", read);
    return 0;
}

static int read_type(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "type", .read = read_type_name, .required = true},
        {"tensors", json_field_u64, true, offsetof(struct model_type_count, tensors), 0, INT64_MAX},
        {"bytes", json_field_u64, true, offsetof(struct model_type_count, bytes), 0, INT64_MAX},
    };
    struct model_description *description = target;
    return json_read_object(place, fields, COUNT(fields),
                            &description->types[description->type_count++], err);
}

static int read_types(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, MODEL_TYPES_MAX, read_type, target, err);
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target;
    if (json_read_text(place, &text, err))
        return -1;
    return strcmp(text, "guillotine-model/1")
               ? json_refuse(place, JSON_PART_VALUE, err, "guillotine-model/1 is expected")
               : 0;
}

#define NUMBER(member)                                                                             \
    {                                                                                              \
#member, json_field_u64, false, offsetof(struct model_description, member), 0, INT64_MAX   \
    }
#define TEXT(member)                                                                               \
    {                                                                                              \
        .key = #member, .read = read_name, .offset = offsetof(struct model_description, member)    \
    }

int model_description_parse(const char *text, size_t length, struct model_description *description,
                            struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {"supported", json_field_bool, true, offsetof(struct model_description, supported), 0, 0},
        {.key = "types", .read = read_types},
        // What the file says of its architecture, until a supported one takes its place.
        {.key = "general_architecture",
         .read = read_name,
         .offset = offsetof(struct model_description, architecture)},
        TEXT(architecture),
        TEXT(reason),
        TEXT(name),
        TEXT(tokenizer),
        TEXT(pre_tokenizer),
        TEXT(chat_template),
        NUMBER(files),
        NUMBER(parameters),
        NUMBER(tensor_bytes),
        NUMBER(bytes_per_token),
        NUMBER(vocabulary),
        NUMBER(layers),
        NUMBER(embedding),
        NUMBER(feed_forward),
        NUMBER(heads),
        NUMBER(key_value_heads),
        NUMBER(head_size),
        NUMBER(context_trained),
        NUMBER(context),
        NUMBER(memory_bytes),
    };
    cleanup_json_document struct json_document document = {0};
    *description = (struct model_description){0};
    if (json_document_parse(&document, "guillotine-model", text, length, ANSWER_MAX, err))
        return -1;
    const struct json_place root = json_document_root(&document);
    return json_read_object(&root, fields, COUNT(fields), description, err);
}

// The files of the model, opened. Returns how many, or -1; what is open is the caller's to close.
static int open_files(const char *path, int fds[SPAWN_MAX_FDS], struct error *err)
{
    unsigned part = 0;
    unsigned count = weights_parts_count(path, &part);
    if (count && part != 1)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: give the first file of a split model",
                         path);
    if (count > SPAWN_MAX_FDS)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: more than %u files", path,
                         SPAWN_MAX_FDS);
    for (unsigned i = 0; i < (count ? count : 1); i++) {
        cleanup_free char *name = i ? weights_parts_path(path, i + 1) : strdup(path);
        if (!name)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "names of files");
        cleanup_fd int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        fds[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FDS_FROM);
        if (fds[i] < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", name);
    }
    return (int)(count ? count : 1);
}

// Reads all that the program writes, until its deadline. Returns the length, or -1.
static ssize_t read_answer(int fd, char text[ANSWER_MAX], uint64_t deadline_ns)
{
    size_t used = 0;
    for (;;) {
        uint64_t now_ns = clock_now_ns(&clock_host);
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int left_ms = now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / NS_PER_MS) + 1 : 0;
        int count = poll(&ready, 1, left_ms);
        if (count < 0 && errno == EINTR)
            continue;
        ssize_t length = count > 0 ? read(fd, text + used, ANSWER_MAX - used) : -1;
        if (length < 0)
            return -1;
        if (length == 0)
            return (ssize_t)used;
        used += (size_t)length;
        if (used == ANSWER_MAX)
            return -1;
    }
}

static int ask(const char *path, const int *fds, unsigned count, uint32_t context,
               struct model_description *description, struct error *err)
{
    char program[PATH_MAX];
    char number[16];
    int pipe_fds[2];
    int pidfd;
    static char text[ANSWER_MAX];
    if (paths_sibling("guillotine-model", program, err) < 0)
        return -1;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe");
    cleanup_fd int from = pipe_fds[0];
    cleanup_fd int to = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, FDS_FROM);
    close(pipe_fds[1]);
    snprintf(number, sizeof(number), "%u", context);
    const char *const arguments[] = {"guillotine-model", number, NULL};
    struct spawn_request request = {
        .path = program,
        .name = "guillotine-model",
        .arguments = arguments,
        .output_fd = to,
        .fd_count = count,
        .wait = 1,
    };
    memcpy(request.fds, fds, count * sizeof(fds[0]));
    pid_t pid = spawn_program(&request, &pidfd, err);
    if (pid < 0)
        return -1;
    close(steal_fd(&to));
    ssize_t length = read_answer(from, text, clock_now_ns(&clock_host) + INSPECT_NS);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    close(pidfd);
    if (length <= 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: malformed: the program that reads it died, or did not end", path);
    return model_description_parse(text, (size_t)length, description, err);
}

int model_inspect(const char *path, uint32_t context, struct model_description *description,
                  struct error *err)
{
    int fds[SPAWN_MAX_FDS];
    for (unsigned i = 0; i < SPAWN_MAX_FDS; i++)
        fds[i] = -1;
    int count = open_files(path, fds, err);
    int result = count < 0 ? -1 : ask(path, fds, (unsigned)count, context, description, err);
    for (unsigned i = 0; i < SPAWN_MAX_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return result;
}
