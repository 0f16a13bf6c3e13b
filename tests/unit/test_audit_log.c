// SPDX-License-Identifier: Apache-2.0
// The audit log's supervisor: records of several writers in one sequence, whole, or an error.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_log.h"
#include "support.h"

#define SIZE  65536u
#define RINGS 3u

static struct audit_log log_file;
static struct shared_ring recorder; // its end of the ring, which the test reads in its place
static uint8_t written[SIZE * 4];   // what it took, one after the other
static size_t written_bytes;
static struct audit_ring rings[RINGS]; // two pollers of the VMM, and a backend of port 2
static struct shared_ring writers[RINGS];
static uint64_t sequences[RINGS];
static uint64_t wall = 1000;

static uint64_t fake_now(const struct clock *clock)
{
    (void)clock;
    return 777;
}

static uint64_t fake_wall(const struct clock *clock)
{
    (void)clock;
    return wall;
}

static const struct clock fake_clock = {fake_now, fake_wall, NULL};

static void make_ring(unsigned i)
{
    struct error err;
    int fd = shared_ring_create("audit", SIZE, &err);
    rings[i] = (struct audit_ring){
        .source = i < 2 ? AUDIT_SOURCE_VMM : AUDIT_SOURCE_BACKEND,
        .first_port = i < 2 ? 0 : 2,
        .ports = i < 2 ? 4 : 1,
    };
    sequences[i] = 0;
    cr_assert_eq(shared_ring_map(&rings[i].ring, fd, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&writers[i], fd, SIZE, &err), 0);
    close(fd);
}

static void setup(void)
{
    struct error err;
    audit_log_init(&log_file, &fake_clock);
    cr_assert_eq(audit_log_prepare(&log_file, &err), 0, "%s", err.text);
    cr_assert_eq(shared_ring_map(&recorder, log_file.ring_fd, RECORDER_RING_BYTES, &err), 0);
    written_bytes = 0;
    for (unsigned i = 0; i < RINGS; i++)
        make_ring(i);
}

static void teardown(void)
{
    audit_log_close(&log_file);
    shared_ring_unmap(&recorder);
}

TestSuite(audit_log, .init = setup, .fini = teardown);

static struct audit_record record_of(unsigned ring, enum audit_type type)
{
    return (struct audit_record){.size = sizeof(struct audit_record),
                                 .type = type,
                                 .port = ring < 2 ? 1 : 2,
                                 .sequence = sequences[ring]++,
                                 .decision = AUDIT_DECISION_ALLOW,
                                 .request = 5,
                                 .length = 10};
}

static void put(unsigned ring, const struct audit_record *record)
{
    shared_ring_append(&writers[ring], record, sizeof(*record));
    shared_ring_publish(&writers[ring]);
}

// The recorder takes everything.
static void record_all(void)
{
    uint64_t available = shared_ring_available(&recorder);
    cr_assert_leq(written_bytes + available, sizeof(written));
    shared_ring_peek(&recorder, 0, written + written_bytes, available);
    written_bytes += available;
    shared_ring_consume(&recorder, available);
}

static unsigned read_log(struct audit_record *records, unsigned most)
{
    unsigned count = 0;
    record_all();
    for (size_t at = 0; at < written_bytes; count++) {
        cr_assert_lt(count, most);
        memcpy(&records[count], written + at, sizeof(records[0]));
        at += records[count].size;
    }
    return count;
}

// Records of all writers come into one sequence, stamped with their source and with the time.
Test(audit_log, several_rings)
{
    static struct audit_record records[2000];
    struct random random = random_start(73);
    struct error err;
    unsigned made = 0;
    uint64_t order[2000];
    unsigned taken = 0;
    while (made < 1500) {
        unsigned ring = (unsigned)random_below(&random, RINGS);
        for (uint64_t i = random_below(&random, 20); i > 0; i--, made++) {
            struct audit_record record = record_of(ring, AUDIT_REQUEST);
            record.cookie = made;
            put(ring, &record);
        }
        if (random_chance(&random, 50)) {
            unsigned which = (unsigned)random_below(&random, RINGS);
            bool wake = false;
            uint64_t there = shared_ring_available(&rings[which].ring) / sizeof(*records);
            cr_assert_eq(audit_log_take(&log_file, &rings[which], &wake, &err), 0, "%s", err.text);
            cr_assert_eq(shared_ring_available(&rings[which].ring) / sizeof(*records), there,
                         "given back before the recorder has it");
            record_all();
            cr_assert_eq(audit_log_take(&log_file, &rings[which], &wake, &err), 0);
            cr_assert_eq(shared_ring_available(&rings[which].ring), 0u);
            for (uint64_t i = 0; i < there; i++)
                order[taken++] = which;
            wall++;
        }
        if (random_chance(&random, 5)) {
            const struct audit_record own = {.type = AUDIT_LEVEL, .port = AUDIT_NO_PORT};
            cr_assert_eq(audit_log_append(&log_file, &own, &err), 0);
            order[taken++] = RINGS;
        }
    }
    unsigned count = read_log(records, COUNT(records));
    cr_assert_eq(count, taken);
    uint64_t last_cookie[RINGS] = {0}, last_wall = 0;
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(records[i].sequence, i, "the log's own sequence");
        cr_assert_eq(records[i].size, sizeof(*records));
        cr_assert_geq(records[i].wall_ns, last_wall);
        last_wall = records[i].wall_ns;
        if (order[i] == RINGS) {
            cr_assert_eq(records[i].source, AUDIT_SOURCE_SUPERVISOR);
            cr_assert_eq(records[i].now_ns, 777u);
            continue;
        }
        cr_assert_eq(records[i].source, rings[order[i]].source);
        cr_assert_geq(records[i].cookie, last_cookie[order[i]], "out of order");
        last_cookie[order[i]] = records[i].cookie;
    }
}

// What a writer's records say was allowed, for its successor's totals.
Test(audit_log, accounts_what_was_allowed)
{
    struct error err;
    bool wake = false;
    struct audit_record record = record_of(2, AUDIT_REQUEST);
    put(2, &record);
    record = record_of(2, AUDIT_COMPLETION);
    record.length = 7;
    put(2, &record);
    record = record_of(2, AUDIT_REQUEST);
    record.decision = AUDIT_DECISION_DENY;
    put(2, &record);
    record = record_of(2, AUDIT_COMPLETION);
    record.decision = AUDIT_DECISION_GATE;
    put(2, &record);
    cr_assert_eq(audit_log_take(&log_file, &rings[2], &wake, &err), 0);
    cr_expect_eq(rings[2].requests, 1u);
    cr_expect_eq(rings[2].bytes, 10u);
    cr_expect_eq(rings[2].reply_bytes, 7u);
    cr_expect_eq(rings[0].requests, 0u);
}

Test(audit_log, wakes_a_writer_that_waits_for_room)
{
    struct error err;
    bool wake = false;
    struct audit_record record = record_of(0, AUDIT_REQUEST);
    put(0, &record);
    cr_assert_eq(audit_log_take(&log_file, &rings[0], &wake, &err), 0);
    cr_expect_not(wake);
    record = record_of(0, AUDIT_COMPLETION);
    put(0, &record);
    cr_expect_not(shared_ring_wait_space(&writers[0], SIZE));
    cr_assert_eq(audit_log_take(&log_file, &rings[0], &wake, &err), 0);
    cr_expect_not(wake, "the recorder has not come so far");
    cr_expect_not(audit_log_wait(&log_file, &rings[0]), "nothing to do but wait");
    record_all();
    cr_expect(audit_log_wait(&log_file, &rings[0]));
    while (!wake && audit_log_wait(&log_file, &rings[0]))
        cr_assert_eq(audit_log_take(&log_file, &rings[0], &wake, &err), 0);
    cr_expect(wake);
}

// Records that the fabric cannot have written, from a writer that has fallen: an error that says
// whose, and the file ends with the last good one.
Test(audit_log, writers_that_lie)
{
    static const char *const lies[] = {
        "type 0",          "start",        "level",          "violation",   "end",
        "backend",         "order",        "type of nobody", "other size",  "sequence ahead",
        "sequence behind", "another port", "no port",        "no decision", "no level",
    };
    static struct audit_record records[10];
    struct error err;
    for (unsigned lie = 0; lie < COUNT(lies); lie++) {
        for (unsigned ring = 0; ring < RINGS; ring += 2) {
            bool wake = false;
            teardown();
            setup();
            struct audit_record record = record_of(ring, AUDIT_REQUEST);
            put(ring, &record);
            record = record_of(ring, AUDIT_REQUEST);
            switch (lie) {
            case 0:
                record.type = 0;
                break;
            case 1:
                record.type = AUDIT_START;
                break;
            case 2:
                record.type = AUDIT_LEVEL;
                break;
            case 3:
                record.type = AUDIT_VIOLATION;
                break;
            case 4:
                record.type = AUDIT_END;
                break;
            case 5:
                record.type = AUDIT_BACKEND;
                break;
            case 6:
                record.type = AUDIT_ORDER;
                break;
            case 7:
                record.type = 0xffff;
                break;
            case 8:
                record.size--;
                break;
            case 9:
                record.sequence++;
                break;
            case 10:
                record.sequence = 0;
                break;
            case 11:
                record.port = ring ? 1 : 4;
                break;
            case 12:
                record.port = AUDIT_NO_PORT;
                break;
            case 13:
                record.decision = AUDIT_DECISIONS;
                break;
            default:
                record.level = 6;
                break;
            }
            put(ring, &record);
            cr_expect_eq(audit_log_take(&log_file, &rings[ring], &wake, &err), -1, "lie: %s",
                         lies[lie]);
            cr_expect_eq(err.code, 0, "not an error of the log itself");
            cr_expect(strstr(err.text, ring ? "backend" : "vmm"), "%s", err.text);
            cr_expect_leq(read_log(records, COUNT(records)), 1u);
        }
    }
    // An index that is not of whole records, or impossible.
    for (unsigned i = 0; i < 2; i++) {
        bool wake = false;
        make_ring(0);
        atomic_store(&writers[0].header->head, i ? UINT64_MAX / 2 : sizeof(records[0]) + 1);
        cr_expect_eq(audit_log_take(&log_file, &rings[0], &wake, &err), -1);
    }
}

// A source that a writer claims is not believed.
Test(audit_log, source_is_stamped)
{
    struct audit_record records[1];
    struct error err;
    bool wake = false;
    struct audit_record record = record_of(2, AUDIT_REQUEST);
    record.source = AUDIT_SOURCE_SUPERVISOR;
    record.wall_ns = 99;
    put(2, &record);
    cr_assert_eq(audit_log_take(&log_file, &rings[2], &wake, &err), 0);
    cr_assert_eq(read_log(records, 1), 1u);
    cr_expect_eq(records[0].source, AUDIT_SOURCE_BACKEND);
    cr_expect_eq(records[0].wall_ns, wall);
}

// Pieces of payloads and digests pass with their data; those that are not well formed do not.
Test(audit_log, data)
{
    struct error err;
    static struct audit_record_data piece;
    for (unsigned bad = 0; bad < 6; bad++) {
        bool wake = false;
        teardown();
        setup();
        piece.record = record_of(0, bad == 5 ? AUDIT_DIGEST : AUDIT_PAYLOAD);
        piece.record.length = bad == 1 ? AUDIT_DATA_MAX + 1 : 13;
        piece.record.size = bad == 2 ? 80 : bad == 5 ? 104 : 96;
        piece.record.detail = bad == 3 ? 2 : 1;
        piece.record.request = bad == 4 ? 0 : 7;
        memcpy(piece.data, "thirteen char", 13);
        shared_ring_append(&writers[0], &piece, piece.record.size);
        shared_ring_publish(&writers[0]);
        cr_expect_eq(audit_log_take(&log_file, &rings[0], &wake, &err), bad ? -1 : 0, "%u", bad);
        record_all();
        cr_expect_eq(written_bytes, bad ? 0u : 96u);
        if (!bad)
            cr_expect_eq(memcmp(written + 80, "thirteen char\0\0\0", 16), 0);
    }
}

// The supervisor's own records have data too, padded.
Test(audit_log, own_data)
{
    struct error err;
    const struct audit_record own = {.type = AUDIT_QUORUM, .port = AUDIT_NO_PORT};
    cr_assert_eq(audit_log_append_data(&log_file, &own, "text", 4, &err), 0);
    cr_assert_eq(audit_log_append_data(&log_file, &own, "", AUDIT_DATA_MAX + 1, &err), -1);
    record_all();
    cr_expect_eq(written_bytes, 88u);
    cr_expect_eq(memcmp(written + 80, "text\0\0\0\0", 8), 0);
}

// A recorder that does nothing: rings keep their records, own ones fail only when nothing is left.
Test(audit_log, recorder_that_stalls)
{
    struct error err;
    bool wake = false;
    const struct audit_record own = {.type = AUDIT_ORDER, .port = AUDIT_NO_PORT};
    unsigned forwarded = 0;
    for (;;) {
        struct audit_record record = record_of(0, AUDIT_REQUEST);
        uint64_t before = log_file.out.own;
        if (shared_ring_space(&writers[0]) < sizeof(record))
            break;
        put(0, &record);
        cr_assert_eq(audit_log_take(&log_file, &rings[0], &wake, &err), 0);
        forwarded += log_file.out.own != before;
    }
    cr_expect_eq(forwarded, SIZE / sizeof(struct audit_record));
    cr_expect_not(wake);
    unsigned count = 0;
    while (audit_log_append(&log_file, &own, &err) == 0)
        count++;
    cr_expect_eq(count, (RECORDER_RING_BYTES - forwarded * 80) / 80);
    cr_expect(strstr(err.text, "does not keep up"));
}

// More than a batch at once.
Test(audit_log, many_records)
{
    static struct audit_record records[SIZE / sizeof(struct audit_record)];
    struct error err;
    bool wake = false;
    for (unsigned i = 0; i < COUNT(records); i++) {
        struct audit_record record = record_of(0, i % 2 ? AUDIT_COMPLETION : AUDIT_REQUEST);
        put(0, &record);
    }
    cr_assert_eq(audit_log_take(&log_file, &rings[0], &wake, &err), 0);
    cr_expect_eq(read_log(records, COUNT(records)), COUNT(records));
}
