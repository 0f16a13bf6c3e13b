// SPDX-License-Identifier: Apache-2.0
// guillotine model: looks at model files.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "digest.h"
#include "hex.h"
#include "model_inspect.h"
#include "number.h"
#include "paths.h"
#include "weights_parts.h"

struct model_options {
    const char *context;
    const char *state_dir;
    bool json;
    bool help;
};

static int help(void)
{
    printf("Usage: guillotine model inspect [--json] [--context N] FILE.gguf\n"
           "\n"
           "Says what a model file is and whether a cell can run it: architecture, tensor types,\n"
           "tokenizer, chat template, context, the memory that it needs besides its weights, and\n"
           "the SHA-256 of its files. Of a split model give the first file.\n"
           "\n"
           "The file is read by a program of its own that the kernel lets read, write and exit,\n"
           "and nothing else.\n"
           "\n"
           "Options:\n"
           "  --context N   the memory for this many tokens (default: as a cell takes it)\n"
           "  --json        one object\n"
           "  --state-dir DIR   where digests are kept, as of `guillotine run`\n"
           "\n"
           "Exit status: 0, or 65 if the model is not supported or the file is malformed.\n"
           "\n"
           "Examples:\n"
           "  guillotine model inspect model.gguf\n"
           "  guillotine model inspect --json --context 8192 model.gguf | jq .memory_bytes\n");
    return EXIT_STATUS_OK;
}

static void print_size(const char *label, uint64_t bytes)
{
    if (bytes >= 1ull << 30)
        printf("%-16s %.1f GiB\n", label, (double)bytes / (double)(1ull << 30));
    else
        printf("%-16s %.1f MiB\n", label, (double)bytes / (double)(1ull << 20));
}

static void print_table(const char *path, const struct model_description *model)
{
    printf("%-16s %s\n", "file", path);
    if (model->files > 1)
        printf("%-16s %" PRIu64 "\n", "files", model->files);
    printf("%-16s %s\n", "supported", model->supported ? "yes" : "no");
    if (!model->supported)
        printf("%-16s %s\n", "reason", model->reason);
    if (model->name[0])
        printf("%-16s %s\n", "name", model->name);
    if (model->architecture[0])
        printf("%-16s %s\n", "architecture", model->architecture);
    printf("%-16s %.1f million\n", "parameters", (double)model->parameters / 1e6);
    for (size_t i = 0; i < model->type_count; i++) {
        const struct model_type_count *type = &model->types[i];
        printf("%-16s %s: %" PRIu64 " tensors, %.1f MiB\n", i ? "" : "tensor types", type->type,
               type->tensors, (double)type->bytes / (double)(1ull << 20));
    }
    if (model->tokenizer[0])
        printf("%-16s %s%s%s\n", "tokenizer", model->tokenizer, model->pre_tokenizer[0] ? ", " : "",
               model->pre_tokenizer);
    if (model->chat_template[0])
        printf("%-16s %s\n", "chat template", model->chat_template);
    if (model->context) {
        printf("%-16s %" PRIu64 " layers of %" PRIu64 ", feed-forward %" PRIu64
               ", vocabulary %" PRIu64 "\n",
               "shape", model->layers, model->embedding, model->feed_forward, model->vocabulary);
        printf("%-16s %" PRIu64 " of %" PRIu64 ", for %" PRIu64 " of keys and values\n", "heads",
               model->heads, model->head_size, model->key_value_heads);
        printf("%-16s %" PRIu64 " tokens of %" PRIu64 "\n", "context", model->context,
               model->context_trained);
    }
    print_size("weights", model->tensor_bytes);
    if (model->memory_bytes)
        print_size("memory besides", model->memory_bytes);
}

static void add(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_int64((int64_t)value));
}

static struct json_object *describe(const char *path, const struct model_description *model)
{
    struct json_object *object = json_object_new_object();
    struct json_object *types = json_object_new_array();
    const struct {
        const char *key;
        const char *text;
    } texts[] = {
        {"file", path},
        {"reason", model->reason},
        {"name", model->name},
        {"architecture", model->architecture},
        {"tokenizer", model->tokenizer},
        {"pre_tokenizer", model->pre_tokenizer},
        {"chat_template", model->chat_template},
    };
    json_object_object_add(object, "format", json_object_new_string("guillotine-model/1"));
    json_object_object_add(object, "supported", json_object_new_boolean(model->supported));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        json_object_object_add(object, texts[i].key, json_object_new_string(texts[i].text));
    for (size_t i = 0; i < model->type_count; i++) {
        struct json_object *type = json_object_new_object();
        json_object_object_add(type, "type", json_object_new_string(model->types[i].type));
        add(type, "tensors", model->types[i].tensors);
        add(type, "bytes", model->types[i].bytes);
        json_object_array_add(types, type);
    }
    json_object_object_add(object, "types", types);
    add(object, "files", model->files);
    add(object, "parameters", model->parameters);
    add(object, "tensor_bytes", model->tensor_bytes);
    add(object, "bytes_per_token", model->bytes_per_token);
    add(object, "vocabulary", model->vocabulary);
    add(object, "layers", model->layers);
    add(object, "embedding", model->embedding);
    add(object, "feed_forward", model->feed_forward);
    add(object, "heads", model->heads);
    add(object, "key_value_heads", model->key_value_heads);
    add(object, "head_size", model->head_size);
    add(object, "context_trained", model->context_trained);
    add(object, "context", model->context);
    add(object, "memory_bytes", model->memory_bytes);
    return object;
}

// The SHA-256 of each file, as the audit log and the register have it. The state directory keeps
// them, so that the first launch does not compute them again.
static int add_digests(const char *path, uint64_t files, const struct deployment *deployment,
                       struct json_object *digests, struct error *err)
{
    for (unsigned i = 0; i < files; i++) {
        cleanup_free char *name = i ? weights_parts_path(path, i + 1) : strdup(path);
        char text[2 * DIGEST_BYTES + 1];
        struct file_digest digest;
        cleanup_fd int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
        if (file_digest_get(&digest, deployment, fd, name, err) < 0)
            return -1;
        hex_format(text, digest.sha256, DIGEST_BYTES);
        json_object_array_add(digests, json_object_new_string(text));
    }
    return 0;
}

static int find_digests(const char *path, uint64_t files, const char *state_dir,
                        struct json_object *digests, struct error *err)
{
    struct deployment deployment;
    char folder[PATH_MAX];
    if (paths_state_dir(state_dir, folder, err) < 0 ||
        deployment_open(&deployment, folder, err) < 0)
        return -1;
    int result = add_digests(path, files, &deployment, digests, err);
    deployment_close(&deployment);
    return result;
}

static int inspect(const char *path, const struct model_options *options)
{
    static struct model_description model; // large
    struct error err = {0};
    uint64_t context = 0;
    if (options->context && number_parse(options->context, 1, UINT32_MAX, &context, &err) < 0)
        return cli_usage("model", "--context: %s", err.text);
    if (model_inspect(path, (uint32_t)context, &model, &err) < 0)
        return cli_fail(&err);
    struct json_object *digests = json_object_new_array();
    int result = find_digests(path, model.files, options->state_dir, digests, &err);
    if (result == 0 && options->json) {
        struct json_object *object = describe(path, &model);
        json_object_object_add(object, "sha256", json_object_get(digests));
        printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(object);
    } else if (result == 0) {
        print_table(path, &model);
        for (size_t i = 0; i < json_object_array_length(digests); i++)
            printf("%-16s %s\n", i ? "" : "sha256",
                   json_object_get_string(json_object_array_get_idx(digests, i)));
    }
    json_object_put(digests);
    if (result < 0)
        return cli_fail(&err);
    return model.supported ? EXIT_STATUS_OK : EXIT_STATUS_BAD_FILE;
}

int cli_model(int argc, char **argv)
{
    struct model_options options = {0};
    const struct cli_option table[] = {
        {"context", &options.context, NULL},
        {"state-dir", &options.state_dir, NULL},
        {"json", NULL, &options.json},
    };
    int usage = cli_options_take("model", argc, argv, table, 3, &options.help);
    if (usage)
        return usage;
    if (options.help)
        return help();
    if (argc - optind != 2 || strcmp(argv[optind], "inspect") != 0)
        return cli_usage("model", "give inspect and a file");
    return inspect(argv[optind + 1], &options);
}
