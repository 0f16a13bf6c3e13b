// SPDX-License-Identifier: Apache-2.0
// guillotine audit verify and prove: is the log what was signed?
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_audit.h"
#include "log_key.h"
#include "number.h"
#include "paths.h"
#include "signed_note.h"

struct verify_options {
    const char *path;
    const char *key;
    const char *checkpoint;
    const char *state_dir;
    bool json;
    uint64_t record; // to prove, or UINT64_MAX
    uint64_t from;   // same
};

struct verification {
    struct note_key key;
    char text[NOTE_MAX_BYTES]; // of the checkpoint
    size_t length;
    bool has_checkpoint;
    bool met; // the checkpoint's root is that of the records
    struct checkpoint checkpoint;
    uint64_t proven; // records
    struct audit_record last;
    // For proofs.
    struct merkle_hash *leaves;
    uint64_t room;
};

static int read_key(const struct verify_options *options, struct note_key *key, struct error *err)
{
    char state_dir[PATH_MAX];
    char path[PATH_MAX];
    if (options->key && strchr(options->key, '+'))
        return note_key_parse(key, options->key, err) < 0 ? error_wrap(err, "--key") : 0;
    if (options->key)
        return log_key_read_public(options->key, key, err);
    if (paths_state_dir(options->state_dir, state_dir, err) < 0 ||
        paths_join(path, state_dir, "keys/log.pub", err) < 0)
        return -1;
    return log_key_read_public(path, key, err);
}

static int read_checkpoint(const struct verify_options *options, struct verification *v,
                           struct error *err)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s%s",
                          options->checkpoint ? options->checkpoint : options->path,
                          options->checkpoint ? "" : ".checkpoint");
    if (length >= (int)sizeof(path))
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", options->path);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT && !options->checkpoint)
        return 0;
    ssize_t n = fd < 0 ? -1 : pread(fd, v->text, sizeof(v->text), 0);
    if (n < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "checkpoint %s", path);
    v->length = (size_t)n;
    if (checkpoint_open(&v->checkpoint, v->text, v->length, &v->key, err) < 0)
        return error_wrap(err, "checkpoint %s", path);
    v->has_checkpoint = true;
    return 0;
}

// A seal's every byte is determined by what is before it, and by the signature.
static int check_seal(struct verification *v, const struct audit_scan *scan,
                      const struct audit_record_data *record, struct error *err)
{
    struct checkpoint sealed;
    const struct audit_record *r = &record->record;
    const uint64_t index = scan->tree.size - 1;
    const struct audit_record expected = {
        .size = audit_record_size(r->length),
        .type = AUDIT_SEAL,
        .port = AUDIT_NO_PORT,
        .sequence = index,
        .now_ns = v->last.now_ns,
        .wall_ns = v->last.wall_ns,
        .length = r->length,
        .source = AUDIT_SOURCE_RECORDER,
    };
    if (r->length > AUDIT_DATA_MAX || memcmp(r, &expected, sizeof(expected)) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "record %" PRIu64 ": not a seal", index);
    for (uint32_t i = r->length; i < r->size - sizeof(*r); i++) {
        if (record->data[i])
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "record %" PRIu64 ": not a seal", index);
    }
    if (checkpoint_open(&sealed, (const char *)record->data, r->length, &v->key, err) < 0)
        return error_wrap(err, "seal, record %" PRIu64, index);
    if (sealed.size != index || memcmp(&sealed.root, &scan->root_before, sizeof(sealed.root)) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "records %" PRIu64 " to %" PRIu64
                         ": one of them is not what was signed by the seal behind them",
                         v->proven, index - 1);
    if (v->has_checkpoint && strcmp(sealed.origin, v->checkpoint.origin) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "record %" PRIu64 ": the seal of another VM's log", index);
    v->proven = scan->tree.size;
    return 0;
}

static int check_root(struct verification *v, const struct merkle_tree *tree, struct error *err)
{
    struct merkle_hash root;
    if (!v->has_checkpoint || tree->size != v->checkpoint.size)
        return 0;
    merkle_tree_root(tree, &root);
    if (memcmp(&root, &v->checkpoint.root, sizeof(root)) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "records %" PRIu64 " to %" PRIu64
                         ": one of them is not what was signed by the checkpoint",
                         v->proven, tree->size ? tree->size - 1 : 0);
    v->met = true;
    if (tree->size > v->proven)
        v->proven = tree->size;
    return 0;
}

static int keep_leaf(struct verification *v, uint64_t index, const struct merkle_hash *leaf,
                     struct error *err)
{
    if (index == v->room) {
        uint64_t room = v->room ? v->room * 2 : 4096;
        struct merkle_hash *grown = reallocarray(v->leaves, room, sizeof(*grown));
        if (!grown)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "proof");
        v->leaves = grown;
        v->room = room;
    }
    v->leaves[index] = *leaf;
    return 0;
}

static int take(void *context, const struct audit_scan *scan,
                const struct audit_record_data *record, const struct merkle_hash *leaf,
                struct error *err)
{
    struct verification *v = context;
    if (record->record.type == AUDIT_SEAL && check_seal(v, scan, record, err) < 0)
        return -1;
    v->last = record->record;
    if (v->leaves && keep_leaf(v, scan->tree.size - 1, leaf, err) < 0)
        return -1;
    return check_root(v, &scan->tree, err);
}

static int verify(const struct verify_options *options, struct verification *v,
                  struct audit_scan *scan, struct error *err)
{
    cleanup_fd int folder = -1;
    if (read_key(options, &v->key, err) < 0 || read_checkpoint(options, v, err) < 0 ||
        cli_audit_open(scan, &folder, options->path, err) < 0)
        return -1;
    int result = check_root(v, &scan->tree, err);
    if (result == 0)
        result = audit_scan_run(scan, take, v, err);
    audit_scan_close(scan);
    if (result < 0)
        return -1;
    if (v->has_checkpoint && !v->met)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "truncated: the checkpoint covers %" PRIu64
                         " records, the log has only %" PRIu64,
                         v->checkpoint.size, scan->tree.size);
    if (v->proven < scan->tree.size || (!v->has_checkpoint && !v->proven))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "tail unproven: no checkpoint covers records %" PRIu64 " to %" PRIu64
                         "; everything before is as it was signed",
                         v->proven, scan->tree.size ? scan->tree.size - 1 : 0);
    return 0;
}

static int parse(int argc, char **argv, struct verify_options *options, struct error *err)
{
    *options = (struct verify_options){.record = UINT64_MAX, .from = UINT64_MAX};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        int result = 0;
        if (argv[i][0] != '-' && !options->path) {
            options->path = argv[i];
            continue;
        }
        if (!strcmp(argv[i], "--json")) {
            options->json = true;
            continue;
        }
        if (value && !strcmp(argv[i], "--key"))
            options->key = value;
        else if (value && !strcmp(argv[i], "--checkpoint"))
            options->checkpoint = value;
        else if (value && !strcmp(argv[i], "--state-dir"))
            options->state_dir = value;
        else if (value && !strcmp(argv[i], "--record"))
            result = number_parse(value, 0, UINT64_MAX - 1, &options->record, err);
        else if (value && !strcmp(argv[i], "--from"))
            result = number_parse(value, 1, UINT64_MAX - 1, &options->from, err);
        else
            result = error_set(err, EXIT_STATUS_USAGE, 0, "unexpected argument %s", argv[i]);
        if (result < 0)
            return -1;
        i++;
    }
    return options->path ? 0 : error_set(err, EXIT_STATUS_USAGE, 0, "give one audit log");
}

static void print_json_text(const char *text, size_t length)
{
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            printf("\\n");
        else if (text[i] == '"' || text[i] == '\\')
            printf("\\%c", text[i]);
        else
            putchar(text[i]);
    }
    putchar('"');
}

int cli_audit_verify(int argc, char **argv)
{
    static struct audit_scan scan; // large
    struct verify_options options;
    struct verification v = {0};
    struct error err;
    if (parse(argc, argv, &options, &err) < 0)
        return cli_usage("audit", "%s", err.text);
    if (verify(&options, &v, &scan, &err) < 0) {
        if (options.json) {
            printf("{\"verified\":false,\"proven_records\":%" PRIu64 "}\n", v.proven);
        }
        return cli_fail(&err);
    }
    const char *by =
        v.has_checkpoint && v.checkpoint.size == scan.tree.size ? "checkpoint" : "seal";
    if (options.json)
        printf("{\"verified\":true,\"records\":%" PRIu64 ",\"files\":%" PRIu64
               ",\"sealed\":%s,\"proven_by\":\"%s\",\"key\":\"%s\"}\n",
               scan.tree.size, scan.index + 1, v.last.type == AUDIT_SEAL ? "true" : "false", by,
               v.key.name);
    else
        printf("%" PRIu64 " records in %" PRIu64 " file(s) are as they were signed by %s (%s)%s\n",
               scan.tree.size, scan.index + 1, v.key.name, by,
               v.last.type == AUDIT_SEAL ? "; the log is sealed" : "; the log is not sealed");
    return EXIT_STATUS_OK;
}

static void print_hash(const struct merkle_hash *hash)
{
    putchar('"');
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        printf("%02x", hash->bytes[i]);
    putchar('"');
}

static void print_path(const struct merkle_hash *path, unsigned length)
{
    printf("\"path\":[");
    for (unsigned i = 0; i < length; i++) {
        printf(i ? "," : "");
        print_hash(&path[i]);
    }
    printf("],\"checkpoint\":");
}

static void print_proof(const struct verify_options *options, const struct verification *v)
{
    struct merkle_hash path[MERKLE_MAX_PROOF];
    uint64_t size = v->checkpoint.size;
    if (options->record != UINT64_MAX) {
        unsigned length = merkle_inclusion(v->leaves, size, options->record, path);
        printf("{\"leaf_index\":%" PRIu64 ",\"tree_size\":%" PRIu64 ",\"leaf_hash\":",
               options->record, size);
        print_hash(&v->leaves[options->record]);
        printf(",");
        print_path(path, length);
    } else {
        struct merkle_hash root;
        unsigned length = merkle_consistency(v->leaves, size, options->from, path);
        merkle_root_of(v->leaves, options->from, &root);
        printf("{\"from_size\":%" PRIu64 ",\"tree_size\":%" PRIu64 ",\"from_root\":", options->from,
               size);
        print_hash(&root);
        printf(",");
        print_path(path, length);
    }
    print_json_text(v->text, v->length);
    printf("}\n");
}

static int prove(const struct verify_options *options, struct verification *v, struct error *err)
{
    static struct audit_scan scan; // large
    if (verify(options, v, &scan, err) < 0)
        return -1;
    if (!v->has_checkpoint)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "a proof needs a checkpoint");
    if (options->record != UINT64_MAX && options->record >= v->checkpoint.size)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "record %" PRIu64 " is not covered",
                         options->record);
    if (options->from != UINT64_MAX && options->from > v->checkpoint.size)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "the checkpoint has %" PRIu64 " records",
                         v->checkpoint.size);
    print_proof(options, v);
    return 0;
}

int cli_audit_prove(int argc, char **argv)
{
    struct verify_options options;
    struct verification v = {.room = 4096};
    struct error err;
    if (parse(argc, argv, &options, &err) < 0)
        return cli_usage("audit", "%s", err.text);
    if ((options.record == UINT64_MAX) == (options.from == UINT64_MAX))
        return cli_usage("audit", "prove either --record N or --from SIZE");
    v.leaves = malloc(v.room * sizeof(*v.leaves));
    int result = v.leaves ? prove(&options, &v, &err)
                          : error_set(&err, EXIT_STATUS_RESOURCES, ENOMEM, "proof");
    free(v.leaves);
    return result < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}
