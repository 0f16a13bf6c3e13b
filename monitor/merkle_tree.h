// SPDX-License-Identifier: Apache-2.0
// A Merkle tree as RFC 9162 section 2.1 defines it, that only grows: SHA-256, leaves hashed behind
// a byte 0, nodes behind a byte 1.
#ifndef MONITOR_MERKLE_TREE_H
#define MONITOR_MERKLE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

#define MERKLE_MAX_LEVELS 64u

// Most hashes of a proof: one a level, and one more for a consistency proof.
#define MERKLE_MAX_PROOF 65u

struct merkle_hash {
    uint8_t bytes[SHA256_BYTES];
};

// The frontier: roots of the complete subtrees of which the tree consists; nodes[i] has 2^i leaves
// and counts if bit i of `size` is set. Zeroed: the empty tree.
struct merkle_tree {
    uint64_t size;
    struct merkle_hash nodes[MERKLE_MAX_LEVELS];
};

void merkle_leaf(const void *data, size_t length, struct merkle_hash *leaf);
void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right,
                 struct merkle_hash *node);

void merkle_tree_add(struct merkle_tree *tree, const struct merkle_hash *leaf);
void merkle_tree_root(const struct merkle_tree *tree, struct merkle_hash *root);

// Root and proofs of the first `count` of stored leaf hashes. A proof goes to `path`, of
// MERKLE_MAX_PROOF hashes; returns their number. `index` < `count`; 0 < `old` <= `count`.
void merkle_root_of(const struct merkle_hash *leaves, uint64_t count, struct merkle_hash *root);
unsigned merkle_inclusion(const struct merkle_hash *leaves, uint64_t count, uint64_t index,
                          struct merkle_hash *path);
unsigned merkle_consistency(const struct merkle_hash *leaves, uint64_t count, uint64_t old,
                            struct merkle_hash *path);

// True if the proof shows that `leaf` is leaf `index` of the tree of `count` leaves with `root`.
bool merkle_check_inclusion(const struct merkle_hash *leaf, uint64_t index, uint64_t count,
                            const struct merkle_hash *path, unsigned length,
                            const struct merkle_hash *root);

// True if the proof shows that the tree of `old` leaves is the beginning of that of `count`.
bool merkle_check_consistency(uint64_t old, const struct merkle_hash *old_root, uint64_t count,
                              const struct merkle_hash *root, const struct merkle_hash *path,
                              unsigned length);

#endif
