// SPDX-License-Identifier: Apache-2.0
// Weights as the VMM gets them: the file itself, or memory with what was sealed in it.
#ifndef MONITOR_WEIGHTS_INPUT_H
#define MONITOR_WEIGHTS_INPUT_H

#include "sealed_weights.h"
#include "vm_file.h"

// The SHA-256 of the plaintext of sealed weights. Returns 1, or 0 if they are not sealed or nobody
// has their key any more (they will not open either), or -1.
int weights_input_identify(const char *state_dir, int fd, uint8_t sha256[crypto_hash_sha256_BYTES],
                           struct error *err);

// Replaces the descriptor of sealed weights by one of their decrypted memory, and *bytes by its
// size. Other weights stay as they are, unless the VM file says that they are sealed. Says on
// standard error what is best effort. Returns 0 or -1; *fd is the caller's in any case.
int weights_input_open(const char *state_dir, const struct vm_weights *weights, int *fd,
                       uint64_t *bytes, struct sealed_memory *memory, struct error *err);

#endif
