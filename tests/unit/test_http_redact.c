// SPDX-License-Identifier: Apache-2.0
// Secrets in replies: the redactor against one that compares every secret at every place.
#include <criterion/criterion.h>
#include <string.h>

#include "http_exchange.h"
#include "support.h"

#define TEXT_MAX 400u

static struct http_grant grant;

static void add_secret(const char *secret, const char *before)
{
    struct http_secret *target = &grant.secrets[grant.secret_count++];
    *target = (struct http_secret){
        .secret_at = (uint32_t)strlen(before),
        .secret_length = (uint32_t)strlen(secret),
    };
    strcat(strcat(target->value, before), secret);
}

static void redact_by_force(const uint8_t *text, size_t length, uint8_t *target)
{
    memcpy(target, text, length);
    for (size_t at = 0; at < length; at++) {
        for (uint32_t i = 0; i < grant.secret_count; i++) {
            const struct http_secret *secret = &grant.secrets[i];
            bool same = at + secret->secret_length <= length;
            for (size_t j = 0; same && j < secret->secret_length; j++)
                same = text[at + j] == (uint8_t)secret->value[secret->secret_at + j];
            for (size_t j = 0; same && j < secret->secret_length; j++)
                target[at + j] = '*';
        }
    }
}

static void expect_redacted(const char *text, const char *wanted)
{
    struct http_redactor redactor;
    char target[TEXT_MAX] = "";
    size_t length = strlen(text);
    http_redactor_open(&redactor, &grant);
    http_redact(&redactor, (const uint8_t *)text, length, 0, length, (uint8_t *)target);
    cr_expect_str_eq(target, wanted);
}

Test(http_redact, texts)
{
    grant.secret_count = 0;
    expect_redacted("nothing is hidden", "nothing is hidden");
    add_secret("abcabc", "Bearer ");
    expect_redacted("", "");
    expect_redacted("abcabc", "******");
    expect_redacted("xabcabcy", "x******y");
    expect_redacted("Bearer abcabc", "Bearer ******");
    expect_redacted("abcabcabc", "*********"); // they overlap
    expect_redacted("abcabcab", "******ab");
    expect_redacted("abcab", "abcab");
    expect_redacted("abcabdabcabc", "abcabd******");
    expect_redacted("ABCABC", "ABCABC");     // another text
    expect_redacted("YWJjYWJj", "YWJjYWJj"); // in base64: docs/http.md
    add_secret("bcab", "");
    add_secret("cx", "");
    expect_redacted("abcabcx", "*******"); // one inside another, one across its end
    expect_redacted("cxcabcab", "**ca****");
    add_secret("*b", ""); // marks are not searched
    expect_redacted("abcabcb", "******b");
}

// A random secret of few letters: they repeat, overlap and hold each other.
static void add_random_secret(struct random *random)
{
    char secret[16];
    size_t length = 1 + random_below(random, sizeof(secret) - 1);
    for (size_t i = 0; i < length; i++)
        secret[i] = (char)('a' + random_below(random, 3));
    secret[length] = '\0';
    add_secret(secret, random_chance(random, 50) ? "Bearer " : "");
}

static size_t random_text(struct random *random, uint8_t text[TEXT_MAX])
{
    size_t length = random_below(random, TEXT_MAX + 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (uint8_t)('a' + random_below(random, 4));
    // Whole secrets, now and then one into another.
    for (uint64_t count = random_below(random, 6); count && grant.secret_count; count--) {
        const struct http_secret *secret = &grant.secrets[random_below(random, grant.secret_count)];
        if (secret->secret_length <= length)
            memcpy(text + random_below(random, length - secret->secret_length + 1),
                   secret->value + secret->secret_at, secret->secret_length);
    }
    return length;
}

Test(http_redact, as_by_force)
{
    struct random random = random_start(1);
    unsigned marked = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct http_redactor redactor;
        uint8_t text[TEXT_MAX];
        uint8_t target[TEXT_MAX];
        uint8_t wanted[TEXT_MAX];
        grant.secret_count = 0;
        for (uint64_t count = random_below(&random, 5); count; count--)
            add_random_secret(&random);
        http_redactor_open(&redactor, &grant);
        size_t length = random_text(&random, text);
        redact_by_force(text, length, wanted);
        http_redact(&redactor, text, length, 0, length, target);
        cr_assert_eq(memcmp(target, wanted, length), 0, "round %u", round);
        // Any part of it, as the comment says it has to be cut.
        size_t from = random_below(&random, length + 1);
        size_t to = from + random_below(&random, length - from + 1);
        uint8_t part[TEXT_MAX + 2];
        memset(part, '#', sizeof(part));
        http_redact(&redactor, text, length, from, to, part + 1);
        cr_assert_eq(memcmp(part + 1, wanted + from, to - from), 0, "round %u", round);
        cr_assert(part[0] == '#' && part[to - from + 1] == '#', "round %u", round);
        marked += memcmp(text, wanted, length) != 0;
    }
    cr_expect_gt(marked, 5000);
}

// A reply that comes in pieces and is read in others, its buffer compacted in between.
static void stream(struct random *random, const uint8_t *text, size_t length, uint8_t *target)
{
    static struct http_pool pool;
    static uint8_t body[TEXT_MAX];
    struct http_exchange exchange = {
        .pool = &pool,
        .state = HTTP_EXCHANGE_RUNNING,
        .body = body,
        .room = sizeof(body),
    };
    size_t came = 0;
    size_t read = 0;
    http_redactor_open(&pool.redactor, &grant);
    while (read < length) {
        size_t piece = random_below(random, length - came + 1);
        memcpy(body + exchange.used, text + came, piece);
        exchange.used += piece;
        came += piece;
        if (came == length && random_chance(random, 50))
            exchange.state = HTTP_EXCHANGE_FINISHED;
        size_t ready = http_exchange_ready(&exchange);
        // Without its transfer, a pause ends with the buffer's compaction and nothing else.
        exchange.paused = random_chance(random, 30);
        size_t part = random_below(random, ready + 1);
        http_exchange_take(&exchange, target + read, part);
        read += part;
        cr_assert_leq(exchange.start, exchange.used);
    }
}

Test(http_redact, secrets_across_pieces)
{
    struct random random = random_start(2);
    unsigned marked = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t text[TEXT_MAX];
        uint8_t target[TEXT_MAX];
        uint8_t wanted[TEXT_MAX];
        grant.secret_count = 0;
        for (uint64_t count = random_below(&random, 4); count; count--)
            add_random_secret(&random);
        size_t length = random_text(&random, text);
        redact_by_force(text, length, wanted);
        stream(&random, text, length, target);
        cr_assert_eq(memcmp(target, wanted, length), 0, "round %u", round);
        marked += memcmp(text, wanted, length) != 0;
    }
    cr_expect_gt(marked, 5000);
}

// Nothing is handed out that a secret could still begin in.
Test(http_redact, what_is_ready)
{
    static struct http_pool pool;
    struct http_exchange exchange = {.pool = &pool, .state = HTTP_EXCHANGE_RUNNING, .used = 10};
    grant.secret_count = 0;
    http_redactor_open(&pool.redactor, &grant);
    cr_expect_eq(http_exchange_ready(&exchange), 10);
    add_secret("12345678", "Bearer ");
    add_secret("1", "");
    http_redactor_open(&pool.redactor, &grant);
    cr_expect_eq(pool.redactor.longest, 8);
    cr_expect_eq(http_exchange_ready(&exchange), 3);
    exchange.start = 3;
    cr_expect_eq(http_exchange_ready(&exchange), 0);
    exchange.start = 5;
    cr_expect_eq(http_exchange_ready(&exchange), 0);
    exchange.state = HTTP_EXCHANGE_FINISHED;
    cr_expect_eq(http_exchange_ready(&exchange), 5);
}
