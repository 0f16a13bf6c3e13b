// SPDX-License-Identifier: Apache-2.0
// Weights that are encrypted on disk and decrypted only into memory.
#include "sealed_weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "memory_scrub.h"

static const char format[] = SEALED_FORMAT "\n";

// What each chunk is bound to.
struct bound {
    uint8_t header[crypto_generichash_BYTES];
    uint64_t index;
    uint64_t last; // 1: of the last chunk
};

struct sealer {
    uint8_t key[SEALED_KEY_BYTES];
    struct bound bound;
    uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    uint8_t plain[SEALED_CHUNK_BYTES];
    uint8_t cipher[SEALED_CHUNK_BYTES + SEALED_TAG_BYTES];
};

static uint64_t chunk_count(uint64_t bytes)
{
    return (bytes + SEALED_CHUNK_BYTES - 1) / SEALED_CHUNK_BYTES;
}

static uint64_t chunk_length(uint64_t bytes, uint64_t index)
{
    uint64_t left = bytes - index * SEALED_CHUNK_BYTES;
    return left < SEALED_CHUNK_BYTES ? left : SEALED_CHUNK_BYTES;
}

static void select_chunk(struct sealer *sealer, const struct sealed_header *header, uint64_t index)
{
    sealer->bound.index = index;
    sealer->bound.last = index + 1 == chunk_count(header->plain_bytes);
    memcpy(sealer->nonce, header->nonce, sizeof(header->nonce));
    memcpy(sealer->nonce + sizeof(header->nonce), &index, sizeof(index));
}

static void bind_header(struct sealer *sealer, const struct sealed_header *header)
{
    crypto_generichash(sealer->bound.header, sizeof(sealer->bound.header), (const uint8_t *)header,
                       sizeof(*header), NULL, 0);
}

static int read_exactly(int fd, void *data, size_t length, uint64_t offset, struct error *err)
{
    size_t done = 0;
    while (done < length) {
        ssize_t n = pread(fd, (uint8_t *)data + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, n < 0 ? errno : 0,
                             n < 0 ? "read" : "ended at byte %llu",
                             (unsigned long long)(offset + done));
        done += (size_t)n;
    }
    return 0;
}

static int hash_file(int fd, uint64_t bytes, struct sealer *sealer,
                     uint8_t digest[crypto_hash_sha256_BYTES], struct error *err)
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    for (uint64_t i = 0; i < chunk_count(bytes); i++) {
        size_t length = chunk_length(bytes, i);
        if (read_exactly(fd, sealer->plain, length, i * SEALED_CHUNK_BYTES, err) < 0)
            return -1;
        crypto_hash_sha256_update(&state, sealer->plain, length);
    }
    crypto_hash_sha256_final(&state, digest);
    return 0;
}

static int fill_header(struct sealed_header *header, int fd, const char *in, const char *id,
                       struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || !status.st_size)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a file with contents");
    *header = (struct sealed_header){
        .plain_bytes = (uint64_t)status.st_size,
        .chunk_bytes = SEALED_CHUNK_BYTES,
        .original_device = status.st_dev,
        .original_inode = status.st_ino,
    };
    memcpy(header->format, format, sizeof(format));
    snprintf(header->id, sizeof(header->id), "%s", id);
    // Without a path, the header says nothing of the original: it cannot be warned of either.
    if (!realpath(in, header->original_path))
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "path");
    randombytes_buf(header->wrap_nonce, sizeof(header->wrap_nonce));
    randombytes_buf(header->nonce, sizeof(header->nonce));
    return 0;
}

static int write_chunks(int in, int out, const struct sealed_header *header, struct sealer *sealer,
                        struct error *err)
{
    crypto_hash_sha256_state state;
    uint8_t digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_init(&state);
    for (uint64_t i = 0; i < chunk_count(header->plain_bytes); i++) {
        unsigned long long length = 0;
        size_t plain = chunk_length(header->plain_bytes, i);
        if (read_exactly(in, sealer->plain, plain, i * SEALED_CHUNK_BYTES, err) < 0)
            return -1;
        crypto_hash_sha256_update(&state, sealer->plain, plain);
        select_chunk(sealer, header, i);
        crypto_aead_xchacha20poly1305_ietf_encrypt(
            sealer->cipher, &length, sealer->plain, plain, (const uint8_t *)&sealer->bound,
            sizeof(sealer->bound), NULL, sealer->nonce, sealer->key);
        if (file_write(out, sealer->cipher, length, err) < 0)
            return -1;
    }
    crypto_hash_sha256_final(&state, digest);
    return memcmp(digest, header->digest, sizeof(digest))
               ? error_set(err, EXIT_STATUS_BAD_FILE, 0, "the file changed while it was sealed")
               : 0;
}

static int seal_file(int in, int out, struct sealed_header *header, const struct vm_key *key,
                     struct sealer *sealer, struct error *err)
{
    uint8_t page[SEALED_HEADER_BYTES] = {0};
    if (hash_file(in, header->plain_bytes, sealer, header->digest, err) < 0)
        return -1;
    randombytes_buf(sealer->key, sizeof(sealer->key));
    crypto_secretbox_easy(header->wrapped, sealer->key, sizeof(sealer->key), header->wrap_nonce,
                          key->bytes);
    bind_header(sealer, header);
    memcpy(page, header, sizeof(*header));
    if (file_write(out, page, sizeof(page), err) < 0 ||
        write_chunks(in, out, header, sealer, err) < 0)
        return -1;
    return fsync(out) < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "sync") : 0;
}

static struct sealer *make_sealer(struct error *err)
{
    struct sealer *sealer = calloc(1, sizeof(*sealer));
    if (!sealer)
        error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "sealed weights");
    else
        sodium_mlock(sealer, sizeof(*sealer));
    return sealer;
}

static void free_sealer(struct sealer *sealer)
{
    if (!sealer)
        return;
    sodium_munlock(sealer, sizeof(*sealer)); // clears it as well
    free(sealer);
}

int sealed_weights_seal(const char *in, const char *out, const char *id, const struct vm_key *key,
                        struct error *err)
{
    struct sealed_header header;
    cleanup_fd int source = open(in, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (source < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", in);
    if (fill_header(&header, source, in, id, err) < 0)
        return error_wrap(err, "%s", in);
    if (sealed_weights_detect(source))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is sealed already", in);
    cleanup_fd int target = open(out, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (target < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", out);
    struct sealer *sealer = make_sealer(err);
    int result = sealer ? seal_file(source, target, &header, key, sealer, err) : -1;
    free_sealer(sealer);
    if (result < 0)
        unlink(out);
    return result < 0 ? error_wrap(err, "seal %s", in) : 0;
}

bool sealed_weights_detect(int fd)
{
    static const char family[] = "guillotine-weights/";
    char start[sizeof(family) - 1];
    return pread(fd, start, sizeof(start), 0) == (ssize_t)sizeof(start) &&
           !memcmp(start, family, sizeof(start));
}

int sealed_weights_read_header(int fd, struct sealed_header *header, struct error *err)
{
    uint8_t page[SEALED_HEADER_BYTES];
    struct stat status;
    uint64_t chunks;
    if (fstat(fd, &status) < 0 || read_exactly(fd, page, sizeof(page), 0, err) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not sealed weights: too short");
    memcpy(header, page, sizeof(*header));
    if (memcmp(header->format, format, sizeof(format)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not sealed weights of format %s",
                         SEALED_FORMAT);
    if (!header->plain_bytes || header->plain_bytes > 1ull << 46 ||
        header->chunk_bytes != SEALED_CHUNK_BYTES || !memchr(header->id, 0, sizeof(header->id)) ||
        !vm_key_id_is_valid(header->id) ||
        !memchr(header->original_path, 0, sizeof(header->original_path)) ||
        !sodium_is_zero(page + sizeof(*header), sizeof(page) - sizeof(*header)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the header is damaged");
    chunks = chunk_count(header->plain_bytes);
    if ((uint64_t)status.st_size !=
        SEALED_HEADER_BYTES + header->plain_bytes + chunks * SEALED_TAG_BYTES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the file is cut off, or something is behind its end");
    return 0;
}

// Takes the file's key out of its box, and binds to the header.
static int unlock(const struct sealed_header *header, const struct vm_key *key,
                  struct sealer *sealer, struct error *err)
{
    bind_header(sealer, header);
    if (crypto_secretbox_open_easy(sealer->key, header->wrapped, sizeof(header->wrapped),
                                   header->wrap_nonce, key->bytes))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the key of VM %s does not open them, or the header is damaged",
                         header->id);
    return 0;
}

static int open_chunks(int fd, const struct sealed_header *header, struct sealer *sealer,
                       uint8_t *target, uint64_t count, struct error *err)
{
    uint64_t offset = SEALED_HEADER_BYTES;
    for (uint64_t i = 0; i < count; i++) {
        size_t length = chunk_length(header->plain_bytes, i) + SEALED_TAG_BYTES;
        if (read_exactly(fd, sealer->cipher, length, offset, err) < 0)
            return -1;
        select_chunk(sealer, header, i);
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(
                target + i * SEALED_CHUNK_BYTES, NULL, NULL, sealer->cipher, length,
                (const uint8_t *)&sealer->bound, sizeof(sealer->bound), sealer->nonce, sealer->key))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "chunk %llu is damaged, moved or of another file",
                             (unsigned long long)i);
        offset += length;
    }
    return 0;
}

static int make_memory(struct sealed_memory *memory, uint64_t bytes, struct error *err)
{
    *memory = (struct sealed_memory){.fd = -1, .mapping = MAP_FAILED, .bytes = bytes};
    struct sysinfo info;
    if (sysinfo(&info) == 0 && bytes / info.mem_unit > info.totalram)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "%llu MiB are more memory than the host has",
                         (unsigned long long)(bytes >> 20));
    memory->fd = memfd_create("guillotine-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory->fd < 0 || ftruncate(memory->fd, (off_t)bytes) < 0 ||
        fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "memory for %llu bytes",
                         (unsigned long long)bytes);
    memory->mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    if (memory->mapping == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map %llu bytes",
                         (unsigned long long)bytes);
    madvise(memory->mapping, bytes, MADV_DONTDUMP);
    memory->locked = mlock(memory->mapping, bytes) == 0;
    return 0;
}

int sealed_weights_identify(int fd, const struct sealed_header *header, const struct vm_key *key,
                            uint8_t digest[crypto_hash_sha256_BYTES], struct error *err)
{
    struct sealer *sealer = make_sealer(err);
    if (!sealer)
        return -1;
    int result = unlock(header, key, sealer, err);
    if (result == 0)
        result = open_chunks(fd, header, sealer, sealer->plain, 1, err);
    free_sealer(sealer);
    if (result == 0)
        memcpy(digest, header->digest, sizeof(header->digest));
    return result;
}

int sealed_weights_open(int fd, const struct vm_key *key, struct sealed_memory *memory,
                        struct error *err)
{
    struct sealed_header header;
    uint64_t ignored = 0;
    *memory = (struct sealed_memory){.fd = -1, .mapping = MAP_FAILED};
    if (sealed_weights_read_header(fd, &header, err) < 0)
        return -1;
    struct sealer *sealer = make_sealer(err);
    if (!sealer)
        return -1;
    int result = unlock(&header, key, sealer, err);
    if (result == 0)
        result = make_memory(memory, header.plain_bytes, err);
    if (result == 0)
        result =
            open_chunks(fd, &header, sealer, memory->mapping, chunk_count(header.plain_bytes), err);
    memcpy(memory->id, header.id, sizeof(memory->id));
    free_sealer(sealer);
    // From now on nobody here needs to see them; the mapping keeps them locked.
    if (result == 0 && mprotect(memory->mapping, memory->bytes, PROT_NONE) < 0)
        result = error_set(err, EXIT_STATUS_INTERNAL, errno, "protect");
    if (result < 0)
        sealed_memory_release(memory, &ignored, NULL);
    return result;
}

int sealed_memory_reader(const struct sealed_memory *memory, struct error *err)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "weights: read-only descriptor")
                  : fd;
}

int sealed_memory_release(struct sealed_memory *memory, uint64_t *bytes, struct error *err)
{
    if (memory->fd < 0)
        return 0;
    int result = memory_scrub(memory->fd, bytes, err);
    if (memory->mapping != MAP_FAILED)
        munmap(memory->mapping, memory->bytes);
    close(memory->fd);
    memory->fd = -1;
    memory->mapping = MAP_FAILED;
    return result;
}

bool sealed_weights_original_exists(const struct sealed_header *header)
{
    struct stat status;
    return header->original_path[0] && stat(header->original_path, &status) == 0 &&
           status.st_dev == header->original_device && status.st_ino == header->original_inode;
}
