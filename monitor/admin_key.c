// SPDX-License-Identifier: Apache-2.0
// Administrators' keys, as far as forensic images need them.
#include "admin_key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "json_text.h"

#define KEY_FORMAT     "guillotine-key/1"
#define KEY_SET_FORMAT "guillotine-signed-keys/1"

// Most that a key file may ask of this machine.
#define KDF_MEMORY_MAX     (1ull << 30)
#define KDF_OPERATIONS_MAX 64u

// Reads a small file. A missing one has err->code ENOENT. The text is the caller's to free.
static int read_text(const char *path, char **text, size_t *length, struct error *err)
{
    struct stat status;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (!S_ISREG(status.st_mode) || status.st_size > ADMIN_KEY_FILE_BYTES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: not a small file", path);
    cleanup_free char *bytes = calloc(1, (size_t)status.st_size + 1);
    if (!bytes)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "%s", path);
    ssize_t n = pread(fd, bytes, (size_t)status.st_size, 0);
    if (n != status.st_size)
        return error_set(err, EXIT_STATUS_BAD_FILE, n < 0 ? errno : 0, "%s: read", path);
    *length = (size_t)n;
    *text = steal_pointer(&bytes);
    return 0;
}

static int get(const struct json_place *object, const char *key, struct json_place *member,
               struct error *err)
{
    return json_member(object, key, member)
               ? 0
               : json_refuse(object, JSON_PART_VALUE, err, "missing key '%s'", key);
}

static int get_hex(const struct json_place *object, const char *key, uint8_t *bytes, size_t length,
                   struct error *err)
{
    struct json_place place;
    const char *text;
    size_t done = 0;
    if (get(object, key, &place, err) < 0 || json_read_text(&place, &text, err) < 0)
        return -1;
    if (strlen(text) == 2 * length &&
        sodium_hex2bin(bytes, length, text, strlen(text), NULL, &done, NULL) == 0 && done == length)
        return 0;
    return json_refuse(&place, JSON_PART_VALUE, err, "not %zu hexadecimal digits", 2 * length);
}

static int expect_text(const struct json_place *object, const char *key, const char *wanted,
                       struct error *err)
{
    struct json_place place;
    const char *text;
    if (get(object, key, &place, err) < 0 || json_read_text(&place, &text, err) < 0)
        return -1;
    return strcmp(text, wanted)
               ? json_refuse(&place, JSON_PART_VALUE, err, "this version reads %s", wanted)
               : 0;
}

static int read_key(const struct json_place *place, void *target, struct error *err)
{
    struct admin_keys *keys = target;
    if (json_expect(place, json_type_object, err) < 0 ||
        get_hex(place, "key", keys->key[keys->count], ADMIN_KEY_BYTES, err) < 0)
        return -1;
    keys->count++;
    return 0;
}

int admin_keys_load(const char *state_dir, struct admin_keys *keys, struct error *err)
{
    char path[PATH_MAX];
    cleanup_free char *text = NULL;
    size_t length = 0;
    struct error inner;
    cleanup_json_document struct json_document document = {0};
    struct json_place set;
    struct json_place list;
    *keys = (struct admin_keys){0};
    snprintf(path, sizeof(path), "%s/quorum/keys.json", state_dir);
    if (read_text(path, &text, &length, &inner) < 0) {
        if (inner.code == ENOENT)
            return 0;
        if (err)
            *err = inner;
        return -1;
    }
    if (json_document_parse(&document, path, text, length, ADMIN_KEY_FILE_BYTES, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_expect(&root, json_type_object, err) < 0 ||
        expect_text(&root, "format", KEY_SET_FORMAT, err) < 0 ||
        get(&root, "key_set", &set, err) < 0 || json_expect(&set, json_type_object, err) < 0 ||
        get(&set, "keys", &list, err) < 0 ||
        json_read_array(&list, ADMIN_KEY_MAX, read_key, keys, err) < 0)
        return -1;
    return keys->count ? 0 : json_refuse(&list, JSON_PART_VALUE, err, "no keys");
}

static int get_integer(const struct json_place *object, const char *key, uint64_t minimum,
                       uint64_t maximum, uint64_t *value, struct error *err)
{
    struct json_place place;
    return get(object, key, &place, err) < 0
               ? -1
               : json_read_integer(&place, minimum, maximum, value, err);
}

// Opens the box of an encrypted seed, which is bound to the format and the public half.
static int open_box(const struct json_place *root, const char *passphrase,
                    const uint8_t public[ADMIN_KEY_BYTES], uint8_t seed[ADMIN_KEY_BYTES],
                    struct error *err)
{
    uint8_t salt[crypto_pwhash_SALTBYTES];
    uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    uint8_t box[ADMIN_KEY_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES];
    uint8_t key[32];
    uint8_t bound[sizeof(KEY_FORMAT) + ADMIN_KEY_BYTES];
    uint64_t memory;
    uint64_t operations;
    if (!passphrase)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the key is encrypted: give its passphrase with --passphrase-file");
    if (expect_text(root, "kdf", "argon2id", err) < 0 ||
        expect_text(root, "cipher", "xchacha20-poly1305", err) < 0 ||
        get_integer(root, "kdf_memory_bytes", 8192, KDF_MEMORY_MAX, &memory, err) < 0 ||
        get_integer(root, "kdf_operations", 1, KDF_OPERATIONS_MAX, &operations, err) < 0 ||
        get_hex(root, "salt", salt, sizeof(salt), err) < 0 ||
        get_hex(root, "nonce", nonce, sizeof(nonce), err) < 0 ||
        get_hex(root, "box", box, sizeof(box), err) < 0)
        return -1;
    memcpy(bound, KEY_FORMAT, sizeof(KEY_FORMAT));
    memcpy(bound + sizeof(KEY_FORMAT), public, ADMIN_KEY_BYTES);
    if (crypto_pwhash(key, sizeof(key), passphrase, strlen(passphrase), salt, operations,
                      (size_t)memory, crypto_pwhash_ALG_ARGON2ID13))
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "passphrase");
    int result = crypto_aead_xchacha20poly1305_ietf_decrypt(seed, NULL, NULL, box, sizeof(box),
                                                            bound, sizeof(bound), nonce, key);
    sodium_memzero(key, sizeof(key));
    return result ? error_set(err, EXIT_STATUS_FAILURE, 0,
                              "the passphrase is wrong, or the key file is damaged")
                  : 0;
}

static int parse_key(const char *path, const char *text, size_t length, const char *passphrase,
                     uint8_t seed[ADMIN_KEY_BYTES], struct error *err)
{
    cleanup_json_document struct json_document document = {0};
    uint8_t public[ADMIN_KEY_BYTES];
    uint8_t derived[ADMIN_KEY_BYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    struct json_place ignored;
    if (json_document_parse(&document, path, text, length, ADMIN_KEY_FILE_BYTES, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_expect(&root, json_type_object, err) < 0 ||
        expect_text(&root, "format", KEY_FORMAT, err) < 0 ||
        get_hex(&root, "public", public, sizeof(public), err) < 0)
        return -1;
    if (json_member(&root, "secret", &ignored)) {
        if (get_hex(&root, "secret", seed, ADMIN_KEY_BYTES, err) < 0)
            return -1;
    } else if (open_box(&root, passphrase, public, seed, err) < 0) {
        return -1;
    }
    crypto_sign_seed_keypair(derived, secret, seed);
    sodium_memzero(secret, sizeof(secret));
    return memcmp(derived, public, sizeof(derived))
               ? error_set(err, EXIT_STATUS_BAD_FILE, 0, "the two halves do not belong together")
               : 0;
}

int admin_key_load(const char *path, const char *passphrase, uint8_t seed[ADMIN_KEY_BYTES],
                   struct error *err)
{
    char *text = NULL;
    size_t length = 0;
    if (read_text(path, &text, &length, err) < 0)
        return -1;
    int result = parse_key(path, text, length, passphrase, seed, err);
    sodium_memzero(text, length);
    free(text);
    if (result < 0)
        sodium_memzero(seed, ADMIN_KEY_BYTES);
    return result < 0 ? error_wrap(err, "key %s", path) : 0;
}
