// SPDX-License-Identifier: Apache-2.0
// What the program guillotine-serve gets of a serve port's settings, in sealed memory.
#ifndef BASE_SERVE_GRANT_H
#define BASE_SERVE_GRANT_H

#include <stddef.h>
#include <stdint.h>

#define SERVE_MODEL_MAX   128u // bytes of the model's name, with the terminator
#define SERVE_TOKEN_MAX   256u // bytes of the bearer token, with the terminator
#define SERVE_QUEUE_MAX   256u // calls that wait or run
#define SERVE_CLIENTS_MAX 512u // connections

// Descriptors behind BACKEND_FDS: listening sockets, `listeners` of them.
#define SERVE_LISTENERS_MAX 2u

struct serve_grant {
    char model[SERVE_MODEL_MAX]; // terminated, printable UTF-8: what clients call it
    char token[SERVE_TOKEN_MAX]; // terminated; empty: none is asked for
    uint64_t created_s;          // Unix time: when the model was started
    uint32_t listeners;          // 1 to SERVE_LISTENERS_MAX
    uint32_t queue;              // calls that wait or run, at most; 1 to SERVE_QUEUE_MAX
    uint32_t connections;        // at most; 1 to SERVE_CLIENTS_MAX
    uint32_t max_tokens;         // of one reply, at most; 0: the model's context is the bound
    uint64_t deadline_ms;        // of a call, from its arrival to its end
};
_Static_assert(sizeof(struct serve_grant) == 416, "format");
_Static_assert(offsetof(struct serve_grant, created_s) == 384, "format");
_Static_assert(offsetof(struct serve_grant, deadline_ms) == 408, "format");

#endif
