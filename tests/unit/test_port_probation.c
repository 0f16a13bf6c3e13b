// SPDX-License-Identifier: Apache-2.0
// What Probation means on the path: nothing takes effect before its records, payloads included, are
// on the disk; limits are tighter.
#include "port_harness.h"

static struct harness h;

// A request and a reply of any size: outside the places of the harness.
#define BIG_REQUEST (4u << 20)
#define BIG_REPLY   (6u << 20)
#define BIG_BYTES   (1u << 20)

static enum port_progress echo(void *state, struct port_request *request)
{
    (void)state;
    h.submits++;
    memcpy(request->reply, request->payload, request->length);
    request->reply_length = request->length;
    return PORT_DONE;
}

static void nothing(void *state)
{
    (void)state;
}

static const struct port_operation echo_operations[] = {
    {OPERATION_WRITE, BIG_BYTES, BIG_BYTES, "echo"}};

static const struct port_backend echo_backend = {
    .kind = PORT_KIND_LOOPBACK,
    .name = "echo",
    .operations = echo_operations,
    .operation_count = 1,
    .submit = echo,
    .resume = echo,
    .flush = nothing,
    .forget = nothing,
};

static void probation(void)
{
    atomic_store(&h.level_supervisor.level, LEVEL_PROBATION);
}

static void passes(int count, bool drain)
{
    for (int i = 0; i < count; i++) {
        port_serve(h.port, 32);
        if (drain)
            harness_drain(&h);
    }
}

static void post_echo(const uint8_t *payload, uint32_t length)
{
    const struct port_request_header header = {
        .operation = OPERATION_WRITE, .cookie = 77, .length = length};
    memcpy(h.io + BIG_REQUEST, &header, sizeof(header));
    memcpy(h.io + BIG_REQUEST + sizeof(header), payload, length);
    *harness_descriptor(&h, 0, 0) =
        (struct virtq_descriptor){harness_gpa(&h, h.io + BIG_REQUEST).value,
                                  (uint32_t)sizeof(header) + length, VIRTQ_DESCRIPTOR_NEXT, 1};
    *harness_descriptor(&h, 0, 1) = (struct virtq_descriptor){
        harness_gpa(&h, h.io + BIG_REPLY).value,
        (uint32_t)sizeof(struct port_reply_header) + length, VIRTQ_DESCRIPTOR_WRITE, 0};
    harness_available(&h, 0, 0);
}

// Checks the pieces of one payload from record `at` on. Returns the index behind them.
static unsigned check_pieces(unsigned at, size_t *data_at, const uint8_t *payload, uint32_t length,
                             uint32_t direction, uint32_t piece)
{
    for (uint32_t offset = 0; offset < length; at++) {
        const struct audit_record *record = &h.records[at];
        uint32_t part = length - offset < AUDIT_PIECE_BYTES ? length - offset : AUDIT_PIECE_BYTES;
        cr_assert_eq(record->type, AUDIT_PAYLOAD);
        cr_assert_eq(record->request, 1u);
        cr_assert_eq(record->cookie, 77u);
        cr_assert_eq(record->detail, direction);
        cr_assert_eq(record->argument, offset);
        cr_assert_eq(record->length, part);
        cr_assert_eq(record->status, length);
        cr_assert_eq(record->operation, piece);
        cr_assert_eq(memcmp(h.data + *data_at, payload + offset, part), 0);
        *data_at += part;
        offset += part;
    }
    return at;
}

static void check_payload(uint32_t length, struct harness_options options, bool at_probation,
                          uint32_t piece)
{
    static uint8_t payload[BIG_BYTES];
    struct random random = random_start(50 + length);
    for (uint32_t i = 0; i < length; i++)
        payload[i] = (uint8_t)random_below(&random, 256);
    options.backend = &echo_backend;
    options.operations = 1u << OPERATION_WRITE;
    options.max_request_bytes = options.max_reply_bytes = BIG_BYTES;
    options.in_flight = 2;
    options.audit_bytes = 8u << 20;
    harness_start(&h, options);
    if (at_probation)
        probation();
    post_echo(payload, length);
    passes(4, true);
    cr_assert_eq(harness_used(&h, 0), 1);
    cr_assert_eq(memcmp(h.io + BIG_REPLY + sizeof(struct port_reply_header), payload, length), 0);
    size_t data_at = 0;
    cr_assert_eq(h.records[0].type, AUDIT_REQUEST);
    unsigned at = check_pieces(1, &data_at, payload, length, AUDIT_DIRECTION_REQUEST, piece);
    at = check_pieces(at, &data_at, payload, length, AUDIT_DIRECTION_REPLY, piece);
    cr_assert_eq(h.records[at].type, AUDIT_COMPLETION);
    cr_assert_eq(h.record_count, at + 1);
    for (unsigned i = 0; i < h.record_count; i++)
        cr_assert_eq(h.records[i].sequence, i);
    cr_assert_eq(h.audit.reserved, 0u, "room that was not needed is given back");
    harness_end(&h);
}

static const uint32_t sizes[] = {0, 1, 7, 8, 4095, 4096, 4097, 8192, BIG_BYTES};

Test(port_probation, payloads_in_full_at_standard)
{
    for (unsigned i = 0; i < COUNT(sizes); i++)
        check_payload(sizes[i], (struct harness_options){.logs_payloads = true}, false,
                      AUDIT_PIECE_FULL);
}

Test(port_probation, payloads_for_digests)
{
    for (unsigned i = 0; i < COUNT(sizes); i++)
        check_payload(sizes[i],
                      (struct harness_options){.logs_payloads = true, .digests_only = true}, false,
                      AUDIT_PIECE_DIGEST);
}

// Whatever the configuration says.
Test(port_probation, payloads_in_full_at_probation)
{
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        check_payload(sizes[i], (struct harness_options){0}, true, AUDIT_PIECE_FULL);
        check_payload(sizes[i],
                      (struct harness_options){.logs_payloads = true, .digests_only = true}, true,
                      AUDIT_PIECE_FULL);
    }
}

Test(port_probation, metadata_only_unless_asked_for)
{
    harness_start(&h, (struct harness_options){0});
    harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
    harness_post(&h, 0, 1, OPERATION_READ, NULL, 0, 100, 2);
    passes(2, true);
    cr_expect_eq(h.record_count, 4u);
    cr_expect_eq(harness_count(&h, AUDIT_PAYLOAD), 0u);
}

// Neither backend nor guest see anything before the reader has passed the records.
Test(port_probation, no_effect_before_the_disk)
{
    harness_start(&h, (struct harness_options){0});
    probation();
    harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
    passes(5, false);
    cr_expect_eq(h.submits, 0u);
    // The request's record alone is not enough: its payload follows.
    shared_ring_available(&h.reader);
    shared_ring_consume(&h.reader, sizeof(struct audit_record));
    passes(5, false);
    cr_expect_eq(h.submits, 0u);
    shared_ring_consume(&h.reader, audit_record_bytes(3));
    passes(5, false);
    cr_expect_eq(h.submits, 1u);
    harness_untouched(&h, 0, 0);
    cr_expect_eq(harness_used(&h, 0), 0);
    harness_drain(&h);
    cr_expect_eq(h.records[0].type, AUDIT_COMPLETION);
    cr_expect_eq(h.record_count, 1u);
    passes(1, false);
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(harness_header(&h, 0, 0).status, (uint32_t)PORT_STATUS_OK);
    cr_expect_eq(h.audit.reserved, 0u);
}

// The driver hears of a denial after its record is on the disk.
Test(port_probation, denials_wait_too)
{
    harness_start(&h, (struct harness_options){0});
    probation();
    harness_post(&h, 0, 0, OPERATION_OTHER, "abc", 3, 0, 1);
    passes(5, false);
    cr_expect_eq(harness_used(&h, 0), 0);
    passes(2, true);
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(harness_header(&h, 0, 0).status, (uint32_t)PORT_STATUS_DENIED);
    cr_expect_eq(h.submits, 0u);
    cr_expect_eq(harness_count(&h, AUDIT_PAYLOAD), 1u);
}

static void expect_nothing_passes(uint64_t tail)
{
    atomic_store(&h.audit.ring.header->tail, tail);
    passes(5, false);
    cr_expect_eq(h.submits, 0u, "tail %llu", (unsigned long long)tail);
    cr_expect_eq(harness_used(&h, 0), 0);
    cr_expect(h.audit.broken);
    // Nor when the index makes sense again.
    atomic_store(&h.audit.ring.header->tail, atomic_load(&h.audit.ring.header->head));
    passes(5, false);
    cr_expect_eq(h.submits, 0u);
    harness_end(&h);
}

Test(port_probation, nonsense_index_lets_nothing_pass)
{
    static const uint64_t beyond[] = {8, 1u << 20, 1ull << 63, UINT64_MAX - 4096};
    for (unsigned i = 0; i < COUNT(beyond); i++) {
        harness_start(&h, (struct harness_options){0});
        probation();
        harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
        passes(1, false);
        expect_nothing_passes(atomic_load(&h.audit.ring.header->head) + beyond[i]);
    }
}

// The level is raised while a request is at its backend. Its records may have been consumed before,
// by a reader that did not sync: that does not count.
Test(port_probation, raised_while_at_the_backend)
{
    harness_start(&h, (struct harness_options){0});
    h.pend = true;
    harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
    passes(2, true);
    cr_expect_eq(h.submits, 1u);
    probation();
    h.finish = 1;
    h.resumes = 0;
    passes(5, false);
    cr_expect_eq(h.resumes, 0u, "its payload is not on the disk");
    cr_expect_eq(harness_count(&h, AUDIT_PAYLOAD), 1u);
    passes(1, false);
    cr_expect_eq(h.resumes, 1u);
    cr_expect_eq(harness_used(&h, 0), 0);
    passes(2, true);
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(h.audit.reserved, 0u);
}

// The same while its reply waits for limits.
Test(port_probation, raised_while_the_reply_waits)
{
    const struct limits_config limits = {.reply_bytes_per_s = 100};
    harness_start(&h, (struct harness_options){.limits = &limits});
    harness_post(&h, 0, 0, OPERATION_READ, NULL, 0, 100, 1);
    harness_post(&h, 0, 1, OPERATION_READ, NULL, 0, 50, 2);
    passes(3, true);
    cr_expect_eq(harness_used(&h, 0), 1);
    probation();
    h.now += 2 * NS_PER_S;
    passes(1, false); // the rates of Probation start from nothing
    h.now += 2 * NS_PER_S;
    passes(5, false);
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 2u, "sealed");
    cr_expect_eq(harness_count(&h, AUDIT_PAYLOAD), 1u);
    passes(1, false);
    cr_expect_eq(harness_used(&h, 0), 2);
}

static void shut_while_waiting(bool sealed, bool by_level)
{
    harness_start(&h, (struct harness_options){0});
    probation();
    harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
    passes(1, false);
    if (sealed) {
        harness_drain(&h);
        passes(2, false);
    }
    if (by_level)
        atomic_store(&h.level_supervisor.level, LEVEL_SEVERED);
    else
        port_close(h.port);
    passes(2, true);
    cr_expect_eq(h.submits, sealed);
    cr_expect_eq(harness_used(&h, 0), 0);
    harness_untouched(&h, 0, 0);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), sealed ? 2 : 1);
    const struct audit_record *last = &h.records[h.record_count - 1];
    cr_expect_eq(last->decision, AUDIT_DECISION_GATE);
    cr_expect_eq(last->status, (uint32_t)PORT_STATUS_CLOSED);
    cr_expect_eq(h.audit.reserved, 0u);
    cr_expect_eq(port_counters(h.port)->in_flight, 0u);
    probation();
    port_open(h.port);
    passes(2, true);
    cr_expect_eq(harness_used(&h, 0), 1);
    cr_expect_eq(harness_used_element(&h, 0, 0).length, 0u);
    harness_end(&h);
}

Test(port_probation, gate_shut_while_waiting)
{
    for (int i = 0; i < 4; i++)
        shut_while_waiting(i & 1, i & 2);
}

Test(port_probation, hold_while_waiting)
{
    harness_start(&h, (struct harness_options){0});
    probation();
    harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
    passes(1, false);
    atomic_store(&h.level_own.hold, 1);
    passes(3, true);
    cr_expect_eq(h.submits, 0u);
    atomic_store(&h.level_own.hold, 0);
    passes(1, false);
    cr_expect_eq(h.submits, 1u);
    atomic_store(&h.level_own.hold, 1);
    passes(3, true);
    cr_expect_eq(harness_used(&h, 0), 0);
    atomic_store(&h.level_own.hold, 0);
    passes(1, false);
    cr_expect_eq(harness_used(&h, 0), 1);
}

Test(port_probation, standard_again_while_waiting)
{
    harness_start(&h, (struct harness_options){0});
    probation();
    harness_post(&h, 0, 0, OPERATION_WRITE, "a", 1, 0, 1);
    passes(1, false);
    atomic_store(&h.level_supervisor.level, LEVEL_STANDARD);
    harness_post(&h, 0, 1, OPERATION_WRITE, "b", 1, 0, 2);
    passes(2, false);
    cr_expect_eq(harness_used(&h, 0), 2);
    cr_expect_eq(h.log[0].first, 'a', "in order");
    cr_expect_eq(h.audit.reserved, 0u);
}

// Requests that wait are in flight: no more are taken.
Test(port_probation, in_flight_bound)
{
    harness_start(&h, (struct harness_options){.in_flight = 4});
    probation();
    for (unsigned i = 0; i < 10; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "abc", 3, 0, i);
    passes(10, false);
    cr_expect_eq(port_counters(h.port)->in_flight, 4u);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 4u);
    passes(20, true);
    cr_expect_eq(harness_used(&h, 0), 10);
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 10u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 10u);
    cr_expect_eq(harness_count(&h, AUDIT_PAYLOAD), 10u);
}

// A ring that has no room holds requests and replies back; nothing is lost, nobody sleeps without a
// wake-up.
Test(port_probation, ring_without_room)
{
    static uint8_t payload[3000];
    harness_start(&h, (struct harness_options){.audit_bytes = 8192});
    probation();
    for (unsigned i = 0; i < 8; i++)
        harness_post(&h, 0, i, i % 2 ? OPERATION_READ : OPERATION_WRITE, payload,
                     i % 2 ? 0 : sizeof(payload), i % 2 ? 5000 : 0, i);
    unsigned rounds = 0;
    while (harness_used(&h, 0) < 8) {
        uint64_t wake_ns = UINT64_MAX;
        cr_assert_lt(++rounds, 100u);
        passes(3, false);
        bool sleeps = port_prepare_sleep(h.port, true, &wake_ns);
        cr_assert_eq(wake_ns, UINT64_MAX);
        if (harness_used(&h, 0) < 8) {
            cr_assert(sleeps, "nothing can be done before the reader has read");
            cr_assert(atomic_load(&h.audit.ring.header->producer_waiting));
        }
        port_wake(h.port);
        harness_drain(&h);
    }
    cr_expect_gt(rounds, 4u, "the ring was full");
    cr_expect_eq(harness_count(&h, AUDIT_REQUEST), 8u);
    cr_expect_eq(harness_count(&h, AUDIT_COMPLETION), 8u);
    cr_expect_eq(h.data_bytes, 4 * 3000u + 4 * 5000u);
    cr_expect_eq(h.audit.reserved, 0u);
}

// Before it sleeps, a poller asks for a wake-up; the reader's next look gives it.
Test(port_probation, asks_for_a_wake_up)
{
    uint64_t wake_ns = UINT64_MAX;
    harness_start(&h, (struct harness_options){0});
    probation();
    cr_expect_not(shared_ring_wait_data(&h.reader));
    harness_post(&h, 0, 0, OPERATION_WRITE, "abc", 3, 0, 1);
    passes(1, false);
    uint64_t woken = 0;
    cr_expect_eq(read(h.audit.wake_fd, &woken, sizeof(woken)), 8, "the reader, at once");
    for (int step = 0; step < 2; step++) {
        cr_expect(port_prepare_sleep(h.port, true, &wake_ns));
        cr_expect_eq(wake_ns, UINT64_MAX);
        cr_expect(shared_ring_consume(&h.reader, shared_ring_available(&h.reader)), "step %d",
                  step);
        cr_expect_not(port_prepare_sleep(h.port, true, &wake_ns), "there is work");
        port_wake(h.port);
        passes(1, false);
    }
    cr_expect_eq(harness_used(&h, 0), 1);
}

// Separate buckets, from nothing; totals over both; Standard's go on as they were.
Test(port_probation, limits)
{
    const struct limits_config standard = {
        .requests_per_s = 1000, .request_burst = 4, .requests_total = 10};
    const struct limits_config tight = {.requests_per_s = 1, .requests_total = 7};
    harness_start(&h, (struct harness_options){.limits = &standard, .tight_limits = &tight});
    for (unsigned i = 0; i < 12; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "a", 1, 0, i);
    passes(1, true);
    cr_expect_eq(h.submits, 4u);
    probation();
    h.now += 100 * NS_PER_S;
    passes(3, true);
    cr_expect_eq(h.submits, 4u, "nothing before the rate has brought it");
    for (unsigned i = 1; i <= 3; i++) {
        h.now += NS_PER_S;
        passes(4, true);
        cr_expect_eq(h.submits, 4 + i);
    }
    h.now += 10 * NS_PER_S;
    passes(4, true);
    cr_expect_eq(h.submits, 7u, "the total counts what was used at Standard");
    cr_expect_eq(harness_header(&h, 0, 7).status, (uint32_t)PORT_STATUS_EXHAUSTED);
    atomic_store(&h.level_supervisor.level, LEVEL_STANDARD);
    for (unsigned i = 12; i < 20; i++)
        harness_post(&h, 0, i, OPERATION_WRITE, "a", 1, 0, i);
    h.now += NS_PER_S;
    passes(1, true);
    h.now += NS_PER_S;
    passes(1, true);
    cr_expect_eq(h.submits, 10u, "and what was used at Probation");
}

Test(port_probation, sizes_are_tighter)
{
    static uint8_t payload[1000];
    harness_start(&h, (struct harness_options){.tight_request_bytes = 500,
                                               .tight_reply_bytes = 100,
                                               .tight_limits = &(struct limits_config){0}});
    for (unsigned level = 0; level < 2; level++) {
        atomic_store(&h.level_own.level, level);
        harness_post(&h, 0, 0, OPERATION_WRITE, payload, 500, 0, 1);
        harness_post(&h, 0, 1, OPERATION_WRITE, payload, 501, 0, 2);
        harness_post(&h, 0, 2, OPERATION_READ, NULL, 0, 1000, 3);
        passes(4, true);
        cr_expect_eq(harness_used(&h, 0), 3 * (level + 1));
        cr_expect_eq(harness_header(&h, 0, 0).status, (uint32_t)PORT_STATUS_OK);
        cr_expect_eq(harness_header(&h, 0, 1).status,
                     (uint32_t)(level ? PORT_STATUS_TOO_LARGE : PORT_STATUS_OK));
        cr_expect_eq(harness_header(&h, 0, 2).length, level ? 100u : 1000u);
    }
}

// A reader in steps, as the supervisor is one: head, level, file, disk, index. What is on the disk
// is known, and so is what happens at Probation before it is there.
static struct {
    unsigned step;
    uint64_t available;
    bool sync;
    unsigned written; // records in the file
    unsigned synced;  // on the disk
    uint64_t peeked;  // bytes behind the reader's index that are in h.records
} disk;

static bool at_probation(void)
{
    return atomic_load(&h.level_supervisor.level) || atomic_load(&h.level_own.level);
}

static void disk_step(void)
{
    switch (disk.step++) {
    case 0:
        disk.available = shared_ring_available(&h.reader);
        break;
    case 1:
        disk.sync = at_probation();
        break;
    case 2:
        for (uint64_t at = 0; at < disk.available;) {
            struct audit_record record;
            shared_ring_peek(&h.reader, at, &record, sizeof(record));
            cr_assert_lt(h.record_count, MAX_RECORDS);
            h.records[h.record_count++] = record;
            at += record.size;
        }
        disk.written = h.record_count;
        break;
    case 3:
        if (disk.sync)
            disk.synced = disk.written;
        break;
    default:
        if (disk.available)
            shared_ring_consume(&h.reader, disk.available);
        disk.step = 0;
    }
}

static void expect_on_disk(uint64_t cookie, unsigned type)
{
    for (unsigned i = 0; i < disk.synced; i++) {
        if (h.records[i].cookie == cookie && h.records[i].type == type)
            return;
    }
    cr_assert_fail("%s of %llu is not on the disk", audit_type_name(type),
                   (unsigned long long)cookie);
}

static void disk_on_submit(struct harness *harness, struct port_request *request)
{
    (void)harness;
    if (!at_probation())
        return;
    // The payload says which request it is.
    uint64_t cookie;
    memcpy(&cookie, request->payload, sizeof(cookie));
    expect_on_disk(cookie, AUDIT_REQUEST);
    expect_on_disk(cookie, AUDIT_PAYLOAD);
}

static bool disk_may_finish(const struct port_request *request)
{
    disk_on_submit(&h, (struct port_request *)(uintptr_t)request);
    return h.now % 3 != 0;
}

Test(port_probation, random_order_of_steps)
{
    struct random random = random_start(61);
    unsigned late = 0;
    for (unsigned run = 0; run < 400; run++) {
        uint64_t cookie = 0;
        uint16_t seen = 0;
        harness_start(&h, (struct harness_options){.logs_payloads = run % 3 == 0,
                                                   .digests_only = run % 2,
                                                   .audit_bytes = run % 4 ? 1 << 20 : 4096});
        memset(&disk, 0, sizeof(disk));
        h.on_submit = disk_on_submit;
        h.may_finish = disk_may_finish;
        unsigned raise_at = random_below(&random, 200);
        for (unsigned step = 0; step < 300; step++) {
            if (step == raise_at)
                atomic_store(run % 5 ? &h.level_supervisor.level : &h.level_own.level,
                             LEVEL_PROBATION);
            h.now++;
            h.pend = random_below(&random, 2);
            if (random_below(&random, 4) == 0 && cookie < QUEUE_SIZE / 2) {
                cookie++;
                harness_post(&h, 0, (unsigned)cookie - 1, OPERATION_WRITE, &cookie, sizeof(cookie),
                             0, cookie);
            }
            if (random_below(&random, 2))
                disk_step();
            else
                port_serve(h.port, 1 + random_below(&random, 4));
            for (; seen != harness_used(&h, 0); seen++) {
                uint32_t head = harness_used_element(&h, 0, seen).id;
                if (!at_probation())
                    continue;
                expect_on_disk(head / 2 + 1, AUDIT_COMPLETION);
                late++;
            }
        }
        for (unsigned step = 0; step < 400; step++) {
            h.now++;
            disk_step();
            port_serve(h.port, 8);
        }
        cr_assert_eq(harness_used(&h, 0), cookie, "run %u: nobody waits for ever", run);
        cr_assert_eq(h.audit.reserved, 0u);
        harness_end(&h);
    }
    cr_expect_gt(late, 1000u);
}
