// SPDX-License-Identifier: Apache-2.0
// Key files of administrators.
#include "quorum_key.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"
#include "hex.h"
#include "whole_file.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define SEED_BYTES  crypto_sign_SEEDBYTES
#define SALT_BYTES  crypto_pwhash_SALTBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define BOX_BYTES   (SEED_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES)

// What a file may ask for: it comes from outside and must not take all memory.
#define MEMORY_MAX     (1ull << 30)
#define OPERATIONS_MAX 16u

// As the file has it.
struct key_file {
    char name[KEY_NAME_SIZE];
    uint8_t public[32];
    bool demo;
    bool has_seed;
    uint8_t seed[SEED_BYTES];
    bool has_box;
    uint64_t memory_bytes;
    uint64_t operations;
    uint8_t salt[SALT_BYTES];
    uint8_t nonce[NONCE_BYTES];
    uint8_t box[BOX_BYTES];
};

int quorum_key_make(struct quorum_key *key, const char *name, bool demo, struct error *err)
{
    *key = (struct quorum_key){.demo = demo};
    if (!key_name_is_plain(name))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "a key's name has 1 to %d letters, digits and - _ . @", KEY_NAME_SIZE - 1);
    snprintf(key->name, sizeof(key->name), "%s", name);
    crypto_sign_keypair(key->public, key->secret);
    return 0;
}

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

// Reads a line; a signal that would end the process ends the reading first, so that the terminal
// gets its echo back, and the process then.
static ssize_t read_interruptibly(int fd, char *line, const struct termios *before)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    enum { COUNT = sizeof(numbers) / sizeof(numbers[0]) };
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old[COUNT];
    interrupted = 0;
    for (size_t i = 0; i < COUNT; i++)
        sigaction(numbers[i], &action, &old[i]);
    ssize_t length = read(fd, line, QUORUM_PASSPHRASE_MAX - 1);
    tcsetattr(fd, TCSAFLUSH, before);
    for (size_t i = 0; i < COUNT; i++)
        sigaction(numbers[i], &old[i], NULL);
    if (interrupted)
        raise(interrupted);
    return length;
}

// Reads one line without echo.
static int read_terminal(const char *prompt, char *line, struct error *err)
{
    struct termios before;
    cleanup_fd int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &before) < 0)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "no terminal to ask for a passphrase: use --passphrase-file");
    struct termios silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    silent.c_lflag |= ECHONL | ICANON;
    if (tcsetattr(fd, TCSAFLUSH, &silent) < 0 || dprintf(fd, "%s", prompt) < 0)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "terminal");
    ssize_t length = read_interruptibly(fd, line, &before);
    if (length <= 0)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "no passphrase was typed");
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

static int read_passphrase(const struct quorum_passphrase *from, const char *whose, char *line,
                           struct error *err)
{
    char prompt[128];
    char again[QUORUM_PASSPHRASE_MAX];
    if (from->file) {
        cleanup_free char *text = NULL;
        size_t length;
        if (whole_file_read(from->file, QUORUM_PASSPHRASE_MAX - 1, &text, &length, err) < 0)
            return error_wrap(err, "passphrase");
        text[strcspn(text, "\n")] = '\0';
        snprintf(line, QUORUM_PASSPHRASE_MAX, "%s", text);
        sodium_memzero(text, length);
    } else {
        snprintf(prompt, sizeof(prompt), "Passphrase of key %s: ", whose);
        if (read_terminal(prompt, line, err) < 0)
            return -1;
        if (from->twice) {
            int result = read_terminal("Once more: ", again, err);
            if (result == 0 && strcmp(line, again) != 0)
                result = error_set(err, EXIT_STATUS_FAILURE, 0, "the two passphrases differ");
            sodium_memzero(again, sizeof(again));
            if (result < 0)
                return -1;
        }
    }
    return line[0] ? 0 : error_set(err, EXIT_STATUS_USAGE, 0, "the passphrase is empty");
}

// What the box is bound to, besides the passphrase: the public half.
static size_t fill_bound(uint8_t bound[64], const uint8_t public[32])
{
    const size_t prefix = sizeof(QUORUM_KEY_FORMAT);
    memcpy(bound, QUORUM_KEY_FORMAT, prefix);
    memcpy(bound + prefix, public, 32);
    return prefix + 32;
}

static int derive(const struct key_file *file, const char *passphrase, uint8_t key[32],
                  struct error *err)
{
    return crypto_pwhash(key, 32, passphrase, strlen(passphrase), file->salt, file->operations,
                         file->memory_bytes, crypto_pwhash_ALG_ARGON2ID13)
               ? error_set(err, EXIT_STATUS_RESOURCES, 0,
                           "not enough memory for the passphrase (%llu MiB)",
                           (unsigned long long)(file->memory_bytes >> 20))
               : 0;
}

static int lock_seed(struct key_file *file, const uint8_t *seed, const char *passphrase,
                     struct error *err)
{
    uint8_t key[32];
    uint8_t bound[64];
    file->has_box = true;
    file->operations = crypto_pwhash_OPSLIMIT_MODERATE;
    file->memory_bytes = crypto_pwhash_MEMLIMIT_MODERATE;
    randombytes_buf(file->salt, sizeof(file->salt));
    randombytes_buf(file->nonce, sizeof(file->nonce));
    if (derive(file, passphrase, key, err) < 0)
        return -1;
    crypto_aead_xchacha20poly1305_ietf_encrypt(file->box, NULL, seed, SEED_BYTES, bound,
                                               fill_bound(bound, file->public), NULL, file->nonce,
                                               key);
    sodium_memzero(key, sizeof(key));
    return 0;
}

static int unlock_seed(struct key_file *file, const char *passphrase, struct error *err)
{
    uint8_t key[32];
    uint8_t bound[64];
    if (derive(file, passphrase, key, err) < 0)
        return -1;
    int result = crypto_aead_xchacha20poly1305_ietf_decrypt(
        file->seed, NULL, NULL, file->box, sizeof(file->box), bound,
        fill_bound(bound, file->public), file->nonce, key);
    sodium_memzero(key, sizeof(key));
    return result ? error_set(err, EXIT_STATUS_FAILURE, 0,
                              "the passphrase is wrong, or the key file is damaged")
                  : 0;
}

static void add_hex(struct json_object *object, const char *key, const void *bytes, size_t length)
{
    char text[2 * BOX_BYTES + 1];
    hex_format(text, bytes, length);
    json_object_object_add(object, key, json_object_new_string(text));
    sodium_memzero(text, sizeof(text));
}

static int print_file(const struct key_file *file, char **text, size_t *length, struct error *err)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "format", json_object_new_string(QUORUM_KEY_FORMAT));
    json_object_object_add(object, "name", json_object_new_string(file->name));
    json_object_object_add(object, "demo", json_object_new_boolean(file->demo));
    add_hex(object, "public", file->public, sizeof(file->public));
    if (file->has_seed)
        add_hex(object, "secret", file->seed, sizeof(file->seed));
    if (file->has_box) {
        json_object_object_add(object, "kdf", json_object_new_string("argon2id"));
        json_object_object_add(object, "kdf_memory_bytes",
                               json_object_new_int64((int64_t)file->memory_bytes));
        json_object_object_add(object, "kdf_operations",
                               json_object_new_int64((int64_t)file->operations));
        add_hex(object, "salt", file->salt, sizeof(file->salt));
        json_object_object_add(object, "cipher", json_object_new_string("xchacha20-poly1305"));
        add_hex(object, "nonce", file->nonce, sizeof(file->nonce));
        add_hex(object, "box", file->box, sizeof(file->box));
    }
    int result = canonical_json_print(object, text, length, err);
    json_object_put(object);
    return result;
}

int quorum_key_write(const char *path, const struct quorum_key *key,
                     const struct quorum_passphrase *passphrase, struct error *err)
{
    struct key_file file = {.demo = key->demo, .has_seed = key->demo && passphrase};
    char line[QUORUM_PASSPHRASE_MAX];
    cleanup_free char *text = NULL;
    size_t length = 0;
    memcpy(file.name, key->name, sizeof(file.name));
    memcpy(file.public, key->public, sizeof(file.public));
    if (file.has_seed)
        memcpy(file.seed, key->secret, sizeof(file.seed)); // the seed comes first in it
    int result = 0;
    if (passphrase && !key->demo) {
        result = read_passphrase(passphrase, key->name, line, err);
        if (result == 0)
            result = lock_seed(&file, key->secret, line, err);
        sodium_memzero(line, sizeof(line));
    }
    if (result == 0)
        result = print_file(&file, &text, &length, err);
    sodium_memzero(&file, sizeof(file));
    if (result < 0)
        return -1;
    text[length++] = '\n'; // in the place of the terminator
    result = whole_file_write(path, text, length, passphrase ? 0600 : 0644, true, err);
    sodium_memzero(text, length);
    return result;
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, QUORUM_KEY_FORMAT, err);
}

static int read_kdf(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, "argon2id", err);
}

static int read_cipher(const struct json_place *place, void *target, struct error *err)
{
    (void)target;
    return canonical_read_format(place, "xchacha20-poly1305", err);
}

static int read_seed(const struct json_place *place, void *target, struct error *err)
{
    ((struct key_file *)target)->has_seed = true;
    return canonical_field_hex(place, target, err);
}

static int read_box(const struct json_place *place, void *target, struct error *err)
{
    ((struct key_file *)target)->has_box = true;
    return canonical_field_hex(place, target, err);
}

#define AT(member) offsetof(struct key_file, member)

static int parse_file(const char *path, const char *text, size_t length, struct key_file *file,
                      struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {"name", canonical_field_text, true, AT(name), 1, KEY_NAME_SIZE},
        {"demo", json_field_bool, true, AT(demo), 0, 0},
        {"public", canonical_field_hex, true, AT(public), 0, 32},
        {"secret", read_seed, false, AT(seed), 0, SEED_BYTES},
        {.key = "kdf", .read = read_kdf},
        {"kdf_memory_bytes", json_field_u64, false, AT(memory_bytes), 8192, MEMORY_MAX},
        {"kdf_operations", json_field_u64, false, AT(operations), 1, OPERATIONS_MAX},
        {"salt", canonical_field_hex, false, AT(salt), 0, SALT_BYTES},
        {.key = "cipher", .read = read_cipher},
        {"nonce", canonical_field_hex, false, AT(nonce), 0, NONCE_BYTES},
        {"box", read_box, false, AT(box), 0, BOX_BYTES},
    };
    cleanup_json_document struct json_document document = {0};
    if (json_document_parse(&document, path, text, length, QUORUM_KEY_MAX, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_read_object(&root, fields, COUNT(fields), file, err) < 0)
        return -1;
    if ((file->has_box && (!file->memory_bytes || !file->operations)) ||
        (file->has_seed && (!file->demo || file->has_box)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: a key is encrypted, or for demonstration, or public only", path);
    return 0;
}

static int load(const char *path, struct key_file *file, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length;
    *file = (struct key_file){0};
    if (whole_file_read(path, QUORUM_KEY_MAX, &text, &length, err) < 0)
        return -1;
    int result = parse_file(path, text, length, file, err);
    sodium_memzero(text, length);
    return result;
}

int quorum_key_load_public(const char *path, struct quorum_key *key, struct error *err)
{
    struct key_file file;
    int result = load(path, &file, err);
    *key = (struct quorum_key){.demo = file.demo};
    memcpy(key->name, file.name, sizeof(key->name));
    memcpy(key->public, file.public, sizeof(key->public));
    sodium_memzero(&file, sizeof(file));
    return result;
}

static int open_seed(const char *path, struct key_file *file,
                     const struct quorum_passphrase *passphrase, struct error *err)
{
    char line[QUORUM_PASSPHRASE_MAX];
    if (file->has_seed)
        return 0;
    if (!file->has_box)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s has the public half of the key only",
                         path);
    int result = read_passphrase(passphrase, file->name, line, err);
    if (result == 0)
        result = unlock_seed(file, line, err);
    sodium_memzero(line, sizeof(line));
    return result < 0 ? error_wrap(err, "%s", path) : 0;
}

int quorum_key_load(const char *path, const struct quorum_passphrase *passphrase,
                    struct quorum_key *key, struct error *err)
{
    struct key_file file;
    uint8_t public[32];
    *key = (struct quorum_key){0};
    int result = load(path, &file, err);
    if (result == 0)
        result = open_seed(path, &file, passphrase, err);
    if (result == 0) {
        key->demo = file.demo;
        memcpy(key->name, file.name, sizeof(key->name));
        memcpy(key->public, file.public, sizeof(key->public));
        crypto_sign_seed_keypair(public, key->secret, file.seed);
        if (memcmp(public, file.public, sizeof(public)) != 0) {
            quorum_key_clear(key);
            result = error_set(err, EXIT_STATUS_BAD_FILE, 0,
                               "%s: the two halves do not belong "
                               "together",
                               path);
        }
    }
    sodium_memzero(&file, sizeof(file));
    return result;
}

void quorum_key_clear(struct quorum_key *key)
{
    sodium_memzero(key->secret, sizeof(key->secret));
}

void quorum_key_sign(const struct quorum_key *key, const char *message, size_t length,
                     struct level_order_signature *signature)
{
    memcpy(signature->key, key->public, sizeof(signature->key));
    crypto_sign_detached(signature->signature, NULL, (const uint8_t *)message, length, key->secret);
}

void quorum_key_pem(const uint8_t public[32], char text[QUORUM_PEM_SIZE])
{
    // SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING } of RFC 8410.
    uint8_t der[44] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    char base64[64];
    memcpy(der + 12, public, 32);
    sodium_bin2base64(base64, sizeof(base64), der, sizeof(der), sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, QUORUM_PEM_SIZE, "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n",
             base64);
}
