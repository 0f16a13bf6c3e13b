// SPDX-License-Identifier: Apache-2.0
// The key of one VM.
#include "vm_key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cleanup.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

bool vm_key_id_is_valid(const char *id)
{
    size_t length = strlen(id);
    // The folder has keys of the installation too.
    return length && length <= VM_KEY_ID_MAX && id[0] != '-' && strcmp(id, "log") != 0 &&
           strcmp(id, "state") != 0 &&
           strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static int check_id(const char *id, struct error *err)
{
    return vm_key_id_is_valid(id)
               ? 0
               : error_set(err, EXIT_STATUS_USAGE, 0, "'%.64s' is neither a UUID nor a name", id);
}

// Opens STATE/keys, making it if asked.
static int open_folder(const char *state_dir, bool make, struct error *err)
{
    char path[PATH_MAX];
    struct stat status;
    if (snprintf(path, sizeof(path), "%s/keys", state_dir) >= (int)sizeof(path))
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", state_dir);
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", path);
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (status.st_uid != geteuid() || (status.st_mode & 077))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: others than this user can enter it: chmod 700", path);
    return steal_fd(&fd);
}

static int write_key(int fd, const uint8_t bytes[VM_KEY_BYTES])
{
    return pwrite(fd, bytes, VM_KEY_BYTES, 0) == VM_KEY_BYTES && fdatasync(fd) == 0 ? 0 : -1;
}

// A fixed second name for a key in the making: what a crash leaves is found again.
static void names(const char *id, char final[VM_KEY_ID_MAX + 16], char fresh[VM_KEY_ID_MAX + 16])
{
    snprintf(final, VM_KEY_ID_MAX + 16, "%s.key", id);
    snprintf(fresh, VM_KEY_ID_MAX + 16, ".%s.key.new", id);
}

int vm_key_make(const char *state_dir, const char *id, struct error *err)
{
    char final[VM_KEY_ID_MAX + 16];
    char fresh[VM_KEY_ID_MAX + 16];
    struct vm_key key;
    if (check_id(id, err) < 0)
        return -1;
    cleanup_fd int folder = open_folder(state_dir, true, err);
    if (folder < 0)
        return -1;
    names(id, final, fresh);
    if (faccessat(folder, final, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    unlinkat(folder, fresh, 0); // never in use: left by a crash
    cleanup_fd int fd =
        openat(folder, fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s/keys/%s", state_dir, fresh);
    sodium_mlock(&key, sizeof(key));
    randombytes_buf(key.bytes, sizeof(key.bytes));
    int result = write_key(fd, key.bytes);
    vm_key_wipe(&key);
    if (result < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "write %s/keys/%s", state_dir, fresh);
    if (syscall(SYS_renameat2, folder, fresh, folder, final, RENAME_NOREPLACE) < 0) {
        if (errno == EEXIST) { // another launch was first
            unlinkat(folder, fresh, 0);
            return 0;
        }
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s/keys/%s", state_dir, final);
    }
    return fsync(folder) < 0
               ? error_set(err, EXIT_STATUS_RESOURCES, errno, "sync %s/keys", state_dir)
               : 1;
}

__attribute__((nonnull(3))) static int read_key(int fd, const char *name, struct vm_key *key,
                                                struct error *err)
{
    struct stat status;
    uint8_t more;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "key %s", name);
    if (!S_ISREG(status.st_mode) || (status.st_mode & 077))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "key %s: not a file that only its owner can read: chmod 600", name);
    sodium_mlock(key, sizeof(*key));
    uint8_t *bytes = key->bytes;
    if (pread(fd, bytes, VM_KEY_BYTES, 0) == VM_KEY_BYTES &&
        pread(fd, &more, 1, VM_KEY_BYTES) == 0 && !sodium_is_zero(key->bytes, VM_KEY_BYTES))
        return 0;
    vm_key_wipe(key);
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "key %s: not %u bytes of a key", name,
                     VM_KEY_BYTES);
}

int vm_key_load(const char *state_dir, const char *id, struct vm_key *key, struct error *err)
{
    char final[VM_KEY_ID_MAX + 16];
    char fresh[VM_KEY_ID_MAX + 16];
    if (check_id(id, err) < 0)
        return -1;
    cleanup_fd int folder = open_folder(state_dir, false, err);
    if (folder < 0)
        return error_wrap(err, "no key of %s (never made, or destroyed)", id);
    names(id, final, fresh);
    cleanup_fd int fd = openat(folder, final, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, EXIT_STATUS_BAD_FILE, ENOENT,
                         "no key of %s in %s/keys (never made, or destroyed)", id, state_dir);
    return read_key(fd, final, key, err);
}

int vm_key_load_file(const char *path, struct vm_key *key, struct error *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return read_key(fd, path, key, err);
}

static int overwrite(int fd, struct error *err)
{
    static const uint8_t zeros[VM_KEY_BYTES];
    uint8_t bytes[VM_KEY_BYTES];
    randombytes_buf(bytes, sizeof(bytes));
    if (write_key(fd, zeros) < 0 || write_key(fd, bytes) < 0 || write_key(fd, zeros) < 0 ||
        fsync(fd) < 0)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "overwrite the key");
    if (pread(fd, bytes, sizeof(bytes), 0) != VM_KEY_BYTES || !sodium_is_zero(bytes, sizeof(bytes)))
        return error_set(err, EXIT_STATUS_FAILURE, 0, "the key does not read back as zeros");
    return 0;
}

// Destroys one name in the folder. Returns 1, 0 if there is none, or -1.
static int destroy_name(int folder, const char *name, struct error *err)
{
    struct stat status;
    cleanup_fd int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : error_set(err, EXIT_STATUS_FAILURE, errno, "key %s", name);
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_FAILURE, 0, "key %s is not a file", name);
    int result = overwrite(fd, err);
    // A name less is better than nothing, even if its bytes could not be overwritten.
    if (unlinkat(folder, name, 0) < 0 || fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "remove key %s", name);
    if (faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "key %s is still there", name);
    if (result == 0 && status.st_nlink > 1)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "key %s had other names (now zeros)", name);
    return result < 0 ? error_wrap(err, "%s", name) : 1;
}

int vm_key_destroy(const char *state_dir, const char *id, struct error *err)
{
    char final[VM_KEY_ID_MAX + 16];
    char fresh[VM_KEY_ID_MAX + 16];
    if (check_id(id, err) < 0)
        return -1;
    cleanup_fd int folder = open_folder(state_dir, false, err);
    if (folder < 0)
        return err && err->code == ENOENT ? 0 : -1;
    names(id, final, fresh);
    int half_made = destroy_name(folder, fresh, err);
    int result = destroy_name(folder, final, err);
    return half_made < 0 ? -1 : result;
}

void vm_key_wipe(struct vm_key *key)
{
    sodium_munlock(key, sizeof(*key)); // clears it as well
}
