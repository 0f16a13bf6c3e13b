// SPDX-License-Identifier: Apache-2.0
// Rates and totals of a port: token buckets without allocation, lock or system call.
#ifndef POLICY_PORT_LIMITS_H
#define POLICY_PORT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

// Limits as configured. A rate or total of 0 means unlimited; a burst of 0 means one second's
// worth of the rate.
struct limits_config {
    uint64_t requests_per_s;
    uint64_t request_burst;
    uint64_t bytes_per_s; // payloads of the model's requests
    uint64_t byte_burst;
    uint64_t requests_total;
    uint64_t bytes_total;
    uint64_t reply_bytes_per_s; // payloads of the replies to the model
    uint64_t reply_byte_burst;
    uint64_t reply_bytes_total;
    uint64_t capacity_bits_per_s; // all that requests can tell, see limits_request_bits
};

// What one request can tell an observer at the most, in bits, overtly or covertly: its payload, all
// of its header (24 bytes), and when it came (a time in ns: 64 bits).
#define LIMITS_HEADER_BITS 192u
#define LIMITS_TIMING_BITS 64u

static inline uint64_t limits_request_bits(uint64_t payload_bytes)
{
    return payload_bytes * 8 + LIMITS_HEADER_BITS + LIMITS_TIMING_BITS;
}

// Upper bound of what a port with these limits can carry out of the cell in a second, once bursts
// are spent: the configured capacity, or what follows from the rates. `refusals_per_s`: requests
// that are denied count too. 0 if nothing bounds it.
uint64_t limits_capacity(const struct limits_config *config, uint32_t max_request_bytes,
                         uint64_t refusals_per_s);

// A token bucket. A cost passes when its tokens are there; one larger than the burst passes when
// the bucket is full and leaves a debt that delays what follows, so that no request can be starved
// for ever by its size.
struct token_bucket {
    uint64_t rate_per_s; // 0: unlimited
    int64_t burst;       // micro-tokens
    int64_t level;       // micro-tokens; negative: in debt
    uint64_t last_ns;
};

struct limits {
    struct token_bucket requests;
    struct token_bucket bytes;
    struct token_bucket reply_bytes;
    struct token_bucket capacity; // in bits
    uint64_t requests_total;      // as configured, 0: unlimited
    uint64_t bytes_total;
    uint64_t reply_bytes_total;
    uint64_t requests_used;
    uint64_t bytes_used;
    uint64_t reply_bytes_used;
};

enum limits_verdict {
    LIMITS_PASS,
    LIMITS_WAIT,      // over the rate: ask again at the returned time
    LIMITS_EXHAUSTED, // over a lifetime total
};

// A full bucket. A rate of 0 is unlimited; a burst of 0 means one second's worth.
void token_bucket_init(struct token_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now_ns);

// Takes `cost` tokens if they are there. If not, takes nothing and sets *retry_ns to when they will
// be.
bool token_bucket_take(struct token_bucket *bucket, uint64_t cost, uint64_t now_ns,
                       uint64_t *retry_ns);

void limits_init(struct limits *limits, const struct limits_config *config, uint64_t now_ns);

// Empties all buckets at `now_ns`: nothing passes before the rates have brought it.
void limits_empty(struct limits *limits, uint64_t now_ns);

// Goes on with what `from` has used of the lifetime totals.
void limits_carry(struct limits *limits, const struct limits *from);

// Accounts one request of `bytes` at `now_ns` if it may pass. On LIMITS_WAIT nothing is accounted
// and *retry_ns is when to ask again.
enum limits_verdict limits_take(struct limits *limits, uint64_t bytes, uint64_t now_ns,
                                uint64_t *retry_ns);

// Accounts what a request tells by being looked at, whatever the decision will be. Once for each
// request, before limits_take.
enum limits_verdict limits_take_capacity(struct limits *limits, uint64_t bytes, uint64_t now_ns,
                                         uint64_t *retry_ns);

// Accounts a reply of `bytes`; same contract as limits_take.
enum limits_verdict limits_take_reply(struct limits *limits, uint64_t bytes, uint64_t now_ns,
                                      uint64_t *retry_ns);

#endif
