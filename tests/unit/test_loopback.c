// SPDX-License-Identifier: Apache-2.0
// The loopback backend: echoes, discards, generates; never beyond a reply's capacity.
#include <criterion/criterion.h>
#include <string.h>

#include "loopback.h"
#include "support.h"

#define MOST PORT_MAX_BYTES

static uint8_t *payload, *reply;

static void setup(void)
{
    struct random random = random_start(66);
    payload = (uint8_t *)malloc(MOST);
    reply = (uint8_t *)malloc(MOST + 1);
    random_fill(&random, payload, MOST);
}

TestSuite(loopback, .init = setup);

static struct port_request run(uint32_t operation, uint32_t length, uint32_t capacity,
                               uint32_t argument)
{
    struct port_request request = {.operation = operation,
                                   .argument = argument,
                                   .length = length,
                                   .reply_capacity = capacity,
                                   .payload = payload,
                                   .reply = reply};
    memset(reply, 0xee, capacity < MOST ? capacity + 1 : MOST + 1);
    cr_assert_eq(loopback_backend.submit(NULL, &request), PORT_DONE);
    cr_assert_leq(request.reply_length, capacity);
    cr_assert_eq(reply[request.reply_length], 0xee, "written beyond the reply");
    return request;
}

static const uint32_t sizes[] = {0, 1, 2, 250, 251, 252, 502, 503, 4096, 65536, MOST - 1, MOST};

Test(loopback, offers_what_the_abi_says)
{
    cr_assert_eq(loopback_backend.operation_count, 3u);
    cr_expect_eq(loopback_backend.kind, PORT_KIND_LOOPBACK);
    static const uint32_t numbers[] = {LOOPBACK_ECHO, LOOPBACK_DISCARD, LOOPBACK_GENERATE};
    static const uint32_t requests[] = {MOST, MOST, 0}, replies[] = {MOST, 0, MOST};
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(loopback_backend.operations[i].number, numbers[i]);
        cr_expect_eq(loopback_backend.operations[i].max_request_bytes, requests[i]);
        cr_expect_eq(loopback_backend.operations[i].max_reply_bytes, replies[i]);
    }
}

Test(loopback, echo)
{
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t k = 0; k < COUNT(sizes); k++) {
            struct port_request request = run(LOOPBACK_ECHO, sizes[i], sizes[k], 77);
            cr_expect_eq(request.status, 0u);
            cr_assert_eq(request.reply_length, sizes[i] < sizes[k] ? sizes[i] : sizes[k]);
            cr_expect_eq(memcmp(reply, payload, request.reply_length), 0);
        }
}

Test(loopback, discard)
{
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct port_request request = run(LOOPBACK_DISCARD, sizes[i], 100, 77);
        cr_expect_eq(request.status, 0u);
        cr_expect_eq(request.reply_length, 0u);
    }
}

Test(loopback, generate)
{
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t k = 0; k < COUNT(sizes); k++) {
            struct port_request request = run(LOOPBACK_GENERATE, 0, sizes[i], sizes[k]);
            cr_expect_eq(request.status, 0u);
            cr_assert_eq(request.reply_length, sizes[i] < sizes[k] ? sizes[i] : sizes[k]);
            for (uint32_t n = 0; n < request.reply_length; n++)
                cr_assert_eq(reply[n], n % 251);
        }
    cr_expect_eq(run(LOOPBACK_GENERATE, 0, 100, UINT32_MAX).reply_length, 100u);
}

Test(loopback, unknown_operation)
{
    struct port_request request = run(0, 5, 100, 0);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    cr_expect_eq(request.reply_length, 0u);
    cr_expect_eq(run(4, 5, 100, 0).status, (uint32_t)PORT_STATUS_INVALID);
}
