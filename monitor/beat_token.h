// SPDX-License-Identifier: Apache-2.0
// The signed token with which an operator's console says that somebody is there
// (guillotine-signed-beat/1).
#ifndef MONITOR_BEAT_TOKEN_H
#define MONITOR_BEAT_TOKEN_H

#include "canonical_json.h"
#include "level_order.h"

#define BEAT_TOKEN_FORMAT  "guillotine-beat/1"
#define BEAT_TOKEN_DOMAIN  BEAT_TOKEN_FORMAT "\n"
#define SIGNED_BEAT_FORMAT "guillotine-signed-beat/1"
#define BEAT_TOKEN_MAX     1024u // bytes of the document

// A token lives at most this long: it can be replayed to a supervisor that starts anew until then.
#define BEAT_TOKEN_LIFETIME_S 300ull

struct beat_token {
    uint8_t deployment[16];
    uint8_t vm[16];
    uint64_t counter;  // strictly rising, from 1
    uint64_t issued_s; // Unix time
    uint64_t expires_s;
    struct level_order_signature signature;
};

// Reads a document; only the canonical form is read. The signature is not verified. Returns 0 or
// -1.
int beat_token_parse(const char *name, const char *text, size_t length, struct beat_token *token,
                     struct error *err);

// Writes the document, without a newline. It is the caller's to free. Returns 0 or -1.
int beat_token_format(const struct beat_token *token, char **text, struct error *err);

// Writes what is signed: BEAT_TOKEN_DOMAIN and the canonical text of the token. Returns 0 or -1.
int beat_token_message(const struct beat_token *token, char **message, size_t *length,
                       struct error *err);

// Refuses a token that is not signed by a key of the set, is of another deployment or VM, does not
// count up, or is not of now. Returns 0 or -1.
int beat_token_check(const struct beat_token *token, const struct level_key_set *key_set,
                     const uint8_t vm[16], uint64_t last_counter, uint64_t now_s,
                     struct error *err);

#endif
