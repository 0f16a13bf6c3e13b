// SPDX-License-Identifier: Apache-2.0
// Rates and totals of a port.
#include "port_limits.h"

#define NS_PER_SECOND 1000000000ull

// Levels are kept in micro-tokens: fine enough for 1 token/s polled every microsecond, and wide
// enough for a terabyte of burst in an int64.
#define MICRO 1000000ll

#define BURST_MAX (1ull << 42)

// Longest time that counts, in ns: a product with any 64-bit rate fits 128 bits.
#define ELAPSED_MAX (1ull << 62)

// Products of a rate and a long time overflow 64 bits.
__extension__ typedef __int128 wide;

void token_bucket_init(struct token_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now_ns)
{
    if (!burst)
        burst = rate;
    if (burst > BURST_MAX)
        burst = BURST_MAX;
    *bucket = (struct token_bucket){
        .rate_per_s = rate,
        .burst = (int64_t)burst * MICRO,
        .level = (int64_t)burst * MICRO,
        .last_ns = now_ns,
    };
}

void limits_init(struct limits *limits, const struct limits_config *config, uint64_t now_ns)
{
    *limits = (struct limits){
        .requests_total = config->requests_total,
        .bytes_total = config->bytes_total,
        .reply_bytes_total = config->reply_bytes_total,
    };
    token_bucket_init(&limits->requests, config->requests_per_s, config->request_burst, now_ns);
    token_bucket_init(&limits->bytes, config->bytes_per_s, config->byte_burst, now_ns);
    token_bucket_init(&limits->reply_bytes, config->reply_bytes_per_s, config->reply_byte_burst,
                      now_ns);
    token_bucket_init(&limits->capacity, config->capacity_bits_per_s, 0, now_ns);
}

static void bucket_empty(struct token_bucket *bucket, uint64_t now_ns)
{
    bucket->level = 0;
    bucket->last_ns = now_ns;
}

void limits_empty(struct limits *limits, uint64_t now_ns)
{
    bucket_empty(&limits->requests, now_ns);
    bucket_empty(&limits->bytes, now_ns);
    bucket_empty(&limits->reply_bytes, now_ns);
    bucket_empty(&limits->capacity, now_ns);
}

void limits_carry(struct limits *limits, const struct limits *from)
{
    limits->requests_used = from->requests_used;
    limits->bytes_used = from->bytes_used;
    limits->reply_bytes_used = from->reply_bytes_used;
}

// What was used under other limits may exceed this total.
static uint64_t left_of(uint64_t total, uint64_t used)
{
    return used < total ? total - used : 0;
}

static void bucket_refill(struct token_bucket *bucket, uint64_t now_ns)
{
    if (now_ns <= bucket->last_ns)
        return;
    uint64_t elapsed = now_ns - bucket->last_ns;
    if (elapsed > ELAPSED_MAX)
        elapsed = ELAPSED_MAX;
    // Micro-tokens gained. The time that they took is rounded up, and the rest of it stays for the
    // next look: slow rates lose nothing however often they are asked, fast ones gain nothing.
    wide gained = (wide)bucket->rate_per_s * elapsed / 1000;
    if (!gained)
        return;
    bucket->last_ns += (uint64_t)((gained * 1000 + bucket->rate_per_s - 1) / bucket->rate_per_s);
    wide level = bucket->level + gained;
    bucket->level = level > bucket->burst ? bucket->burst : (int64_t)level;
}

// Tokens that must be there for a cost: all of it, or a full bucket if the cost exceeds the burst.
static int64_t bucket_needed(const struct token_bucket *bucket, uint64_t cost)
{
    if (cost >= (uint64_t)(bucket->burst / MICRO))
        return bucket->burst;
    return (int64_t)cost * MICRO;
}

// Time until the level is `needed`.
static uint64_t bucket_wait_ns(const struct token_bucket *bucket, int64_t needed)
{
    wide missing = (wide)needed - bucket->level;
    wide ns = (missing * 1000 + bucket->rate_per_s - 1) / bucket->rate_per_s;
    return ns > (wide)(3600 * NS_PER_SECOND) ? 3600 * NS_PER_SECOND : (uint64_t)ns;
}

static void bucket_charge(struct token_bucket *bucket, uint64_t cost)
{
    if (!bucket->rate_per_s)
        return;
    if (cost > BURST_MAX)
        cost = BURST_MAX;
    bucket->level -= (int64_t)cost * MICRO;
}

// True if the tokens are there; else when they will be.
static bool bucket_has(struct token_bucket *bucket, uint64_t cost, uint64_t now_ns,
                       uint64_t *retry_ns)
{
    if (!bucket->rate_per_s)
        return true;
    bucket_refill(bucket, now_ns);
    int64_t needed = bucket_needed(bucket, cost);
    if (bucket->level >= needed)
        return true;
    *retry_ns = now_ns + bucket_wait_ns(bucket, needed);
    return false;
}

bool token_bucket_take(struct token_bucket *bucket, uint64_t cost, uint64_t now_ns,
                       uint64_t *retry_ns)
{
    if (!bucket_has(bucket, cost, now_ns, retry_ns))
        return false;
    bucket_charge(bucket, cost);
    return true;
}

enum limits_verdict limits_take(struct limits *limits, uint64_t bytes, uint64_t now_ns,
                                uint64_t *retry_ns)
{
    if (limits->requests_total && limits->requests_used >= limits->requests_total)
        return LIMITS_EXHAUSTED;
    if (limits->bytes_total && bytes > left_of(limits->bytes_total, limits->bytes_used))
        return LIMITS_EXHAUSTED;

    if (!bucket_has(&limits->requests, 1, now_ns, retry_ns) ||
        !bucket_has(&limits->bytes, bytes, now_ns, retry_ns))
        return LIMITS_WAIT;
    bucket_charge(&limits->requests, 1);
    bucket_charge(&limits->bytes, bytes);
    limits->requests_used++;
    limits->bytes_used += bytes;
    return LIMITS_PASS;
}

enum limits_verdict limits_take_capacity(struct limits *limits, uint64_t bytes, uint64_t now_ns,
                                         uint64_t *retry_ns)
{
    return token_bucket_take(&limits->capacity, limits_request_bits(bytes), now_ns, retry_ns)
               ? LIMITS_PASS
               : LIMITS_WAIT;
}

enum limits_verdict limits_take_reply(struct limits *limits, uint64_t bytes, uint64_t now_ns,
                                      uint64_t *retry_ns)
{
    if (limits->reply_bytes_total &&
        bytes > left_of(limits->reply_bytes_total, limits->reply_bytes_used))
        return LIMITS_EXHAUSTED;
    if (!token_bucket_take(&limits->reply_bytes, bytes, now_ns, retry_ns))
        return LIMITS_WAIT;
    limits->reply_bytes_used += bytes;
    return LIMITS_PASS;
}

uint64_t limits_capacity(const struct limits_config *config, uint32_t max_request_bytes,
                         uint64_t refusals_per_s)
{
    const uint64_t header = limits_request_bits(0);
    uint64_t bits;
    uint64_t payload;
    if (!config->requests_per_s)
        return config->capacity_bits_per_s;
    // The smaller of both bounds on payloads: by their rate, and by the requests that carry them.
    if (__builtin_mul_overflow(config->requests_per_s, 8ull * max_request_bytes, &payload))
        payload = UINT64_MAX;
    if (config->bytes_per_s && config->bytes_per_s < payload / 8)
        payload = config->bytes_per_s * 8;
    if (__builtin_mul_overflow(config->requests_per_s + refusals_per_s, header, &bits) ||
        __builtin_add_overflow(bits, payload, &bits))
        bits = UINT64_MAX;
    if (config->capacity_bits_per_s && config->capacity_bits_per_s < bits)
        bits = config->capacity_bits_per_s;
    return bits == UINT64_MAX ? 0 : bits;
}
