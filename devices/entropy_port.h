// SPDX-License-Identifier: Apache-2.0
// The entropy backend: a ChaCha20 generator with fast key erasure. It makes no system call.
#ifndef DEVICES_ENTROPY_PORT_H
#define DEVICES_ENTROPY_PORT_H

#include "port_backend.h"
#include "vmm_protocol.h"

// Bytes that one key expands to: the next key first, then those that are given out.
#define ENTROPY_EXPANSION_BYTES 1024u

// Nothing that was given out can be computed from what is here: keys are overwritten when they have
// been used, bytes when they are given out.
struct entropy_port {
    uint8_t key[VMM_PORT_SEED_BYTES];
    uint8_t pool[ENTROPY_EXPANSION_BYTES - VMM_PORT_SEED_BYTES];
    uint32_t left; // bytes at the end of the pool that nobody got yet
};

// State: struct entropy_port.
extern const struct port_backend entropy_backend;

// Seeds a generator. The caller wipes `seed`. Requests take consecutive parts of one stream, which
// depends on the seed only.
void entropy_port_init(struct entropy_port *port, const uint8_t seed[VMM_PORT_SEED_BYTES]);

#endif
