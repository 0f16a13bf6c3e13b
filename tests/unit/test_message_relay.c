// SPDX-License-Identifier: Apache-2.0
// The operator's end of a message port: whole messages both ways, and a VMM that lies.
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "message_frame.h"
#include "message_relay.h"
#include "support.h"

#define SIZE    65536u
#define LARGEST 16384u

static struct message_relay relay;
static struct shared_ring vmm_writes; // what the model sends
static struct shared_ring vmm_reads;  // what the model receives

static void setup(void)
{
    struct error err;
    int out = shared_ring_create("out", SIZE, &err), in = shared_ring_create("in", SIZE, &err);
    relay = (struct message_relay){.largest = LARGEST};
    cr_assert_eq(shared_ring_map(&relay.output, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&vmm_writes, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&relay.input, in, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&vmm_reads, in, SIZE, &err), 0);
    close(out);
    close(in);
}

TestSuite(message_relay, .init = setup);

static void model_sends(const void *data, uint32_t length)
{
    const struct message_frame frame = {.length = length};
    shared_ring_append(&vmm_writes, &frame, sizeof(frame));
    shared_ring_append(&vmm_writes, data, length);
    shared_ring_publish(&vmm_writes);
}

Test(message_relay, both_ways)
{
    uint8_t got[64];
    bool wake = false;
    cr_expect_eq(message_relay_next(&relay, NULL), -1);
    model_sends("hello", 5);
    model_sends("", 0);
    cr_assert_eq(message_relay_next(&relay, NULL), 5);
    cr_assert_eq(message_relay_next(&relay, NULL), 5, "looking takes nothing");
    message_relay_take(&relay, got, 5, &wake);
    cr_expect_eq(memcmp(got, "hello", 5), 0);
    cr_assert_eq(message_relay_next(&relay, NULL), 0);
    message_relay_take(&relay, got, 0, &wake);
    cr_expect_eq(message_relay_next(&relay, NULL), -1);
    cr_expect_not(wake, "nobody waited");

    cr_assert(message_relay_has_room(&relay, 3));
    message_relay_send(&relay, "abc", 3, &wake);
    cr_expect_not(wake);
    struct message_frame frame;
    cr_assert_eq(shared_ring_available(&vmm_reads), sizeof(frame) + 3);
    shared_ring_peek(&vmm_reads, 0, &frame, sizeof(frame));
    shared_ring_peek(&vmm_reads, sizeof(frame), got, 3);
    cr_expect_eq(frame.length, 3u);
    cr_expect_eq(frame.severity, 0u);
    cr_expect_eq(memcmp(got, "abc", 3), 0);
}

// Nothing there: the model's next message wakes us. No room: the model's next receive does.
Test(message_relay, asks_for_wake_ups)
{
    static uint8_t data[LARGEST];
    bool wake = false;
    cr_expect_eq(message_relay_next(&relay, NULL), -1);
    cr_expect_eq(vmm_writes.header->consumer_waiting, 1u);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(message_relay_has_room(&relay, LARGEST));
        message_relay_send(&relay, data, LARGEST, &wake);
    }
    cr_expect_not(message_relay_has_room(&relay, LARGEST));
    cr_expect(shared_ring_consume(&vmm_reads, sizeof(struct message_frame) + LARGEST),
              "nobody is woken");
    cr_expect(message_relay_has_room(&relay, LARGEST));
    cr_expect(message_relay_has_room(&relay, 0));
}

// Who waits is woken, once.
Test(message_relay, wakes_who_waits)
{
    uint8_t got[8];
    bool wake = false;
    cr_expect_not(shared_ring_wait_data(&vmm_reads));
    message_relay_send(&relay, "a", 1, &wake);
    cr_expect(wake);
    wake = false;
    message_relay_send(&relay, "b", 1, &wake);
    cr_expect_not(wake);
    model_sends("x", 1);
    cr_expect_not(shared_ring_wait_space(&vmm_writes, SIZE));
    cr_assert_eq(message_relay_next(&relay, NULL), 1);
    message_relay_take(&relay, got, 1, &wake);
    cr_expect(wake);
}

// What cannot be a message: too long for the grant, longer than what is there, half a frame, a
// severity of a message that has none, an index that is impossible. Whatever is done, it stays so.
Test(message_relay, frames_that_lie)
{
    static const struct {
        struct message_frame frame;
        uint32_t bytes;
    } cases[] = {
        {{LARGEST + 1, 0}, LARGEST + 1},
        {{UINT32_MAX, 0}, 100},
        {{6, 0}, 5},
        {{UINT32_MAX - 7, 0}, 0},
        {{5, 1}, 5},
        {{0, 1u << 31}, 0},
    };
    static uint8_t data[LARGEST + 1];
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup();
        shared_ring_append(&vmm_writes, &cases[i].frame, sizeof(cases[i].frame));
        shared_ring_append(&vmm_writes, data, cases[i].bytes);
        shared_ring_publish(&vmm_writes);
        cr_expect_eq(message_relay_next(&relay, NULL), -2, "case %zu", i);
        cr_expect_eq(message_relay_next(&relay, NULL), -2);
    }
    for (uint32_t bytes = 1; bytes < sizeof(struct message_frame); bytes++) {
        setup();
        shared_ring_append(&vmm_writes, data, bytes);
        shared_ring_publish(&vmm_writes);
        cr_expect_eq(message_relay_next(&relay, NULL), -2, "%u bytes", bytes);
    }
    setup();
    atomic_store(&vmm_writes.header->head, SIZE + 1);
    cr_expect_eq(message_relay_next(&relay, NULL), -2);
    setup();
    atomic_store(&vmm_reads.header->tail, 12345);
    cr_expect_not(message_relay_has_room(&relay, 0), "room in a ring whose reader lies");
}

// Exactly the grant's largest message is one, also where the ring ends.
Test(message_relay, largest_message)
{
    static uint8_t data[LARGEST], got[LARGEST];
    struct random random = random_start(71);
    bool wake = false;
    for (int i = 0; i < 200; i++) {
        uint32_t length = i % 2 ? LARGEST : (uint32_t)random_below(&random, LARGEST);
        random_fill(&random, data, length);
        model_sends(data, length);
        cr_assert_eq(message_relay_next(&relay, NULL), length);
        message_relay_take(&relay, got, length, &wake);
        cr_assert_eq(memcmp(got, data, length), 0);
    }
}

// A VMM that writes anything into the ring and its header: what is taken is at most as long as the
// grant says.
Test(message_relay, noise)
{
    static uint8_t got[LARGEST];
    struct random random = random_start(72);
    bool wake = false;
    unsigned taken = 0, lies = 0;
    for (int round = 0; round < 20000; round++) {
        if (random_chance(&random, 1))
            setup();
        if (random_chance(&random, 10))
            atomic_store(&vmm_writes.header->head,
                         random_chance(&random, 80)
                             ? relay.output.own + random_below(&random, SIZE + 10)
                             : random_next(&random));
        for (unsigned i = 0; i < 8; i++)
            vmm_writes.data[(relay.output.own + i) % SIZE] =
                i == 0 || (i == 1 && random_chance(&random, 50)) || random_chance(&random, 2)
                    ? (uint8_t)random_next(&random)
                    : 0;
        int64_t length = message_relay_next(&relay, NULL);
        cr_assert(length >= -2 && length <= LARGEST);
        lies += length == -2;
        if (length < 0)
            continue;
        message_relay_take(&relay, got, (uint32_t)length, &wake);
        taken++;
    }
    cr_expect_gt(taken, 1000u);
    cr_expect_gt(lies, 1000u);
}
