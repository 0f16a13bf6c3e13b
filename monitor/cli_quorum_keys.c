// SPDX-License-Identifier: Apache-2.0
// guillotine quorum init, key, rotate: keys and key sets.
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "cli_quorum.h"
#include "hex.h"
#include "key_set_store.h"
#include "paths.h"
#include "vm_state.h"
#include "whole_file.h"

// The thresholds of the paper: three of seven raise, five lower.
#define DEFAULT_KEYS  7
#define DEFAULT_RAISE 3
#define DEFAULT_LOWER 5

// The installation's UUID, made at its first use.
static int load_deployment(const char *state_dir, uint8_t uuid[UUID_BYTES], struct error *err)
{
    struct deployment deployment;
    int result = deployment_open(&deployment, state_dir, err);
    if (result == 0)
        memcpy(uuid, deployment.uuid.bytes, UUID_BYTES);
    deployment_close(&deployment);
    return result;
}

static int add_key(struct key_set_file *file, const struct quorum_key *key, struct error *err)
{
    struct level_key_set *set = &file->set;
    if (set->keys == LEVEL_MAX_KEYS)
        return error_set(err, EXIT_STATUS_USAGE, 0, "a key set has at most %u keys",
                         LEVEL_MAX_KEYS);
    for (uint32_t i = 0; i < set->keys; i++) {
        if (!memcmp(set->key[i], key->public, 32) || !strcmp(file->names[i], key->name))
            return error_set(err, EXIT_STATUS_USAGE, 0, "key %s is in the key set already",
                             key->name);
    }
    memcpy(set->key[set->keys], key->public, 32);
    snprintf(file->names[set->keys], KEY_NAME_SIZE, "%s", key->name);
    set->keys++;
    return 0;
}

static int add_public_keys(struct key_set_file *file, const struct quorum_options *options,
                           struct error *err)
{
    for (unsigned i = 0; i < options->public_count; i++) {
        struct quorum_key key;
        if (quorum_key_load_public(options->publics[i], &key, err) < 0 ||
            add_key(file, &key, err) < 0)
            return -1;
        // One such key makes a set of them.
        file->set.demo |= key.demo;
    }
    return 0;
}

static int finish(struct key_set_file *file, const struct quorum_options *options,
                  struct error *err)
{
    struct level_key_set *set = &file->set;
    if (options->raise)
        set->raise = (uint32_t)options->raise;
    if (options->lower)
        set->lower = (uint32_t)options->lower;
    for (unsigned i = 0; i < options->replica_count; i++) {
        if (file->replica_count == KEY_SET_MAX_REPLICAS ||
            !hex_parse(options->replicas[i], file->replicas[file->replica_count++], 32))
            return error_set(err, EXIT_STATUS_USAGE, 0,
                             "--replica: 64 hexadecimal digits in lower case, at most %u times",
                             KEY_SET_MAX_REPLICAS);
    }
    return level_key_set_is_sound(set)
               ? 0
               : error_set(err, EXIT_STATUS_USAGE, 0,
                           "%u of %u to raise and %u to lower: at least 1, lowering takes no fewer "
                           "than raising, and no more than there are keys",
                           set->raise, set->keys, set->lower);
}

static int sign_key_set(struct key_set_file *file, const struct quorum_key *key, struct error *err)
{
    cleanup_free char *message = NULL;
    size_t length;
    if (key_set_file_message(file, &message, &length, err) < 0)
        return -1;
    quorum_key_sign(key, message, length, &file->list.signatures[file->list.count++]);
    return 0;
}

static int write_key(const char *folder, const struct quorum_key *key,
                     const struct quorum_options *options, struct error *err)
{
    char path[PATH_MAX];
    struct quorum_passphrase passphrase = {.file = options->passphrase.file, .twice = true};
    if (snprintf(path, sizeof(path), "%s/%s.key", folder, key->name) >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", folder);
    if (quorum_key_write(path, key, &passphrase, err) < 0)
        return -1;
    printf("%s\n", path);
    return 0;
}

// Makes all keys here and now.
static int make_keys(struct quorum_key *keys, struct key_set_file *file,
                     const struct quorum_options *options, const char *folder, struct error *err)
{
    unsigned count = options->keys ? (unsigned)options->keys : DEFAULT_KEYS;
    char name[KEY_NAME_SIZE];
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s-%u", options->demo ? "demo" : "admin", i + 1);
        if (quorum_key_make(&keys[i], name, options->demo, err) < 0 ||
            add_key(file, &keys[i], err) < 0)
            return -1;
    }
    if (finish(file, options, err) < 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        if (write_key(folder, &keys[i], options, err) < 0 || sign_key_set(file, &keys[i], err) < 0)
            return -1;
    }
    return 0;
}

static int write_unsigned(const char *path, const struct key_set_file *file, struct error *err)
{
    cleanup_free char *text = NULL;
    if (key_set_file_format(file, &text, err) < 0 ||
        whole_file_write(path, text, strlen(text), 0644, true, err) < 0)
        return -1;
    printf("%s\n", path);
    fprintf(stderr,
            "guillotine: let the administrators sign it (guillotine quorum sign), then: guillotine "
            "quorum rotate --install %s\n",
            path);
    return 0;
}

int quorum_init(const struct quorum_options *options, struct error *err)
{
    char state_dir[PATH_MAX];
    static struct key_set_file file; // large
    static struct key_set_file before;
    struct quorum_key keys[LEVEL_MAX_KEYS] = {0};
    file = (struct key_set_file){
        .set = {.version = 1,
                .raise = DEFAULT_RAISE,
                .lower = DEFAULT_LOWER,
                .demo = options->demo},
    };
    if (paths_state_dir(options->state_dir, state_dir, err) < 0)
        return -1;
    int found = key_set_load(state_dir, &before, err);
    if (found)
        return found < 0
                   ? -1
                   : error_set(err, EXIT_STATUS_USAGE, 0,
                               "%s has a key set already: use guillotine quorum rotate", state_dir);
    if (load_deployment(state_dir, file.set.deployment, err) < 0)
        return -1;
    if (options->public_count)
        return add_public_keys(&file, options, err) < 0 || finish(&file, options, err) < 0
                   ? -1
                   : write_unsigned(options->out ? options->out : "keys.1.json", &file, err);
    const char *folder = options->out ? options->out : ".";
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", folder);
    int result = make_keys(keys, &file, options, folder, err);
    sodium_memzero(keys, sizeof(keys));
    if (result < 0 || key_set_install(state_dir, &file, err) < 0)
        return -1;
    fprintf(stderr,
            "guillotine: %skey set of %u is in force: %u raise, %u lower; give each administrator "
            "one key and keep none\n",
            options->demo ? "a DEMONSTRATION " : "a ", file.set.keys, file.set.raise,
            file.set.lower);
    return 0;
}

int quorum_make_key(const struct quorum_options *options, struct error *err)
{
    struct quorum_key key;
    char pem[QUORUM_PEM_SIZE];
    char public[PATH_MAX];
    const char *path = options->arguments[0];
    const struct quorum_passphrase passphrase = {.file = options->passphrase.file, .twice = true};
    if (!options->name)
        return error_set(err, EXIT_STATUS_USAGE, 0, "key: give the administrator's --name");
    if (snprintf(public, sizeof(public), "%s.pub", path) >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", path);
    if (quorum_key_make(&key, options->name, options->demo, err) < 0)
        return -1;
    int result = quorum_key_write(path, &key, &passphrase, err);
    quorum_key_clear(&key);
    if (result < 0)
        return -1;
    if (quorum_key_write(public, &key, NULL, err) < 0)
        return -1;
    quorum_key_pem(key.public, pem);
    printf("%s", pem);
    return 0;
}

static int remove_keys(struct key_set_file *file, const struct quorum_options *options,
                       struct error *err)
{
    struct level_key_set *set = &file->set;
    for (unsigned i = 0; i < options->removed_count; i++) {
        uint32_t at = 0;
        while (at < set->keys && strcmp(file->names[at], options->removed[i]) != 0)
            at++;
        if (at == set->keys)
            return error_set(err, EXIT_STATUS_USAGE, 0, "--remove %s: no key of that name",
                             options->removed[i]);
        set->keys--;
        memmove(&set->key[at], &set->key[at + 1], (set->keys - at) * sizeof(set->key[0]));
        memmove(&file->names[at], &file->names[at + 1], (set->keys - at) * sizeof(file->names[0]));
        memset(&set->key[set->keys], 0, sizeof(set->key[0]));
        memset(&file->names[set->keys], 0, sizeof(file->names[0]));
    }
    return 0;
}

int quorum_rotate(const struct quorum_options *options, struct error *err)
{
    char state_dir[PATH_MAX];
    char name[48];
    static struct key_set_file file;
    static struct quorum_document document;
    if (paths_state_dir(options->state_dir, state_dir, err) < 0)
        return -1;
    if (options->install != (options->argument_count == 1))
        return error_set(err, EXIT_STATUS_USAGE, 0, "rotate: a FILE goes with --install");
    if (options->install) {
        if (quorum_document_load(options->arguments[0], &document, err) < 0)
            return -1;
        if (document.is_order)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is an order, not a key set",
                             options->arguments[0]);
        return key_set_install(state_dir, &document.key_set, err);
    }
    int found = key_set_load(state_dir, &file, err);
    if (found <= 0)
        return found < 0 ? -1
                         : error_set(err, EXIT_STATUS_USAGE, 0,
                                     "%s has no key set: use guillotine quorum init", state_dir);
    file.set.version++;
    file.list.count = 0;
    if (remove_keys(&file, options, err) < 0)
        return -1;
    // A set stays one for demonstration as long as one of its keys is.
    file.set.demo = file.set.demo && file.set.keys;
    if (add_public_keys(&file, options, err) < 0 || finish(&file, options, err) < 0)
        return -1;
    snprintf(name, sizeof(name), "keys.%llu.json", (unsigned long long)file.set.version);
    return write_unsigned(options->out ? options->out : name, &file, err);
}
