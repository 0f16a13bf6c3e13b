// SPDX-License-Identifier: Apache-2.0
// One key set follows another: by both quorums, without a gap, and in one form.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key_set_file.h"
#include "order_world.h"

static struct key_set_file old_set, new_set;
static struct error err;

static void add_keys(struct key_set_file *file, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t secret[64];
        make_key(first + i, file->set.key[i], secret);
        snprintf(file->names[i], KEY_NAME_SIZE, "key-%u", first + i);
    }
    file->set.keys = count;
}

static void sign_key_set(struct key_set_file *file, unsigned index)
{
    struct level_order_signature *signature = &file->list.signatures[file->list.count++];
    uint8_t secret[64];
    char *message;
    size_t length;
    make_key(index, signature->key, secret);
    cr_assert_eq(key_set_file_message(file, &message, &length, &err), 0);
    crypto_sign_detached(signature->signature, NULL, (uint8_t *)message, length, secret);
    free(message);
}

// Version 1 has keys 0 to 6, version 2 keys 4 to 10.
static void make_sets(void)
{
    old_set = (struct key_set_file){.set = {.version = 1, .raise = 3, .lower = 5}};
    new_set = (struct key_set_file){.set = {.version = 2, .raise = 3, .lower = 5}};
    add_keys(&old_set, 0, 7);
    add_keys(&new_set, 4, 7);
    for (unsigned i = 0; i < 5; i++)
        sign_key_set(&old_set, i);
}

TestSuite(key_set_file, .init = make_sets);

static bool follows(const struct key_set_file *before, const struct key_set_file *file)
{
    return key_set_file_check("keys", before, file, &err) == 0;
}

Test(key_set_file, first)
{
    cr_expect(follows(NULL, &old_set), "%s", err.text);
    old_set.list.count = 4;
    cr_expect_not(follows(NULL, &old_set));
    cr_expect(strstr(err.text, "4 of the new key set"));
    new_set.list.count = 0;
    cr_expect_not(follows(NULL, &new_set), "version 2 is not a first one");
}

// Signed by `from` to `from + count - 1`.
static bool signed_by(unsigned from, unsigned count)
{
    new_set.list.count = 0;
    for (unsigned i = 0; i < count; i++)
        sign_key_set(&new_set, from + i);
    return follows(&old_set, &new_set);
}

Test(key_set_file, both_quorums)
{
    for (unsigned from = 0; from < 11; from++) {
        for (unsigned count = 0; from + count <= 11; count++) {
            unsigned old_keys = 0, new_keys = 0;
            for (unsigned i = from; i < from + count; i++) {
                old_keys += i < 7;
                new_keys += i >= 4;
            }
            cr_expect_eq(signed_by(from, count), old_keys >= 5 && new_keys >= 5, "%u from %u",
                         count, from);
        }
    }
}

Test(key_set_file, refused)
{
    cr_assert(signed_by(0, 11), "%s", err.text);
    struct key_set_file good = new_set;
    new_set.list.signatures[3] = new_set.list.signatures[2];
    cr_expect_not(follows(&old_set, &new_set), "twice");
    new_set = good;
    new_set.list.signatures[3].signature[9] ^= 4;
    cr_expect_not(follows(&old_set, &new_set), "bad signature");
    new_set = good;
    sign_key_set(&new_set, 12);
    cr_expect_not(follows(&old_set, &new_set), "a stranger");
    new_set = good;
    new_set.set.raise = 1;
    cr_expect_not(follows(&old_set, &new_set), "changed after it was signed");
    static const uint64_t versions[] = {1, 3, 4};
    for (unsigned i = 0; i < 3; i++) {
        new_set.set.version = versions[i];
        cr_expect_not(signed_by(0, 11), "version %u", (unsigned)versions[i]);
    }
    new_set.set.version = 2;
    new_set.set.demo = 1;
    cr_expect_not(signed_by(0, 11), "no demonstration after earnest");
    old_set.set.demo = 1;
    cr_expect(signed_by(0, 11), "%s", err.text);
    new_set.set.deployment[0] ^= 1;
    cr_expect_not(signed_by(0, 11), "another deployment");
}

Test(key_set_file, both_ways)
{
    static struct key_set_file back;
    static const uint8_t digest[32] = {1, 2, 3};
    char *text;
    memcpy(new_set.replicas[new_set.replica_count++], digest, 32);
    cr_assert(signed_by(0, 11));
    cr_assert_eq(key_set_file_format(&new_set, &text, &err), 0);
    cr_assert_eq(key_set_file_parse("keys", text, strlen(text), &back, &err), 0, "%s", err.text);
    cr_expect_eq(memcmp(&new_set, &back, sizeof(back)), 0);
    cr_expect(follows(&old_set, &back));
    cr_expect(key_set_file_permits_replica(&back, digest));
    cr_expect_not(key_set_file_permits_replica(&old_set, digest));
    // No byte of it can be another one.
    size_t length = strlen(text);
    for (size_t i = 0; i + 1 < length; i++) {
        for (unsigned bit = 0; bit < 8; bit += 3) {
            text[i] ^= (char)(1 << bit);
            cr_expect(key_set_file_parse("keys", text, length, &back, &err) < 0 ||
                          !follows(&old_set, &back),
                      "byte %zu", i);
            text[i] ^= (char)(1 << bit);
        }
    }
    free(text);
}

// A key whose signatures hold for anything is none.
Test(key_set_file, small_order_key)
{
    static struct key_set_file back;
    char *text;
    memset(new_set.set.key[0], 0, 32);
    cr_assert_eq(key_set_file_format(&new_set, &text, &err), 0);
    cr_expect_lt(key_set_file_parse("keys", text, strlen(text), &back, &err), 0);
    cr_expect(strstr(err.text, "not an Ed25519 key"), "%s", err.text);
    free(text);
}
