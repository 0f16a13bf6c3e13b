// SPDX-License-Identifier: Apache-2.0
// The key that signs checkpoints.
#include "log_key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

// Writes a file that did not exist, whole and durable, or not at all.
static int write_new(int folder, const char *name, const char *text, mode_t mode, struct error *err)
{
    char temporary[64];
    snprintf(temporary, sizeof(temporary), "%s.%d.new", name, (int)getpid());
    unlinkat(folder, temporary, 0);
    cleanup_fd int fd =
        openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create keys/%s", name);
    ssize_t length = (ssize_t)strlen(text);
    int failed = write(fd, text, (size_t)length) != length || fsync(fd) < 0;
    // link, unlike rename, never replaces a key that somebody else made meanwhile.
    if (!failed && linkat(folder, temporary, folder, name, 0) < 0 && errno != EEXIST)
        failed = 1;
    int code = errno;
    unlinkat(folder, temporary, 0);
    if (failed || fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, code, "write keys/%s", name);
    return 0;
}

// note_secret_format and note_key_format leave room for it.
static void end_line(char text[NOTE_VKEY_SIZE + 1])
{
    size_t length = strlen(text);
    text[length] = '\n';
    text[length + 1] = '\0';
}

static int make_key(int folder, struct error *err)
{
    uint8_t seed[NOTE_SEED_BYTES];
    struct note_secret secret;
    char text[NOTE_VKEY_SIZE + 1];
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "getrandom");
    note_secret_make(&secret, seed);
    note_secret_format(&secret, text);
    end_line(text);
    int result = write_new(folder, "log.key", text, 0600, err);
    sodium_memzero(seed, sizeof(seed));
    sodium_memzero(&secret, sizeof(secret));
    sodium_memzero(text, sizeof(text));
    return result;
}

// Reads one line of at most `size` bytes with its end.
static int read_line(int fd, char *text, size_t size, struct error *err)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    if (n < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "read key");
    text[n] = '\0';
    char *newline = strchr(text, '\n');
    if (!newline || newline[1] || strlen(text) != (size_t)n)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "a key file has one line");
    *newline = '\0';
    return 0;
}

int log_key_read(int fd, struct note_secret *secret, struct error *err)
{
    char text[NOTE_VKEY_SIZE + 1];
    int result = read_line(fd, text, sizeof(text), err);
    if (result == 0)
        result = note_secret_parse(secret, text, err);
    sodium_memzero(text, sizeof(text));
    return result < 0 ? error_wrap(err, "keys/log.key") : 0;
}

int log_key_read_public(const char *path, struct note_key *key, struct error *err)
{
    char text[NOTE_VKEY_SIZE + 1];
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "key %s", path);
    if (read_line(fd, text, sizeof(text), err) < 0 || note_key_parse(key, text, err) < 0)
        return error_wrap(err, "key %s", path);
    return 0;
}

static int write_public(int folder, int key, struct error *err)
{
    struct note_secret secret;
    char text[NOTE_VKEY_SIZE + 1];
    if (log_key_read(key, &secret, err) < 0)
        return -1;
    note_key_format(&secret.key, text);
    end_line(text);
    sodium_memzero(&secret, sizeof(secret));
    return write_new(folder, "log.pub", text, 0644, err);
}

int log_key_open(const char *state_dir, struct error *err)
{
    struct stat status;
    cleanup_fd int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", state_dir);
    if (mkdirat(state, "keys", 0700) == 0)
        fsync(state);
    cleanup_fd int folder = openat(state, "keys", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s/keys", state_dir);
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    cleanup_fd int key = openat(folder, "log.key", flags);
    if (key < 0 && errno == ENOENT) {
        if (make_key(folder, err) < 0)
            return -1;
        key = openat(folder, "log.key", flags);
    }
    if (key < 0 || fstat(key, &status) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s/keys/log.key", state_dir);
    if (!S_ISREG(status.st_mode) || (status.st_mode & 077) || status.st_uid != geteuid())
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s/keys/log.key must be a file of this user that nobody else can read: "
                         "chmod 600",
                         state_dir);
    if (faccessat(folder, "log.pub", F_OK, 0) < 0 && write_public(folder, key, err) < 0)
        return -1;
    return steal_fd(&key);
}
