// SPDX-License-Identifier: Apache-2.0
// Signed notes and checkpoints, read strictly: one text has one meaning.
#include "signed_note.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ED25519         0x01
#define KEY_HASH_BYTES  4u
#define SIGNATURE_BYTES 64u
#define BASE64          sodium_base64_VARIANT_ORIGINAL
#define SIGNATURE_MARK  "\xe2\x80\x94 " // an em dash and a space
#define PRIVATE_PREFIX  "PRIVATE+KEY+"

static void key_hash(const struct note_key *key, uint8_t hash[SHA256_BYTES])
{
    static const uint8_t middle[] = {'\n', ED25519};
    const struct sha256_piece pieces[] = {
        {key->name, strlen(key->name)},
        {middle, sizeof(middle)},
        {key->public, sizeof(key->public)},
    };
    sha256_pieces(pieces, 3, hash);
}

static uint32_t key_number(const struct note_key *key)
{
    uint8_t hash[SHA256_BYTES];
    key_hash(key, hash);
    return (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
}

void note_secret_make(struct note_secret *secret, const uint8_t seed[NOTE_SEED_BYTES])
{
    uint8_t hash[SHA256_BYTES];
    crypto_sign_seed_keypair(secret->key.public, secret->expanded, seed);
    const struct sha256_piece piece = {secret->key.public, sizeof(secret->key.public)};
    sha256_pieces(&piece, 1, hash);
    int used = snprintf(secret->key.name, sizeof(secret->key.name), "guillotine/");
    for (unsigned i = 0; i < 8; i++)
        used += snprintf(secret->key.name + used, sizeof(secret->key.name) - (size_t)used, "%02x",
                         hash[i]);
}

static void format(const char *prefix, const struct note_key *key, const uint8_t *bytes,
                   char text[NOTE_VKEY_SIZE])
{
    uint8_t raw[1 + 32] = {ED25519};
    char encoded[64];
    memcpy(raw + 1, bytes, 32);
    sodium_bin2base64(encoded, sizeof(encoded), raw, sizeof(raw), BASE64);
    snprintf(text, NOTE_VKEY_SIZE, "%s%s+%08x+%s", prefix, key->name, key_number(key), encoded);
    sodium_memzero(raw, sizeof(raw));
    sodium_memzero(encoded, sizeof(encoded));
}

void note_key_format(const struct note_key *key, char text[NOTE_VKEY_SIZE])
{
    format("", key, key->public, text);
}

void note_secret_format(const struct note_secret *secret, char text[NOTE_VKEY_SIZE])
{
    format(PRIVATE_PREFIX, &secret->key, secret->expanded, text);
}

// Decodes canonical base64 of exactly `size` bytes.
static bool decode(const char *text, size_t length, uint8_t *bytes, size_t size)
{
    char again[160];
    size_t got = 0;
    if (sodium_base642bin(bytes, size, text, length, NULL, &got, NULL, BASE64) < 0 || got != size ||
        sodium_base64_encoded_len(size, BASE64) > sizeof(again))
        return false;
    // Bits of the last character that carry nothing must be zero, or two texts were one value.
    sodium_bin2base64(again, sizeof(again), bytes, size, BASE64);
    return strlen(again) == length && !memcmp(again, text, length);
}

static bool name_is_valid(const char *name, size_t length)
{
    if (!length || length >= NOTE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '+')
            return false;
    }
    return true;
}

// Splits NAME+HASH+BASE64.
static bool parse(const char *text, char name[NOTE_NAME_SIZE], char hash[9], uint8_t raw[33])
{
    const char *plus = strchr(text, '+');
    if (!plus || !name_is_valid(text, (size_t)(plus - text)) || strlen(plus) < 11 ||
        plus[9] != '+' || !decode(plus + 10, strlen(plus + 10), raw, 33) || raw[0] != ED25519)
        return false;
    snprintf(name, NOTE_NAME_SIZE, "%.*s", (int)(plus - text), text);
    snprintf(hash, 9, "%.8s", plus + 1);
    return true;
}

static bool hash_matches(const struct note_key *key, const char *hash)
{
    char own[9];
    snprintf(own, sizeof(own), "%08x", key_number(key));
    return !strcmp(own, hash);
}

int note_key_parse(struct note_key *key, const char *text, struct error *err)
{
    char hash[9];
    uint8_t raw[33];
    if (!parse(text, key->name, hash, raw))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "not a key of the form NAME+HASH+BASE64 (keys/log.pub has one)");
    memcpy(key->public, raw + 1, sizeof(key->public));
    if (!hash_matches(key, hash))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the key's hash is not that of the key");
    return 0;
}

int note_secret_parse(struct note_secret *secret, const char *text, struct error *err)
{
    char hash[9];
    uint8_t raw[33];
    size_t skip = sizeof(PRIVATE_PREFIX) - 1;
    if (strncmp(text, PRIVATE_PREFIX, skip) != 0 ||
        !parse(text + skip, secret->key.name, hash, raw))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a private key");
    crypto_sign_seed_keypair(secret->key.public, secret->expanded, raw + 1);
    sodium_memzero(raw, sizeof(raw));
    if (!hash_matches(&secret->key, hash))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the key's hash is not that of the key");
    return 0;
}

unsigned checkpoint_sign(const struct checkpoint *checkpoint, const struct note_secret *secret,
                         char text[NOTE_MAX_BYTES])
{
    uint8_t raw[KEY_HASH_BYTES + SIGNATURE_BYTES];
    uint8_t hash[SHA256_BYTES];
    char encoded[128];
    sodium_bin2base64(encoded, sizeof(encoded), checkpoint->root.bytes, SHA256_BYTES, BASE64);
    int body = snprintf(text, NOTE_MAX_BYTES, "%s\n%llu\n%s\n", checkpoint->origin,
                        (unsigned long long)checkpoint->size, encoded);
    key_hash(&secret->key, hash);
    memcpy(raw, hash, KEY_HASH_BYTES);
    crypto_sign_detached(raw + KEY_HASH_BYTES, NULL, (const uint8_t *)text,
                         (unsigned long long)body, secret->expanded);
    sodium_bin2base64(encoded, sizeof(encoded), raw, sizeof(raw), BASE64);
    int more = snprintf(text + body, NOTE_MAX_BYTES - (size_t)body, "\n" SIGNATURE_MARK "%s %s\n",
                        secret->key.name, encoded);
    return (unsigned)(body + more);
}

// Takes one line from *at, without its newline. Lines have no control characters.
static bool take_line(const char **at, const char *end, const char **line, size_t *length)
{
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    if (!newline)
        return false;
    *line = *at;
    *length = (size_t)(newline - *at);
    *at = newline + 1;
    for (size_t i = 0; i < *length; i++) {
        if ((uint8_t)(*line)[i] < ' ' || (*line)[i] == 0x7f)
            return false;
    }
    return true;
}

static bool read_number(const char *text, size_t length, uint64_t *value)
{
    if (!length || length > 19 || (length > 1 && *text == '0'))
        return false;
    *value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *value = *value * 10 + (uint64_t)(text[i] - '0');
    }
    return true;
}

static bool read_body(struct checkpoint *checkpoint, const char **at, const char *end)
{
    const char *line;
    size_t length;
    if (!take_line(at, end, &line, &length) || !length || length >= NOTE_ORIGIN_SIZE)
        return false;
    memcpy(checkpoint->origin, line, length);
    checkpoint->origin[length] = '\0';
    if (!take_line(at, end, &line, &length) || !read_number(line, length, &checkpoint->size) ||
        !take_line(at, end, &line, &length) ||
        !decode(line, length, checkpoint->root.bytes, SHA256_BYTES))
        return false;
    do { // extensions
        if (!take_line(at, end, &line, &length))
            return false;
    } while (length);
    return true;
}

// A signature line of the key: the mark, its name, a space, base64 of hash and signature.
static bool is_signed_by(const struct note_key *key, const char *line, size_t length,
                         const char *body, size_t body_length)
{
    uint8_t raw[KEY_HASH_BYTES + SIGNATURE_BYTES];
    uint8_t hash[SHA256_BYTES];
    size_t mark = sizeof(SIGNATURE_MARK) - 1;
    size_t name = strlen(key->name);
    if (length <= mark + name + 1 || memcmp(line, SIGNATURE_MARK, mark) != 0 ||
        memcmp(line + mark, key->name, name) != 0 || line[mark + name] != ' ' ||
        !decode(line + mark + name + 1, length - mark - name - 1, raw, sizeof(raw)))
        return false;
    key_hash(key, hash);
    return !memcmp(raw, hash, KEY_HASH_BYTES) &&
           crypto_sign_verify_detached(raw + KEY_HASH_BYTES, (const uint8_t *)body, body_length,
                                       key->public) == 0;
}

int checkpoint_open(struct checkpoint *checkpoint, const char *text, size_t length,
                    const struct note_key *key, struct error *err)
{
    const char *at = text;
    const char *end = text + length;
    const char *line;
    size_t line_length;
    bool signed_by_key = false;
    if (length >= NOTE_MAX_BYTES || !read_body(checkpoint, &at, end))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a checkpoint");
    size_t body = (size_t)(at - text) - 1; // without the empty line
    if (at == end)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the checkpoint is not signed");
    while (at < end) {
        if (!take_line(&at, end, &line, &line_length))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "not a checkpoint");
        signed_by_key = signed_by_key || is_signed_by(key, line, line_length, text, body);
    }
    if (!signed_by_key)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the checkpoint has no valid signature by the key %s", key->name);
    size_t name = strlen(key->name);
    if (strncmp(checkpoint->origin, key->name, name) != 0 || checkpoint->origin[name] != '/')
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the checkpoint is of another log than one of the key %s", key->name);
    return 0;
}
