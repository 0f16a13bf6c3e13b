// SPDX-License-Identifier: Apache-2.0
// guillotine-model: says of a model file what it is, and whether the inference program can run it.
//
// The file is untrusted and this runs on the host: before the first byte of it is read, the kernel
// has been told to let the process read, write and exit, and nothing else.

#include "chat.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of <linux/seccomp.h>, which musl's headers do not come with. */
#define SECCOMP_MODE_STRICT 1

/* Descriptors of the files, in order, from this one on. */
#define FIRST_FILE 3

/* Address space for the tables that loading fills. Untouched pages cost nothing; a model that needs
 * more is told that it does. */
#define ARENA_BYTES (UINT64_C(1) << 40)

/* The answer. */
static char text[65536];
static size_t used;

static struct llm_weights weights[GGUF_PARTS_MAX];
static struct llm_session session;

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void add(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text + used, sizeof(text) - used, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < sizeof(text) - used) {
        used += (size_t)length;
    }
}

/* A text of the file as a JSON string: what is not plain ASCII becomes '?'. */
static void add_string(const char *bytes, size_t length)
{
    add("\"");
    for (size_t index = 0; index < length && index < 256; index++) {
        char byte = bytes[index];
        bool plain = byte >= 0x20 && byte < 0x7f;
        add(byte == '"' || byte == '\\' ? "\\%c" : "%c", plain ? byte : '?');
    }
    add("\"");
}

static void add_text(const char *key, struct gguf_string value)
{
    add(",\"%s\":", key);
    add_string(value.text, value.length);
}

static void add_number(const char *key, uint64_t value)
{
    add(",\"%s\":%" PRIu64, key, value);
}

/* `exit`, not `exit_group`: it is one of the four system calls that are left. */
static _Noreturn void end(void)
{
    size_t done = 0;
    while (done < used) {
        ssize_t written = write(STDOUT_FILENO, text + done, used - done);
        if (written <= 0) {
            break;
        }
        done += (size_t)written;
    }
    for (;;) {
        syscall(SYS_exit, 0);
    }
}

static void describe_tensors(const struct gguf_file *file)
{
    uint64_t parameters = 0;
    uint64_t all_bytes = 0;
    uint64_t embedding = 0;
    bool tied = true; /* the embedding is the output matrix too: all of it is read for a token */

    add(",\"types\":[");
    for (size_t index = 0, listed = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        struct gguf_place place = {0};
        uint64_t bytes = 0;
        uint32_t tensors = 0;
        for (uint32_t number = 0; number < file->tensor_count; number++) {
            struct gguf_tensor tensor;
            struct llm_error ignored; /* gguf_open has seen them all */
            if (gguf_next_tensor(file, &place, &tensor, &ignored) == 0 && tensor.type == type) {
                tied = tied && !gguf_string_is(tensor.name, "output.weight");
                if (gguf_string_is(tensor.name, "token_embd.weight")) {
                    embedding = tensor.bytes;
                }
                tensors++;
                bytes += tensor.bytes;
                parameters += tensor.bytes / type->block_bytes * type->block_elements;
            }
        }
        if (tensors > 0) {
            add("%s{\"type\":\"%s\",\"tensors\":%" PRIu32 ",\"bytes\":%" PRIu64 "}",
                listed++ > 0 ? "," : "", type->name, tensors, bytes);
        }
        all_bytes += bytes;
    }
    add("]");
    add_number("parameters", parameters);
    add_number("tensor_bytes", all_bytes);
    add_number("bytes_per_token", tied ? all_bytes : all_bytes - embedding);
}

static void describe_config(const struct llm_config *config)
{
    add_text("architecture",
             (struct gguf_string){config->family->name, strlen(config->family->name)});
    add_number("vocabulary", config->vocabulary);
    add_number("layers", config->layers);
    add_number("embedding", config->embedding);
    add_number("feed_forward", config->feed_forward);
    add_number("heads", config->heads);
    add_number("key_value_heads", config->key_value_heads);
    add_number("head_size", config->head_size);
    add_number("context_trained", config->context_trained);
    add_number("context", config->context);
}

static void describe_names(const struct gguf_file *file)
{
    static const struct {
        const char *key;
        const char *name;
    } names[] = {
        {"general.architecture", "general_architecture"},
        {"general.name", "name"},
        {"tokenizer.ggml.model", "tokenizer"},
        {"tokenizer.ggml.pre", "pre_tokenizer"},
    };
    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        struct gguf_string value;
        struct llm_error ignored;
        if (gguf_read_string(file, names[index].key, true, &value, &ignored) == 0) {
            add_text(names[index].name, value);
        }
    }
    const char *chat = llm_chat_name(llm_chat_detect(file));
    add_text("chat_template", (struct gguf_string){chat, strlen(chat)});
}

/* A platform that never computes: loading checks everything that running would. */
static void run_nothing(void *context, void (*function)(void *argument, unsigned worker),
                        void *argument)
{
    (void)context;
    function(argument, 0);
}

static int inspect(size_t count, uint32_t context, void *arena, struct llm_error *err)
{
    struct llm_platform platform = {
        .weights = weights,
        .weights_count = count,
        .arena = arena,
        .workers = 1,
        .run = run_nothing,
    };
    struct llm_arena measure = {0};
    if (gguf_open(&session.file, weights, count, err) != 0) {
        return -1;
    }
    describe_names(&session.file);
    describe_tensors(&session.file);
    if (llm_config_read(&session.config, &session.file, context, err) != 0) {
        return -1;
    }
    describe_config(&session.config);
    llm_session_reserve(&session, &measure);
    if (measure.exhausted) {
        return llm_fail(err, "the model needs more memory than can be addressed");
    }
    add_number("memory_bytes", measure.used);
    if (measure.used > ARENA_BYTES) {
        return llm_fail(err, "the model needs more than 1 TiB of memory");
    }
    platform.arena_length = measure.used;
    return llm_session_load(&session, &platform, err);
}

static int map_file(int fd, struct llm_weights *file)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || status.st_size <= 0) {
        return -1;
    }
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return -1;
    }
    file->data = data;
    file->length = (size_t)status.st_size;
    return 0;
}

int main(int argc, char **argv)
{
    struct llm_error err = {""};
    size_t count = 0;
    uint64_t context = argc == 2 ? strtoull(argv[1], NULL, 10) : UINT64_MAX;
    if (argc != 2 || context > UINT32_MAX || fcntl(FIRST_FILE, F_GETFD) < 0) {
        fputs("guillotine-model is started by guillotine model, not by hand\n", stderr);
        return 64;
    }
    while (count < GGUF_PARTS_MAX && fcntl(FIRST_FILE + (int)count, F_GETFD) >= 0) {
        if (map_file(FIRST_FILE + (int)count, &weights[count]) != 0) {
            fprintf(stderr, "guillotine-model: file %zu: %s\n", count + 1, strerror(errno));
            return 1;
        }
        count++;
    }
    void *arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED || prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
        fprintf(stderr, "guillotine-model: %s\n", strerror(errno));
        return 1;
    }
    add("{\"format\":\"guillotine-model/1\"");
    add_number("files", count);
    int result = inspect(count, (uint32_t)context, arena, &err);
    add(",\"supported\":%s,\"reason\":", result == 0 ? "true" : "false");
    add_string(err.text, result == 0 ? 0 : strlen(err.text));
    add("}\n");
    end();
}
