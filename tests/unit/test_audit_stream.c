// SPDX-License-Identifier: Apache-2.0
// The fabric's end of the audit ring: room before events, sequence without gaps, no loss.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "audit_stream.h"
#include "clock.h"
#include "support.h"

#define SIZE    4096u
#define RECORDS (SIZE / sizeof(struct audit_record))

static struct audit_stream stream;
static struct shared_ring reader;

static void setup(void)
{
    struct error err;
    int fd = shared_ring_create("audit", SIZE, &err);
    stream = (struct audit_stream){.wake_fd = eventfd(0, EFD_NONBLOCK)};
    cr_assert_eq(shared_ring_map(&stream.ring, fd, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&reader, fd, SIZE, &err), 0);
    close(fd);
}

TestSuite(audit_stream, .init = setup);

static unsigned wake_ups(void)
{
    uint64_t value = 0;
    return read(stream.wake_fd, &value, sizeof(value)) < 0 ? 0 : (unsigned)value;
}

static void append(uint64_t cookie)
{
    struct audit_record record = {.type = AUDIT_REQUEST, .cookie = cookie};
    audit_stream_append(&stream, &record, NULL, 0);
}

Test(audit_stream, room_is_promised_once)
{
    unsigned reserved = 0;
    while (audit_stream_reserve(&stream, 2, 0))
        reserved += 2;
    cr_expect_eq(reserved, RECORDS / 2 * 2);
    audit_stream_release(&stream, 2 * sizeof(struct audit_record));
    cr_expect(audit_stream_reserve(&stream, 1, 0));
    cr_expect(audit_stream_reserve(&stream, 1, 0));
    cr_expect(audit_stream_reserve(&stream, RECORDS % 2, 0));
    cr_expect_not(audit_stream_reserve(&stream, 1, 0));
}

Test(audit_stream, records_arrive_with_size_and_sequence)
{
    struct random random = random_start(40);
    uint64_t written = 0, got = 0, reserved = 0;
    for (int round = 0; round < 100000; round++) {
        switch (random_below(&random, 4)) {
        case 0:
            reserved += audit_stream_reserve(&stream, 2, 0) ? 2 : 0;
            break;
        case 1:
            if (reserved) {
                append(written++);
                reserved--;
            }
            break;
        case 2:
            audit_stream_flush(&stream);
            break;
        default: {
            uint64_t available = shared_ring_available(&reader);
            cr_assert_leq(available, (uint64_t)SIZE);
            cr_assert_eq(available % sizeof(struct audit_record), 0u);
            if (!available)
                break;
            struct audit_record record;
            shared_ring_peek(&reader, 0, &record, sizeof(record));
            shared_ring_consume(&reader, sizeof(record));
            cr_assert_eq(record.size, sizeof(record));
            cr_assert_eq(record.sequence, got);
            cr_assert_eq(record.cookie, got++);
        }
        }
        cr_assert_eq(stream.reserved, reserved * sizeof(struct audit_record));
    }
    cr_expect_gt(got, 5000u);
}

static void consume(unsigned records)
{
    shared_ring_consume(&reader, records * sizeof(struct audit_record));
}

// While the ring is nearly empty a reader is woken by notify() only, once for all that came since.
Test(audit_stream, wakes_a_reader_that_waits_and_no_other)
{
    cr_assert(audit_stream_reserve(&stream, 6, 0));
    append(1);
    audit_stream_flush(&stream);
    audit_stream_notify(&stream);
    cr_expect_eq(wake_ups(), 0u);
    consume(1);
    cr_expect_not(shared_ring_wait_data(&reader));
    audit_stream_flush(&stream); // nothing new
    audit_stream_notify(&stream);
    cr_expect_eq(wake_ups(), 0u);
    append(2);
    audit_stream_notify(&stream); // not visible yet
    cr_expect_eq(wake_ups(), 0u);
    append(3);
    audit_stream_flush(&stream);
    append(4);
    audit_stream_flush(&stream);
    cr_expect_eq(wake_ups(), 0u, "a wake-up for each batch costs more than the batch");
    audit_stream_notify(&stream);
    cr_expect_eq(wake_ups(), 1u);
    audit_stream_notify(&stream);
    append(5);
    audit_stream_flush(&stream);
    audit_stream_notify(&stream);
    cr_expect_eq(wake_ups(), 0u, "it was woken and has not slept since");
}

// A reader that sleeps must not let the ring fill up: from half of it on, flush() wakes.
Test(audit_stream, wakes_when_the_ring_is_half_full)
{
    cr_assert(audit_stream_reserve(&stream, RECORDS, 0));
    cr_expect_not(shared_ring_wait_data(&reader));
    for (unsigned i = 1; i <= RECORDS; i++) {
        append(i);
        audit_stream_flush(&stream);
        unsigned expected = i * sizeof(struct audit_record) > SIZE / 2 ? 1 : 0;
        cr_expect_eq(wake_ups(), expected, "record %u", i);
        if (expected)
            break;
    }
    // A reader that keeps up without sleeping costs no wake-up.
    consume(RECORDS / 2 + 1);
    for (unsigned i = 0; i < 3; i++) {
        append(i);
        audit_stream_flush(&stream);
        cr_expect_eq(wake_ups(), 0u);
    }
}

// Records arrive whether or not anybody is ever woken: the next flush or notify sees who waits.
Test(audit_stream, no_wake_up_is_lost)
{
    struct random random = random_start(41);
    bool asleep = false;
    for (int round = 0; round < 100000; round++) {
        switch (random_below(&random, 4)) {
        case 0:
            if (audit_stream_reserve(&stream, 1, 0))
                append(1);
            break;
        case 1:
            audit_stream_flush(&stream);
            break;
        case 2:
            // The reader takes what is there and sleeps.
            if (!asleep) {
                consume((unsigned)(shared_ring_available(&reader) / sizeof(struct audit_record)));
                asleep = !shared_ring_wait_data(&reader);
            }
            break;
        default:
            audit_stream_flush(&stream);
            audit_stream_notify(&stream);
            if (wake_ups())
                asleep = false;
            if (asleep)
                cr_assert_eq(shared_ring_available(&reader), 0u, "round %d: it sleeps", round);
        }
    }
}

// The budget bounds records whatever room there is, and says when there will be some.
Test(audit_stream, budget)
{
    token_bucket_init(&stream.budget, 10, 4, 0);
    cr_expect(audit_stream_reserve(&stream, 2, 0));
    cr_expect(audit_stream_reserve(&stream, 2, 0));
    cr_expect_not(audit_stream_reserve(&stream, 2, 0));
    cr_expect_eq(stream.retry_ns, 2 * NS_PER_S / 10);
    cr_expect(audit_stream_has_bytes(&stream, 2 * sizeof(struct audit_record)),
              "the ring has room");
    cr_expect_eq(stream.reserved, 4 * sizeof(struct audit_record), "a refusal reserves nothing");
    cr_expect_not(audit_stream_reserve(&stream, 2, stream.retry_ns - 1000));
    cr_expect(audit_stream_reserve(&stream, 2, 2 * NS_PER_S / 10));
    cr_expect_eq(stream.retry_ns, 0u);
    // Room that is given back is not budget.
    audit_stream_release(&stream, 2 * sizeof(struct audit_record));
    cr_expect_not(audit_stream_reserve(&stream, 2, 2 * NS_PER_S / 10));
}

// A full ring is not a matter of time: no time is named, and the budget is not charged.
Test(audit_stream, full_ring_charges_no_budget)
{
    token_bucket_init(&stream.budget, 1000, 1000, 0);
    while (audit_stream_reserve(&stream, 2, 0)) {
    }
    cr_expect_eq(stream.retry_ns, 0u);
    int64_t level = stream.budget.level;
    for (int i = 0; i < 100; i++)
        cr_expect_not(audit_stream_reserve(&stream, 2, 0));
    cr_expect_eq(stream.budget.level, level);
    cr_expect_not(audit_stream_has_bytes(&stream, 2 * sizeof(struct audit_record)));
}

// A reader whose index is nonsense stops the stream, with or without records in flight.
Test(audit_stream, nonsense_index_stops_it)
{
    atomic_store(&stream.ring.header->tail, 12345);
    cr_expect_not(audit_stream_reserve(&stream, 1, 0));
    cr_expect_eq(stream.reserved, 0u);
}

Test(audit_stream, nonsense_index_stops_it_with_records_in_flight)
{
    cr_assert(audit_stream_reserve(&stream, 2, 0));
    while (audit_stream_reserve(&stream, 2, 0)) {
    }
    atomic_store(&stream.ring.header->tail, 12345);
    cr_expect_not(audit_stream_reserve(&stream, 2, 0));
    // What was promised may still be written ...
    append(0);
    // ... and nothing beyond it, while the index stays nonsense.
    unsigned taken = 0;
    for (unsigned i = 0; i < 2 * RECORDS; i++)
        taken += audit_stream_reserve(&stream, 2, 0);
    cr_expect_eq(taken, 0u, "%u reservations in a ring that looks full", taken);
}
