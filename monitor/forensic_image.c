// SPDX-License-Identifier: Apache-2.0
// A forensic image: a core file, encrypted while it is written.
#include "forensic_image.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define CIPHER_BYTES (FORENSIC_CHUNK_BYTES + crypto_secretstream_xchacha20poly1305_ABYTES)

// Reads up to `length` bytes; less only at the end of the file.
static ssize_t read_all(int fd, void *data, size_t length, uint64_t offset)
{
    size_t done = 0;
    while (done < length) {
        ssize_t n = pread(fd, (uint8_t *)data + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int wrap_key(struct forensic_header *header, const uint8_t *file_key,
                    const struct vm_key *key, const struct level_key_set *administrators,
                    struct error *err)
{
    uint8_t inner[FORENSIC_INNER_BYTES];
    uint8_t public[crypto_box_PUBLICKEYBYTES];
    randombytes_buf(header->inner_nonce, sizeof(header->inner_nonce));
    crypto_secretbox_easy(inner, file_key, FORENSIC_KEY_BYTES, header->inner_nonce, key->bytes);
    header->administrators = administrators->keys;
    if (!administrators->keys)
        memcpy(header->inner, inner, sizeof(inner));
    for (unsigned i = 0; i < administrators->keys; i++) {
        memcpy(header->outer[i].key, administrators->key[i], sizeof(header->outer[i].key));
        if (crypto_sign_ed25519_pk_to_curve25519(public, administrators->key[i]) ||
            crypto_box_seal(header->outer[i].box, inner, sizeof(inner), public))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "administrators' key %u is not a key that can be sealed to", i);
    }
    sodium_memzero(inner, sizeof(inner));
    return 0;
}

static void hash_header(const struct forensic_header *header,
                        uint8_t hash[crypto_generichash_BYTES])
{
    crypto_generichash(hash, crypto_generichash_BYTES, (const uint8_t *)header, sizeof(*header),
                       NULL, 0);
}

int forensic_writer_begin(struct forensic_writer *writer, int fd, struct forensic_header *header,
                          const struct vm_key *key, const struct level_key_set *administrators,
                          struct error *err)
{
    uint8_t file_key[FORENSIC_KEY_BYTES];
    uint8_t page[FORENSIC_HEADER_BYTES] = {0};
    *writer = (struct forensic_writer){.fd = fd, .bound_bytes = crypto_generichash_BYTES};
    memcpy(header->format, FORENSIC_FORMAT "\n", sizeof(FORENSIC_FORMAT));
    header->chunk_bytes = FORENSIC_CHUNK_BYTES;
    sodium_mlock(file_key, sizeof(file_key));
    crypto_secretstream_xchacha20poly1305_keygen(file_key);
    int result = wrap_key(header, file_key, key, administrators, err);
    crypto_secretstream_xchacha20poly1305_init_push(&writer->stream, header->stream, file_key);
    sodium_munlock(file_key, sizeof(file_key));
    if (result < 0)
        return -1;
    hash_header(header, writer->bound);
    memcpy(page, header, sizeof(*header));
    writer->bytes = sizeof(page);
    return file_write(fd, page, sizeof(page), err);
}

static int push(struct forensic_writer *writer, uint8_t tag, struct error *err)
{
    unsigned long long length;
    crypto_secretstream_xchacha20poly1305_push(&writer->stream, writer->cipher, &length,
                                               writer->chunk, writer->used, writer->bound,
                                               writer->bound_bytes, tag);
    writer->bound_bytes = 0;
    writer->used = 0;
    writer->bytes += length;
    return file_write(writer->fd, writer->cipher, length, err);
}

int forensic_writer_write(void *context, const void *data, size_t length, struct error *err)
{
    struct forensic_writer *writer = context;
    const uint8_t *at = data;
    while (length) {
        // A full chunk waits for more: only then is it known not to be the last.
        if (writer->used == sizeof(writer->chunk) && push(writer, 0, err) < 0)
            return -1;
        size_t room = sizeof(writer->chunk) - writer->used;
        size_t n = length < room ? length : room;
        memcpy(writer->chunk + writer->used, at, n);
        writer->used += n;
        at += n;
        length -= n;
    }
    return 0;
}

int forensic_writer_finish(struct forensic_writer *writer, struct error *err)
{
    return push(writer, crypto_secretstream_xchacha20poly1305_TAG_FINAL, err);
}

void forensic_writer_wipe(struct forensic_writer *writer)
{
    sodium_memzero(writer, sizeof(*writer));
    writer->fd = -1;
}

uint64_t forensic_image_bytes(uint64_t bytes)
{
    uint64_t chunks = bytes / FORENSIC_CHUNK_BYTES + 1;
    return FORENSIC_HEADER_BYTES + bytes + chunks * crypto_secretstream_xchacha20poly1305_ABYTES;
}

int forensic_image_read_header(int fd, struct forensic_header *header, struct error *err)
{
    uint8_t page[FORENSIC_HEADER_BYTES];
    static const char format[] = FORENSIC_FORMAT "\n";
    if (read_all(fd, page, sizeof(page), 0) != (ssize_t)sizeof(page))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a forensic image: too short");
    memcpy(header, page, sizeof(*header));
    if (memcmp(header->format, format, sizeof(format)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a forensic image of format %s",
                         FORENSIC_FORMAT);
    if (header->administrators > LEVEL_MAX_KEYS || header->chunk_bytes != FORENSIC_CHUNK_BYTES ||
        !memchr(header->id, 0, sizeof(header->id)) || !vm_key_id_is_valid(header->id) ||
        !sodium_is_zero(page + sizeof(*header), sizeof(page) - sizeof(*header)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the image's header is damaged");
    return 0;
}

// Opens the administrators' box.
static int unseal(const struct forensic_header *header, const uint8_t *seed,
                  uint8_t inner[FORENSIC_INNER_BYTES], struct error *err)
{
    uint8_t public[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    uint8_t box_public[crypto_box_PUBLICKEYBYTES];
    uint8_t box_secret[crypto_box_SECRETKEYBYTES];
    int result = -1;
    if (!seed)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the image is sealed to %u administrators: give the key of one with --key",
                         header->administrators);
    crypto_sign_seed_keypair(public, secret, seed);
    if (crypto_sign_ed25519_sk_to_curve25519(box_secret, secret) == 0 &&
        crypto_sign_ed25519_pk_to_curve25519(box_public, public) == 0) {
        for (unsigned i = 0; i < header->administrators && result < 0; i++) {
            if (!memcmp(header->outer[i].key, public, sizeof(public)))
                result = crypto_box_seal_open(inner, header->outer[i].box, FORENSIC_OUTER_BYTES,
                                              box_public, box_secret);
        }
    }
    sodium_memzero(secret, sizeof(secret));
    sodium_memzero(box_secret, sizeof(box_secret));
    return result < 0 ? error_set(err, EXIT_STATUS_FAILURE, 0,
                                  "the image is not sealed to this administrator's key")
                      : 0;
}

static int unwrap_key(const struct forensic_header *header, const struct vm_key *key,
                      const uint8_t *seed, uint8_t file_key[FORENSIC_KEY_BYTES], struct error *err)
{
    uint8_t inner[FORENSIC_INNER_BYTES];
    memcpy(inner, header->inner, sizeof(inner));
    if (header->administrators && unseal(header, seed, inner, err) < 0)
        return -1;
    int result =
        crypto_secretbox_open_easy(file_key, inner, sizeof(inner), header->inner_nonce, key->bytes);
    sodium_memzero(inner, sizeof(inner));
    return result
               ? error_set(err, EXIT_STATUS_FAILURE, 0,
                           "the key of VM %s does not open the image, or it is damaged", header->id)
               : 0;
}

struct reader {
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t bound[crypto_generichash_BYTES];
    uint8_t cipher[CIPHER_BYTES];
    uint8_t chunk[FORENSIC_CHUNK_BYTES];
};

static int pull_all(struct reader *reader, int fd, int out, struct error *err)
{
    uint64_t offset = FORENSIC_HEADER_BYTES;
    uint8_t tag = 0;
    for (bool first = true; tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL; first = false) {
        unsigned long long length;
        ssize_t n = read_all(fd, reader->cipher, CIPHER_BYTES, offset);
        if (n < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "read image");
        if (n == 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the image is cut off at byte %llu",
                             (unsigned long long)offset);
        if (crypto_secretstream_xchacha20poly1305_pull(
                &reader->stream, reader->chunk, &length, &tag, reader->cipher, (size_t)n,
                first ? reader->bound : NULL, first ? sizeof(reader->bound) : 0))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the image is damaged near byte %llu",
                             (unsigned long long)offset);
        if (file_write(out, reader->chunk, length, err) < 0)
            return -1;
        offset += (uint64_t)n;
    }
    if (read_all(fd, reader->cipher, 1, offset) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "there is something behind the image's end");
    return 0;
}

int forensic_image_open(int fd, const struct vm_key *key, const uint8_t *seed, int out,
                        struct error *err)
{
    struct forensic_header header;
    uint8_t file_key[FORENSIC_KEY_BYTES];
    if (forensic_image_read_header(fd, &header, err) < 0 ||
        unwrap_key(&header, key, seed, file_key, err) < 0)
        return -1;
    cleanup_free struct reader *reader = calloc(1, sizeof(*reader));
    if (!reader) {
        sodium_memzero(file_key, sizeof(file_key));
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "image");
    }
    hash_header(&header, reader->bound);
    int result =
        crypto_secretstream_xchacha20poly1305_init_pull(&reader->stream, header.stream, file_key)
            ? error_set(err, EXIT_STATUS_BAD_FILE, 0, "the image's header is damaged")
            : pull_all(reader, fd, out, err);
    sodium_memzero(file_key, sizeof(file_key));
    sodium_memzero(reader, sizeof(*reader));
    return result;
}
