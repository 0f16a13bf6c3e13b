// SPDX-License-Identifier: Apache-2.0
// Key files: what is written can be read, with the passphrase and unchanged only.
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quorum_key.h"
#include "whole_file.h"

static char folder[64] = "/tmp/quorum-key-XXXXXX";
static char path[128], phrase[128], wrong[128];
static struct quorum_key key, back;
static struct error err;

static void put(const char *name, char *full, const char *text)
{
    snprintf(full, 128, "%s/%s", folder, name);
    if (text)
        cr_assert_eq(whole_file_write(full, text, strlen(text), 0600, false, &err), 0);
}

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    put("key", path, NULL);
    put("phrase", phrase, "correct horse\nignored\n");
    put("wrong", wrong, "correct hors\n");
    cr_assert_eq(quorum_key_make(&key, "alice", false, &err), 0);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(phrase);
    unlink(wrong);
    rmdir(folder);
}

TestSuite(quorum_key, .init = make_folder, .fini = remove_folder);

Test(quorum_key, encrypted)
{
    const struct quorum_passphrase right = {.file = phrase};
    const struct quorum_passphrase other = {.file = wrong};
    char *text;
    size_t length;
    char seed[65];
    cr_assert_eq(quorum_key_write(path, &key, &right, &err), 0, "%s", err.text);
    cr_assert_eq(quorum_key_load(path, &right, &back, &err), 0, "%s", err.text);
    cr_expect_eq(memcmp(&key, &back, sizeof(key)), 0);
    cr_expect_lt(quorum_key_load(path, &other, &back, &err), 0);
    cr_expect(strstr(err.text, "passphrase is wrong"), "%s", err.text);
    cr_expect_lt(quorum_key_write(path, &key, &right, &err), 0, "never replaced");
    cr_assert_eq(quorum_key_load_public(path, &back, &err), 0);
    cr_expect_arr_eq(back.public, key.public, 32);
    cr_expect(sodium_is_zero(back.secret, sizeof(back.secret)));
    // The secret is not in the file.
    sodium_bin2hex(seed, sizeof(seed), key.secret, 32);
    cr_assert_eq(whole_file_read(path, QUORUM_KEY_MAX, &text, &length, &err), 0);
    cr_expect_null(strstr(text, seed));
    // Its public half belongs to the box: another one in its place opens nothing.
    char *public = strstr(text, "\"public\":\"");
    public[10] = public[10] == '0' ? '1' : '0';
    cr_assert_eq(whole_file_write(path, text, length, 0600, false, &err), 0);
    cr_expect_lt(quorum_key_load(path, &right, &back, &err), 0);
    free(text);
}

Test(quorum_key, demonstration)
{
    const struct quorum_passphrase nobody = {.file = "/nonexistent"};
    key.demo = true;
    cr_assert_eq(quorum_key_write(path, &key, &nobody, &err), 0, "%s", err.text);
    cr_assert_eq(quorum_key_load(path, &nobody, &back, &err), 0, "%s", err.text);
    cr_expect_eq(memcmp(&key, &back, sizeof(key)), 0);
    unlink(path);
    cr_assert_eq(quorum_key_write(path, &key, NULL, &err), 0);
    cr_expect_lt(quorum_key_load(path, &nobody, &back, &err), 0);
    cr_assert_eq(quorum_key_load_public(path, &back, &err), 0);
    cr_expect(back.demo, "still marked");
}

// A file that asks for all memory, or contradicts itself.
Test(quorum_key, refused)
{
#define HEAD                                                                                       \
    "{\"format\":\"guillotine-key/1\",\"name\":\"a\",\"public\":"                                  \
    "\"0000000000000000000000000000000000000000000000000000000000000000\","
#define SECRET "\"0000000000000000000000000000000000000000000000000000000000000000\""
    static const char *const bad[] = {
        HEAD "\"demo\":false,\"secret\":" SECRET "}",
        HEAD "\"demo\":true,\"secret\":" SECRET "}", // of another public half
        HEAD "\"demo\":false,\"kdf_memory_bytes\":1099511627776}",
        HEAD "\"demo\":false,\"kdf_operations\":1000000}",
        HEAD "\"demo\":false,\"kdf\":\"md5\"}",
        HEAD "\"demo\":false,\"box\":\"00\"}",
        HEAD "\"demo\":false}",
        HEAD "\"demo\":false",
        "",
    };
    const struct quorum_passphrase right = {.file = phrase};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put("key", path, bad[i]);
        cr_expect_lt(quorum_key_load(path, &right, &back, &err), 0, "%s", bad[i]);
    }
    cr_expect_lt(quorum_key_make(&key, "a b", false, &err), 0);
    cr_expect_lt(quorum_key_make(&key, "", false, &err), 0);
}

Test(quorum_key, pem)
{
    // RFC 8410, section 10.1.
    uint8_t public[32];
    char text[QUORUM_PEM_SIZE];
    sodium_hex2bin(public, 32, "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1",
                   64, NULL, NULL, NULL);
    quorum_key_pem(public, text);
    cr_expect_str_eq(text, "-----BEGIN PUBLIC KEY-----\n"
                           "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                           "-----END PUBLIC KEY-----\n");
}
