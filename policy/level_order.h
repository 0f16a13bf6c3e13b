// SPDX-License-Identifier: Apache-2.0
// Signed orders of the administrators: the canonical text, the signatures over it, and the check.
//
// Supervisor and VMM share this. Nobody parses here: whoever verifies writes the text of the struct
// itself and checks the signatures over its own bytes. No allocation, no system call.
#ifndef POLICY_LEVEL_ORDER_H
#define POLICY_LEVEL_ORDER_H

#include <stddef.h>
#include <stdint.h>

#include "level_control.h"

#define LEVEL_ORDER_FORMAT "guillotine-order/1"

// In front of the canonical text in what is signed, so that a signature of another kind of document
// is never one of an order.
#define LEVEL_ORDER_DOMAIN LEVEL_ORDER_FORMAT "\n"

#define LEVEL_MAX_KEYS             16u
#define LEVEL_ORDER_MAX_SIGNATURES LEVEL_MAX_KEYS
#define LEVEL_ORDER_TEXT_SIZE      256u  // of a statement, with its terminator
#define LEVEL_ORDER_TEXT_MAX       4096u // of the canonical text, with its terminator
#define LEVEL_ORDER_MESSAGE_MAX    (sizeof(LEVEL_ORDER_DOMAIN) + LEVEL_ORDER_TEXT_MAX)

// Largest integer that RFC 8785 writes exactly.
#define LEVEL_ORDER_INTEGER_MAX ((1ull << 53) - 1)

// An order lives at most this long, and may come from a clock that is this much ahead.
#define LEVEL_ORDER_LIFETIME_S (24ull * 3600)
#define LEVEL_ORDER_SKEW_S     60ull

enum level_order_kind {
    LEVEL_ORDER_SET = 1,
    LEVEL_ORDER_WITHDRAW = 2, // the open proposal; and with its sequence number all older orders
    LEVEL_ORDER_POLICY = 3,   // a policy document, however loose; no level changes
};

// An order. It goes from the supervisor to the VMM as it is: no padding, no pointers.
struct level_order {
    uint8_t deployment[16];
    uint8_t vm[16];
    uint8_t nonce[16];
    uint64_t sequence; // of this VM's orders, rising
    uint64_t issued_s; // Unix time
    uint64_t expires_s;
    uint64_t key_set;  // version
    uint32_t kind;     // enum level_order_kind
    uint32_t from;     // enum level
    uint32_t to;       // enum level; of all but a SET the same as `from`
    uint32_t repaired; // 1: with a statement that the irreversible cut was repaired
    char reason[LEVEL_ORDER_TEXT_SIZE]; // UTF-8, not empty
    char repair[LEVEL_ORDER_TEXT_SIZE]; // UTF-8, empty unless repaired
    uint8_t policy[32];                 // SHA-256 of the document's bytes; zero: of another kind
};
_Static_assert(sizeof(struct level_order) == 640, "ABI");
_Static_assert(offsetof(struct level_order, sequence) == 48, "ABI");
_Static_assert(offsetof(struct level_order, reason) == 96, "ABI");

struct level_order_signature {
    uint8_t key[32]; // Ed25519
    uint8_t signature[64];
};
_Static_assert(sizeof(struct level_order_signature) == 96, "ABI");

// The administrators' keys. All zero: there is no key set.
struct level_key_set {
    uint64_t version; // from 1
    uint32_t keys;
    uint32_t raise; // thresholds
    uint32_t lower;
    uint32_t demo; // 1: the secrets are not secret
    uint8_t deployment[16];
    uint8_t key[LEVEL_MAX_KEYS][32]; // distinct
};
_Static_assert(sizeof(struct level_key_set) == 552, "ABI");
_Static_assert(offsetof(struct level_key_set, key) == 40, "ABI");

// Why an order is refused. Below: enum level_refusal, the transition's own reasons.
enum level_order_refusal {
    LEVEL_ORDER_ACCEPTED = 0,
    LEVEL_ORDER_MALFORMED = 64,
    LEVEL_ORDER_NO_KEY_SET,
    LEVEL_ORDER_KEY_SET, // signed for another version
    LEVEL_ORDER_DEPLOYMENT,
    LEVEL_ORDER_VM,
    LEVEL_ORDER_LIFETIME,
    LEVEL_ORDER_NOT_YET,
    LEVEL_ORDER_EXPIRED,
    LEVEL_ORDER_SEQUENCE, // replayed or overtaken
    LEVEL_ORDER_FROM,
    LEVEL_ORDER_DUPLICATE_KEY,
    LEVEL_ORDER_UNKNOWN_KEY,
    LEVEL_ORDER_SIGNATURE,
    LEVEL_ORDER_ROTATED,      // the VM runs with an older key set, and would not be lowered by it
    LEVEL_ORDER_KEYS_DAMAGED, // nobody knows whose signatures count
    LEVEL_ORDER_TOO_OLD,      // would lower, and may have been spent before a loss
    LEVEL_ORDER_NOT_NOTED,    // nothing would remember that it is spent
    LEVEL_ORDER_KIND,         // about levels where a policy is expected, or the other way round
    LEVEL_ORDER_DOCUMENT,     // about another policy document
    LEVEL_ORDER_END,
};

// What the checker knows of its own.
struct level_order_context {
    const struct level_key_set *key_set;
    const uint8_t *vm; // UUID
    enum level level;
    uint64_t last_sequence; // of the last accepted order; 0: none
    uint64_t now_s;         // Unix time
    uint64_t issued_from_s; // Unix time; those that lower or loosen have to be this new
    bool policy;            // expects LEVEL_ORDER_POLICY, and takes no other
};

// Writes the canonical text (RFC 8785) with a terminator. Returns its length, or -1 if the order is
// not well-formed (a number out of range, a text that is not terminated UTF-8, a statement that is
// missing or too much) or `size` is too small; LEVEL_ORDER_TEXT_MAX is enough for every order.
int level_order_format(const struct level_order *order, char *text, size_t size);

// Writes what is signed: LEVEL_ORDER_DOMAIN and the canonical text. Returns the length or -1.
int level_order_message(const struct level_order *order, char message[LEVEL_ORDER_MESSAGE_MAX]);

// Number of distinct keys of the set with a valid signature over LEVEL_ORDER_DOMAIN and the
// canonical text. Small-order and non-canonical keys and signatures count as invalid. 0 if the
// order is malformed. `count` above LEVEL_ORDER_MAX_SIGNATURES counts nothing.
uint32_t level_order_signatures(const struct level_order *order,
                                const struct level_order_signature *signatures, uint32_t count,
                                const struct level_key_set *key_set);

// Checks everything about an order except how many signatures it needs, which is
// level_transition's business, and that of who puts policies in force (event->signatures): 0 and
// *event filled, or why it is refused (enum level_order_refusal). Every signature must be valid and
// of another key of the set.
uint32_t level_order_check(const struct level_order *order,
                           const struct level_order_signature *signatures, uint32_t count,
                           const struct level_order_context *context, struct level_event *event);

// Thresholds as level_transition wants them.
struct level_quorum level_key_set_quorum(const struct level_key_set *key_set);

// True if a key set from a peer or file can be used: numbers in range, keys distinct, no key twice.
bool level_key_set_is_sound(const struct level_key_set *key_set);

// Index of a key, or -1.
int level_key_set_find(const struct level_key_set *key_set, const uint8_t key[32]);

// True if `signature` is one over `message`, which begins with the domain of its kind of document.
bool level_signature_is_valid(const struct level_order_signature *signature, const char *message,
                              size_t length);

// Why, in words that fit behind "refused: ".
const char *level_order_refusal_text(uint32_t refusal);

#endif
