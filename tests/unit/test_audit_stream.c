// SPDX-License-Identifier: Apache-2.0
// The fabric's end of the audit ring: room before events, sequence without gaps, no loss.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "audit_stream.h"
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
    audit_stream_append(&stream, &record);
}

Test(audit_stream, room_is_promised_once)
{
    unsigned reserved = 0;
    while (audit_stream_reserve(&stream, 2))
        reserved += 2;
    cr_expect_eq(reserved, RECORDS / 2 * 2);
    audit_stream_release(&stream, 2);
    cr_expect(audit_stream_reserve(&stream, 1));
    cr_expect(audit_stream_reserve(&stream, 1));
    cr_expect(audit_stream_reserve(&stream, RECORDS % 2));
    cr_expect_not(audit_stream_reserve(&stream, 1));
}

Test(audit_stream, records_arrive_with_size_and_sequence)
{
    struct random random = random_start(40);
    uint64_t written = 0, got = 0, reserved = 0;
    for (int round = 0; round < 100000; round++) {
        switch (random_below(&random, 4)) {
        case 0:
            reserved += audit_stream_reserve(&stream, 2) ? 2 : 0;
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

Test(audit_stream, wakes_a_reader_that_waits_and_no_other)
{
    cr_assert(audit_stream_reserve(&stream, 5));
    append(1);
    audit_stream_flush(&stream);
    cr_expect_eq(wake_ups(), 0u);
    shared_ring_consume(&reader, sizeof(struct audit_record));
    cr_expect_not(shared_ring_wait_data(&reader));
    audit_stream_flush(&stream); // nothing new
    cr_expect_eq(wake_ups(), 0u);
    append(2);
    append(3);
    audit_stream_flush(&stream);
    cr_expect_eq(wake_ups(), 1u);
    append(4);
    audit_stream_flush(&stream);
    cr_expect_eq(wake_ups(), 0u);
}

// A reader whose index is nonsense stops the stream, with or without records in flight.
Test(audit_stream, nonsense_index_stops_it)
{
    atomic_store(&stream.ring.header->tail, 12345);
    cr_expect_not(audit_stream_reserve(&stream, 1));
    cr_expect_eq(stream.reserved, 0u);
}

Test(audit_stream, nonsense_index_stops_it_with_records_in_flight)
{
    cr_assert(audit_stream_reserve(&stream, 2));
    while (audit_stream_reserve(&stream, 2)) {
    }
    atomic_store(&stream.ring.header->tail, 12345);
    cr_expect_not(audit_stream_reserve(&stream, 2));
    // What was promised may still be written ...
    append(0);
    // ... and nothing beyond it, while the index stays nonsense.
    unsigned taken = 0;
    for (unsigned i = 0; i < 2 * RECORDS; i++)
        taken += audit_stream_reserve(&stream, 2);
    cr_expect_eq(taken, 0u, "%u reservations in a ring that looks full", taken);
}
