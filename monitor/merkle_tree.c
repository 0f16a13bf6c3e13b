// SPDX-License-Identifier: Apache-2.0
// A Merkle tree as RFC 9162 section 2.1 defines it.
#include "merkle_tree.h"

#include <string.h>

void merkle_leaf(const void *data, size_t length, struct merkle_hash *leaf)
{
    static const uint8_t prefix = 0;
    const struct sha256_piece pieces[] = {{&prefix, 1}, {data, length}};
    sha256_pieces(pieces, 2, leaf->bytes);
}

void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right,
                 struct merkle_hash *node)
{
    uint8_t both[1 + 2 * SHA256_BYTES];
    const struct sha256_piece piece = {both, sizeof(both)};
    both[0] = 1;
    memcpy(both + 1, left->bytes, SHA256_BYTES);
    memcpy(both + 1 + SHA256_BYTES, right->bytes, SHA256_BYTES);
    sha256_pieces(&piece, 1, node->bytes);
}

void merkle_tree_add(struct merkle_tree *tree, const struct merkle_hash *leaf)
{
    struct merkle_hash carry = *leaf;
    unsigned level = 0;
    for (; tree->size >> level & 1; level++)
        merkle_node(&tree->nodes[level], &carry, &carry);
    tree->nodes[level] = carry;
    tree->size++;
}

void merkle_tree_root(const struct merkle_tree *tree, struct merkle_hash *root)
{
    bool found = false;
    *root = (struct merkle_hash){0};
    for (unsigned level = 0; level < MERKLE_MAX_LEVELS; level++) {
        if (!(tree->size >> level & 1))
            continue;
        if (found)
            merkle_node(&tree->nodes[level], root, root);
        else
            *root = tree->nodes[level];
        found = true;
    }
    if (!found)
        sha256_pieces(NULL, 0, root->bytes);
}

void merkle_root_of(const struct merkle_hash *leaves, uint64_t count, struct merkle_hash *root)
{
    struct merkle_tree tree = {0};
    for (uint64_t i = 0; i < count; i++)
        merkle_tree_add(&tree, &leaves[i]);
    merkle_tree_root(&tree, root);
}

// The largest power of two below `count`, which is at least 2.
static uint64_t split(uint64_t count)
{
    return 1ull << (63 - __builtin_clzll(count - 1));
}

// The path goes from the root down to the leaf; the format wants the leaf's neighbour first.
static void reverse(struct merkle_hash *path, unsigned length)
{
    for (unsigned i = 0; i < length / 2; i++) {
        struct merkle_hash swapped = path[i];
        path[i] = path[length - 1 - i];
        path[length - 1 - i] = swapped;
    }
}

unsigned merkle_inclusion(const struct merkle_hash *leaves, uint64_t count, uint64_t index,
                          struct merkle_hash *path)
{
    unsigned length = 0;
    while (count > 1) {
        uint64_t left = split(count);
        if (index < left) {
            merkle_root_of(leaves + left, count - left, &path[length++]);
            count = left;
        } else {
            merkle_root_of(leaves, left, &path[length++]);
            leaves += left;
            index -= left;
            count -= left;
        }
    }
    reverse(path, length);
    return length;
}

unsigned merkle_consistency(const struct merkle_hash *leaves, uint64_t count, uint64_t old,
                            struct merkle_hash *path)
{
    unsigned length = 0;
    bool whole = true; // the old tree is the left part of what is looked at: its root is known
    while (old < count) {
        uint64_t left = split(count);
        if (old <= left) {
            merkle_root_of(leaves + left, count - left, &path[length++]);
            count = left;
        } else {
            merkle_root_of(leaves, left, &path[length++]);
            leaves += left;
            old -= left;
            count -= left;
            whole = false;
        }
    }
    if (!whole)
        merkle_root_of(leaves, count, &path[length++]);
    reverse(path, length);
    return length;
}

static bool equal(const struct merkle_hash *a, const struct merkle_hash *b)
{
    return !memcmp(a, b, sizeof(*a));
}

// RFC 9162 section 2.1.3.2.
bool merkle_check_inclusion(const struct merkle_hash *leaf, uint64_t index, uint64_t count,
                            const struct merkle_hash *path, unsigned length,
                            const struct merkle_hash *root)
{
    if (index >= count)
        return false;
    struct merkle_hash hash = *leaf;
    uint64_t first = index;
    uint64_t last = count - 1;
    for (unsigned i = 0; i < length; i++) {
        if (!last)
            return false;
        if ((first & 1) || first == last) {
            merkle_node(&path[i], &hash, &hash);
            while (!(first & 1) && first) {
                first >>= 1;
                last >>= 1;
            }
        } else {
            merkle_node(&hash, &path[i], &hash);
        }
        first >>= 1;
        last >>= 1;
    }
    return !last && equal(&hash, root);
}

// RFC 9162 section 2.1.4.2.
bool merkle_check_consistency(uint64_t old, const struct merkle_hash *old_root, uint64_t count,
                              const struct merkle_hash *root, const struct merkle_hash *path,
                              unsigned length)
{
    if (!old || old > count)
        return false;
    if (old == count)
        return !length && equal(old_root, root);
    if (!length && (old & (old - 1)))
        return false;
    unsigned next = 0;
    const struct merkle_hash *start = old & (old - 1) ? &path[next++] : old_root;
    uint64_t first = old - 1;
    uint64_t last = count - 1;
    while (first & 1) {
        first >>= 1;
        last >>= 1;
    }
    struct merkle_hash old_hash = *start;
    struct merkle_hash hash = *start;
    for (; next < length; next++) {
        if (!last)
            return false;
        if ((first & 1) || first == last) {
            merkle_node(&path[next], &old_hash, &old_hash);
            merkle_node(&path[next], &hash, &hash);
            while (!(first & 1) && first) {
                first >>= 1;
                last >>= 1;
            }
        } else {
            merkle_node(&hash, &path[next], &hash);
        }
        first >>= 1;
        last >>= 1;
    }
    return !last && equal(&old_hash, old_root) && equal(&hash, root);
}
