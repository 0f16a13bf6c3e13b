// SPDX-License-Identifier: Apache-2.0
// Key sets on disk.
#include "key_set_store.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "number.h"
#include "sha256.h"
#include "whole_file.h"

// Rotations are rare: a chain this long is nonsense.
#define VERSION_MAX 10000u

// Names a file of the store.
static int name_file(char path[PATH_MAX], const char *state_dir, const char *name,
                     struct error *err)
{
    if (snprintf(path, PATH_MAX, "%s/quorum/%s", state_dir, name) >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", state_dir);
    return 0;
}

static int name_version(char path[PATH_MAX], const char *state_dir, uint64_t version,
                        struct error *err)
{
    char name[48];
    snprintf(name, sizeof(name), "keys.%" PRIu64 ".json", version);
    return name_file(path, state_dir, name, err);
}

static int load_file(const char *path, struct key_set_file *file, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length;
    if (whole_file_read(path, KEY_SET_MAX, &text, &length, err) < 0)
        return -1;
    return key_set_file_parse(path, text, length, file, err);
}

// 0 without a pin.
static int load_pin(const char *state_dir, uint64_t *version, struct error *err)
{
    char path[PATH_MAX];
    cleanup_free char *text = NULL;
    size_t length;
    *version = 0;
    if (name_file(path, state_dir, "highest", err) < 0)
        return -1;
    if (whole_file_read(path, 32, &text, &length, err) < 0)
        return err->code == ENOENT ? 0 : -1;
    if (length && text[length - 1] == '\n')
        text[length - 1] = '\0';
    if (number_parse(text, 1, VERSION_MAX, version, err) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is not the number of a version", path);
    return 0;
}

static int store_pin(const char *state_dir, uint64_t version, struct error *err)
{
    char path[PATH_MAX];
    char text[32];
    int length = snprintf(text, sizeof(text), "%" PRIu64 "\n", version);
    if (name_file(path, state_dir, "highest", err) < 0)
        return -1;
    return whole_file_write(path, text, (size_t)length, 0600, false, err);
}

int key_set_pin_make(const struct key_set_file *file, struct key_set_pin *pin, struct error *err)
{
    cleanup_free char *message = NULL;
    size_t length;
    *pin = (struct key_set_pin){.version = file->set.version};
    if (!pin->version)
        return 0;
    if (key_set_file_message(file, &message, &length, err) < 0)
        return -1;
    const struct sha256_piece piece = {message, length};
    sha256_pieces(&piece, 1, pin->sha256);
    return 0;
}

static int was_in_force(const char *state_dir, uint64_t version, struct error *err)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                     "a key set of version %" PRIu64 " was in force, and is not there any more: "
                     "restore %s/quorum",
                     version, state_dir);
}

// Anybody can make a chain of sets of their own: this one leads through the set that was in force.
static int check_pin(const char *state_dir, const struct key_set_pin *pin,
                     const struct key_set_file *file, struct error *err)
{
    struct key_set_pin own;
    if (file->set.version != pin->version)
        return 0;
    if (key_set_pin_make(file, &own, err) < 0)
        return -1;
    return memcmp(own.sha256, pin->sha256, sizeof(own.sha256)) != 0
               ? was_in_force(state_dir, pin->version, err)
               : 0;
}

// Verifies versions 1 to `last`, each by the one before it; *file is the last one then.
static int verify_chain(const char *state_dir, const struct key_set_pin *pin, uint64_t last,
                        struct key_set_file *file, struct error *err)
{
    cleanup_free struct key_set_file *pair = calloc(2, sizeof(*pair));
    char path[PATH_MAX];
    if (!pair)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "key sets");
    for (uint64_t version = 1; version <= last; version++) {
        struct key_set_file *now = &pair[version & 1];
        const struct key_set_file *before = version > 1 ? &pair[~version & 1] : NULL;
        if (name_version(path, state_dir, version, err) < 0 || load_file(path, now, err) < 0 ||
            key_set_file_check(path, before, now, err) < 0 ||
            check_pin(state_dir, pin, now, err) < 0)
            return -1;
    }
    *file = pair[last & 1];
    return 0;
}

int key_set_store_load(const char *state_dir, const struct key_set_pin *known,
                       struct key_set_file *file, struct error *err)
{
    char path[PATH_MAX];
    cleanup_free struct key_set_file *current = calloc(1, sizeof(*current));
    uint64_t pin;
    if (!current)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "key sets");
    if (load_pin(state_dir, &pin, err) < 0 || name_file(path, state_dir, "keys.json", err) < 0)
        return -1;
    if (load_file(path, current, err) < 0) {
        if (err->code != ENOENT)
            return -1;
        if (known->version > pin)
            return was_in_force(state_dir, known->version, err);
        return pin ? error_set(err, EXIT_STATUS_BAD_FILE, 0,
                               "%s is missing, but version %" PRIu64 " was in force: restore it",
                               path, pin)
                   : 0;
    }
    if (current->set.version < pin)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s is version %" PRIu64 ", but version %" PRIu64
                         " was in force: a rollback; restore the newer one",
                         path, current->set.version, pin);
    if (current->set.version < known->version)
        return was_in_force(state_dir, known->version, err);
    if (current->set.version > VERSION_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: versions end at %u", path, VERSION_MAX);
    if (verify_chain(state_dir, known, current->set.version, file, err) < 0)
        return -1;
    // The chain vouches for its own last file: the one in force must be the same.
    if (memcmp(file, current, sizeof(*file)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s is not the same as keys.%" PRIu64 ".json", path, current->set.version);
    if (current->set.version > pin && store_pin(state_dir, current->set.version, err) < 0)
        return -1;
    return 1;
}

static int make_folder(const char *state_dir, struct error *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/quorum", state_dir) >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", path);
    return 0;
}

int key_set_store_install(const char *state_dir, const struct key_set_pin *pin,
                          const struct key_set_file *file, struct error *err)
{
    cleanup_free struct key_set_file *before = calloc(1, sizeof(*before));
    cleanup_free char *text = NULL;
    char versioned[PATH_MAX];
    char current[PATH_MAX];
    if (!before)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "key sets");
    int found = key_set_store_load(state_dir, pin, before, err);
    if (found < 0 || key_set_file_check("the new key set", found ? before : NULL, file, err) < 0 ||
        make_folder(state_dir, err) < 0 ||
        name_version(versioned, state_dir, file->set.version, err) < 0 ||
        name_file(current, state_dir, "keys.json", err) < 0 ||
        key_set_file_format(file, &text, err) < 0)
        return -1;
    // In this order: the version that is in force is always complete, and the pin follows it.
    if (whole_file_write(versioned, text, strlen(text), 0600, false, err) < 0 ||
        whole_file_write(current, text, strlen(text), 0600, false, err) < 0)
        return -1;
    return store_pin(state_dir, file->set.version, err);
}
