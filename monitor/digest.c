// SPDX-License-Identifier: Apache-2.0
// SHA-256 of images and weights.
#include "digest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <sodium/crypto_generichash_blake2b.h>
#include <sodium/crypto_hash_sha256.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "escape.h"
#include "paths.h"
#include "spawn.h"

#define DIGEST_FORMAT "guillotine-digests/1"

// The cache is a table of sets: a file's set follows from its inode, within a set the oldest entry
// goes. Entries are never synced: a lost or torn one is computed again.
#define SETS       1024u
#define SET_SLOTS  4u
#define SETTLED_NS NS_PER_S

// Up to this size the work is done here: starting a program would take longer.
#define INLINE_BYTES   (1u << 20)
#define PROGRESS_BYTES (256u << 20)

struct digest_key {
    uint64_t device;
    uint64_t inode;
    uint64_t bytes;
    int64_t mtime_s;
    int64_t mtime_ns;
    int64_t ctime_s;
    int64_t ctime_ns;
    uint8_t verity[DIGEST_BYTES]; // zero: none
};

struct digest_slot {
    char format[24];
    uint64_t stored_wall_ns;
    struct digest_key key;
    uint8_t sha256[DIGEST_BYTES];
    uint8_t reserved[40];
    uint8_t checksum[32];
};
_Static_assert(sizeof(struct digest_slot) == 224 && SETS, "format");

static void seal(const struct digest_slot *slot, const uint8_t *key, uint8_t checksum[32])
{
    crypto_generichash_blake2b(checksum, 32, (const uint8_t *)slot,
                               offsetof(struct digest_slot, checksum), key, STATE_KEY_BYTES);
}

static int read_key(int fd, struct digest_key *key, struct error *err)
{
    struct stat status;
    union {
        struct fsverity_digest head;
        uint8_t bytes[sizeof(struct fsverity_digest) + 64];
    } verity = {.head.digest_size = 64};
    memset(key, 0, sizeof(*key));
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "fstat");
    key->device = status.st_dev;
    key->inode = status.st_ino;
    key->bytes = (uint64_t)status.st_size;
    key->mtime_s = status.st_mtim.tv_sec;
    key->mtime_ns = status.st_mtim.tv_nsec;
    key->ctime_s = status.st_ctim.tv_sec;
    key->ctime_ns = status.st_ctim.tv_nsec;
    if (ioctl(fd, (int)FS_IOC_MEASURE_VERITY, &verity.head) == 0 &&
        verity.head.digest_algorithm == FS_VERITY_HASH_ALG_SHA256 &&
        verity.head.digest_size == DIGEST_BYTES)
        memcpy(key->verity, verity.head.digest, DIGEST_BYTES);
    return 0;
}

static off_t set_offset(const struct digest_key *key)
{
    uint64_t mixed = (key->inode ^ key->device << 40) * 0x9e3779b97f4a7c15ull;
    return (off_t)((mixed >> 32) % SETS * SET_SLOTS * sizeof(struct digest_slot));
}

static int cache_open(const struct deployment *deployment)
{
    struct stat status;
    cleanup_fd int fd =
        openat(deployment->folder, "digests",
               O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return -1; // without it everything is computed
    return steal_fd(&fd);
}

// Looks a file up. *victim: the slot that is to be replaced.
static bool cache_find(int cache, const struct deployment *deployment, const struct digest_key *key,
                       uint8_t *sha256, unsigned *victim)
{
    struct digest_slot slots[SET_SLOTS];
    uint8_t checksum[32];
    uint64_t oldest = UINT64_MAX;
    memset(slots, 0, sizeof(slots));
    *victim = 0;
    if (cache < 0 || pread(cache, slots, sizeof(slots), set_offset(key)) < 0)
        return false;
    for (unsigned i = 0; i < SET_SLOTS; i++) {
        bool other = slots[i].key.inode != key->inode || slots[i].key.device != key->device;
        if (!memcmp(&slots[i].key, key, sizeof(*key)) &&
            !strncmp(slots[i].format, DIGEST_FORMAT, sizeof(slots[i].format))) {
            seal(&slots[i], deployment->key, checksum);
            *victim = i;
            if (sodium_memcmp(checksum, slots[i].checksum, sizeof(checksum)))
                return false;
            memcpy(sha256, slots[i].sha256, DIGEST_BYTES);
            return true;
        }
        if (slots[i].stored_wall_ns < oldest) {
            oldest = slots[i].stored_wall_ns;
            *victim = i;
        }
        if (!other)
            oldest = 0; // what the same file was before is worth nothing
    }
    return false;
}

static void cache_store(int cache, const struct deployment *deployment,
                        const struct digest_key *key, const uint8_t *sha256, unsigned victim)
{
    uint64_t now = clock_wall_ns(&clock_host);
    uint64_t changed = (uint64_t)key->ctime_s * NS_PER_S + (uint64_t)key->ctime_ns;
    struct digest_slot slot = {.format = DIGEST_FORMAT, .stored_wall_ns = now, .key = *key};
    if (cache < 0 || now < changed || now - changed < SETTLED_NS)
        return;
    memcpy(slot.sha256, sha256, DIGEST_BYTES);
    seal(&slot, deployment->key, slot.checksum);
    off_t offset = set_offset(key) + (off_t)(victim * sizeof(slot));
    ssize_t ignored = pwrite(cache, &slot, sizeof(slot), offset);
    (void)ignored;
}

static int hash_here(int fd, uint64_t bytes, uint8_t *sha256, struct error *err)
{
    crypto_hash_sha256_state state;
    uint8_t buffer[32768];
    crypto_hash_sha256_init(&state);
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, buffer, sizeof(buffer), (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, n ? errno : 0, "cannot be read to its end");
        crypto_hash_sha256_update(&state, buffer, (size_t)n);
        done += (uint64_t)n;
    }
    crypto_hash_sha256_final(&state, sha256);
    return 0;
}

// Lets guillotine-digest do it: a process that can do nothing but read, and is five times as fast.
static int hash_elsewhere(int fd, uint8_t *sha256, bool progress, struct error *err)
{
    int ends[2];
    char path[PATH_MAX];
    int status = 0;
    if (paths_sibling("guillotine-digest", path, err) < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "pipe");
    cleanup_fd int from = ends[0];
    cleanup_fd int near = ends[1];
    cleanup_fd int to = fcntl(ends[1], F_DUPFD_CLOEXEC, 16);
    cleanup_fd int file = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    cleanup_fd int pidfd = -1;
    if (to < 0 || file < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "duplicate descriptors");
    const struct spawn_request request = {
        .path = path,
        .name = "guillotine-digest",
        .fds = {file, to},
        .fd_count = 2,
        .wait = 1,
        .keep_stderr = progress,
    };
    pid_t pid = spawn_program(&request, &pidfd, err);
    if (pid < 0)
        return -1;
    close(steal_fd(&to));
    close(steal_fd(&near));
    size_t used = 0;
    ssize_t n = 1;
    while (used < DIGEST_BYTES && n) {
        n = read(from, sha256 + used, DIGEST_BYTES - used);
        if (n < 0 && errno != EINTR)
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    lseek(fd, 0, SEEK_SET);
    if (used != DIGEST_BYTES || !WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "cannot be read to its end");
    return 0;
}

int file_digest_get(struct file_digest *digest, const struct deployment *deployment, int fd,
                    const char *what, struct error *err)
{
    static const uint8_t none[DIGEST_BYTES];
    struct digest_key key;
    struct digest_key after;
    unsigned victim;
    if (read_key(fd, &key, err) < 0)
        return -1;
    cleanup_fd int cache = cache_open(deployment);
    digest->verity = memcmp(key.verity, none, sizeof(none)) != 0;
    digest->cached = cache_find(cache, deployment, &key, digest->sha256, &victim);
    if (digest->cached)
        return 0;
    bool progress = key.bytes > PROGRESS_BYTES;
    if (progress) {
        char name[256];
        escape_line(name, sizeof(name), what, strlen(what));
        fprintf(stderr, "guillotine: SHA-256 of %s, %llu MiB, once\n", name,
                (unsigned long long)(key.bytes >> 20));
    }
    int result = key.bytes <= INLINE_BYTES ? hash_here(fd, key.bytes, digest->sha256, err)
                                           : hash_elsewhere(fd, digest->sha256, progress, err);
    if (result < 0 || read_key(fd, &after, err) < 0)
        return error_wrap(err, "%s", what);
    if (memcmp(&key, &after, sizeof(key)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s changed while it was read: try again",
                         what);
    cache_store(cache, deployment, &key, digest->sha256, victim);
    return 0;
}
