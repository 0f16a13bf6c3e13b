// SPDX-License-Identifier: Apache-2.0
// The Merkle tree against the definition, the vectors of Certificate Transparency, and itself.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "merkle_tree.h"

#define MOST 300u

static struct merkle_hash leaves[MOST];

static void expect_hex(const struct merkle_hash *hash, const char *hex)
{
    char text[2 * SHA256_BYTES + 1];
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        sprintf(text + 2 * i, "%02x", hash->bytes[i]);
    cr_expect_str_eq(text, hex);
}

// RFC 9162 section 2.1.1, word for word.
static void naive_root(const struct merkle_hash *first, uint64_t count, struct merkle_hash *root)
{
    struct merkle_hash left, right;
    uint64_t k = 1;
    if (count == 1) {
        *root = *first;
        return;
    }
    while (k * 2 < count)
        k *= 2;
    naive_root(first, k, &left);
    naive_root(first + k, count - k, &right);
    merkle_node(&left, &right, root);
}

// The eight inputs, and roots of all sizes, of the reference implementation's tests.
Test(merkle_tree, reference_vectors)
{
    static const struct {
        const char *data;
        size_t length;
    } inputs[] = {
        {"", 0},
        {"\x00", 1},
        {"\x10", 1},
        {"\x20\x21", 2},
        {"\x30\x31", 2},
        {"\x40\x41\x42\x43", 4},
        {"\x50\x51\x52\x53\x54\x55\x56\x57", 8},
        {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16},
    };
    static const char *const roots[] = {
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    };
    struct merkle_tree tree = {0};
    struct merkle_hash root;
    for (unsigned i = 0; i <= 8; i++) {
        merkle_tree_root(&tree, &root);
        expect_hex(&root, roots[i]);
        if (i < 8) {
            merkle_leaf(inputs[i].data, inputs[i].length, &root);
            merkle_tree_add(&tree, &root);
        }
    }
}

// Every size, every leaf, every older tree: proofs hold, and do not hold for anything else.
Test(merkle_tree, every_proof)
{
    struct merkle_tree tree = {0};
    struct merkle_hash root, naive, old_root, path[MERKLE_MAX_PROOF];
    static struct merkle_hash roots[MOST + 1];
    for (unsigned size = 1; size <= MOST; size++) {
        merkle_leaf(&size, sizeof(size), &leaves[size - 1]);
        merkle_tree_add(&tree, &leaves[size - 1]);
        merkle_tree_root(&tree, &root);
        naive_root(leaves, size, &naive);
        cr_assert_eq(memcmp(&root, &naive, sizeof(root)), 0, "size %u", size);
        roots[size] = root;
        for (unsigned i = size > 40 ? size - 5 : 0; i < size; i++) {
            unsigned length = merkle_inclusion(leaves, size, i, path);
            cr_assert(merkle_check_inclusion(&leaves[i], i, size, path, length, &root));
            cr_assert_not(
                merkle_check_inclusion(&leaves[i], (i + 1) % size, size, path, length, &root) &&
                size > 1);
            if (length) {
                cr_assert_not(merkle_check_inclusion(&leaves[i], i, size, path, length - 1, &root));
                path[length - 1].bytes[31] ^= 1;
                cr_assert_not(merkle_check_inclusion(&leaves[i], i, size, path, length, &root));
            }
        }
        for (unsigned old = 1; old <= size; old += size > 40 ? 7 : 1) {
            unsigned length = merkle_consistency(leaves, size, old, path);
            cr_assert(merkle_check_consistency(old, &roots[old], size, &root, path, length),
                      "%u %u", old, size);
            old_root = roots[old];
            old_root.bytes[0] ^= 1;
            cr_assert_not(merkle_check_consistency(old, &old_root, size, &root, path, length));
            if (length)
                cr_assert_not(
                    merkle_check_consistency(old, &roots[old], size, &root, path, length - 1));
        }
    }
    cr_expect_not(merkle_check_inclusion(&leaves[0], 1, 1, path, 0, &leaves[0]));
    cr_expect_not(merkle_check_consistency(0, &root, 5, &root, path, 0));
    cr_expect_not(merkle_check_consistency(6, &root, 5, &root, path, 0));
}
