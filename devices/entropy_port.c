// SPDX-License-Identifier: Apache-2.0
// The entropy backend: a ChaCha20 generator with fast key erasure. It makes no system call.
#include "entropy_port.h"

#include <sodium/crypto_stream_chacha20.h>
#include <string.h>

static const struct port_operation entropy_operations[] = {
    {ENTROPY_READ, 0, ENTROPY_MAX_BYTES, "read"},
};

void entropy_port_init(struct entropy_port *port, const uint8_t seed[VMM_PORT_SEED_BYTES])
{
    *port = (struct entropy_port){.left = 0};
    memcpy(port->key, seed, sizeof(port->key));
}

static void refill(struct entropy_port *port)
{
    // Each key is used once: the nonce may always be the same.
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    _Static_assert(sizeof(port->key) == crypto_stream_chacha20_KEYBYTES, "key");
    uint8_t expansion[ENTROPY_EXPANSION_BYTES];
    crypto_stream_chacha20(expansion, sizeof(expansion), nonce, port->key);
    memcpy(port->key, expansion, sizeof(port->key));
    memcpy(port->pool, expansion + sizeof(port->key), sizeof(port->pool));
    explicit_bzero(expansion, sizeof(expansion));
    port->left = sizeof(port->pool);
}

static void take(struct entropy_port *port, uint8_t *target, uint32_t length)
{
    while (length) {
        if (!port->left)
            refill(port);
        uint32_t part = length < port->left ? length : port->left;
        uint8_t *from = port->pool + sizeof(port->pool) - port->left;
        memcpy(target, from, part);
        explicit_bzero(from, part);
        port->left -= part;
        target += part;
        length -= part;
    }
}

static enum port_progress entropy_submit(void *state, struct port_request *request)
{
    uint32_t wanted = request->argument;
    if (request->operation != ENTROPY_READ || !wanted || wanted > ENTROPY_MAX_BYTES) {
        request->status = PORT_STATUS_INVALID;
    } else if (wanted > request->reply_capacity) {
        request->status = PORT_STATUS_TOO_LARGE;
    } else {
        take(state, request->reply, wanted);
        request->reply_length = wanted;
    }
    return PORT_DONE;
}

static void entropy_nothing(void *state)
{
    (void)state;
}

static bool entropy_prepare_sleep(void *state, uint64_t *wake_ns)
{
    (void)state;
    (void)wake_ns;
    return false;
}

const struct port_backend entropy_backend = {
    .kind = PORT_KIND_ENTROPY,
    .name = "entropy",
    .operations = entropy_operations,
    .operation_count = sizeof(entropy_operations) / sizeof(entropy_operations[0]),
    .submit = entropy_submit,
    .resume = entropy_submit, // never pending
    .flush = entropy_nothing,
    .prepare_sleep = entropy_prepare_sleep,
    .forget = entropy_nothing,
};
