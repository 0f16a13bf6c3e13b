// SPDX-License-Identifier: Apache-2.0
// Identity and key of an installation, made at first use.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "vm_state.h"

#define DEPLOYMENT_FORMAT "guillotine-deployment/1 "
#define KEY_FORMAT        "guillotine-state-key/1\n"

// Creates a file with this content unless it exists; whole or not at all, durable.
static int make_once(int folder, const char *name, const void *data, size_t length,
                     struct error *err)
{
    char fresh[64];
    snprintf(fresh, sizeof(fresh), "%s.%d", name, getpid());
    cleanup_fd int fd =
        openat(folder, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool made = fd >= 0 && write(fd, data, length) == (ssize_t)length && fsync(fd) == 0 &&
                (linkat(folder, fresh, folder, name, 0) == 0 || errno == EEXIST);
    int code = errno;
    if (fd >= 0)
        unlinkat(folder, fresh, 0);
    if (!made || fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, made ? errno : code,
                         "state directory: create %s", name);
    return 0;
}

// Reads a file of exactly `length` bytes. Returns 0, 1 if there is none, or -1.
static int read_exactly(int folder, const char *name, mode_t forbidden, void *data, size_t length,
                        struct error *err)
{
    uint8_t more;
    struct stat status;
    cleanup_fd int fd =
        openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 1;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "state directory: %s", name);
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & forbidden))
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "state directory: %s is not a file of mode %o that this user owns", name,
                         0666u & ~forbidden);
    if (read(fd, data, length) != (ssize_t)length || read(fd, &more, 1) != 0)
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "state directory: %s is damaged: restore it from a backup", name);
    return 0;
}

static int load_identity(struct deployment *deployment, struct error *err)
{
    char text[sizeof(DEPLOYMENT_FORMAT) - 1 + UUID_TEXT_SIZE];
    const size_t head = sizeof(DEPLOYMENT_FORMAT) - 1;
    int result = read_exactly(deployment->folder, "deployment", 022, text, sizeof(text), err);
    if (result > 0) {
        if (uuid_make(&deployment->uuid, err) < 0)
            return -1;
        memcpy(text, DEPLOYMENT_FORMAT, head);
        uuid_format(&deployment->uuid, text + head);
        text[sizeof(text) - 1] = '\n';
        if (make_once(deployment->folder, "deployment", text, sizeof(text), err) < 0)
            return -1;
        // Another process may have been first.
        result = read_exactly(deployment->folder, "deployment", 022, text, sizeof(text), err);
    }
    if (result)
        return -1;
    bool whole = text[sizeof(text) - 1] == '\n' && !memcmp(text, DEPLOYMENT_FORMAT, head);
    text[sizeof(text) - 1] = '\0';
    if (!whole || !uuid_parse(text + head, &deployment->uuid))
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "state directory: deployment is damaged: restore it from a backup");
    uuid_format(&deployment->uuid, deployment->text);
    return 0;
}

static int load_key(struct deployment *deployment, struct error *err)
{
    uint8_t data[sizeof(KEY_FORMAT) - 1 + STATE_KEY_BYTES];
    const size_t head = sizeof(KEY_FORMAT) - 1;
    cleanup_fd int folder = openat(deployment->folder, "keys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "state directory: keys");
    int result = read_exactly(folder, "state.key", 077, data, sizeof(data), err);
    if (result > 0) {
        memcpy(data, KEY_FORMAT, head);
        if (getrandom(data + head, STATE_KEY_BYTES, 0) != (ssize_t)STATE_KEY_BYTES)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "getrandom");
        if (make_once(folder, "state.key", data, sizeof(data), err) < 0)
            return -1;
        result = read_exactly(folder, "state.key", 077, data, sizeof(data), err);
    }
    if (result)
        return -1;
    if (memcmp(data, KEY_FORMAT, head))
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "state directory: keys/state.key is damaged: restore it from a backup");
    memcpy(deployment->key, data + head, STATE_KEY_BYTES);
    return 0;
}

static int make_folder(int folder, const char *name, struct error *err)
{
    struct stat status;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0 &&
        ((mkdirat(folder, name, 0700) < 0 && errno != EEXIST) ||
         fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0))
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "state directory: create %s", name);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022))
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "state directory: %s is not a directory that only this user can write",
                         name);
    return 0;
}

int deployment_open(struct deployment *deployment, const char *state_dir, struct error *err)
{
    *deployment = (struct deployment){.folder = -1};
    deployment->folder = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (deployment->folder < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "state directory %s", state_dir);
    if (make_folder(deployment->folder, "vms", err) < 0 ||
        make_folder(deployment->folder, "keys", err) < 0 || load_identity(deployment, err) < 0 ||
        load_key(deployment, err) < 0)
        return -1;
    // In doubt there is one: that is the stricter side.
    deployment->has_key_set =
        faccessat(deployment->folder, "quorum/keys.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
        (errno != ENOENT && errno != ENOTDIR);
    return 0;
}

void deployment_close(struct deployment *deployment)
{
    if (deployment->folder >= 0)
        close(deployment->folder);
    *deployment = (struct deployment){.folder = -1};
}
