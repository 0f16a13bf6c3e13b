// SPDX-License-Identifier: Apache-2.0
// The audit log: records of several writers in one file, whole, in sequence, or an error.
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

static char path[] = "/tmp/guillotine-test-XXXXXX";
static struct audit_log log_file;
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
    close(mkstemp(path));
    cr_assert_eq(audit_log_open(&log_file, path, &fake_clock, &err), 0, "%s", err.text);
    for (unsigned i = 0; i < RINGS; i++)
        make_ring(i);
}

static void teardown(void)
{
    audit_log_close(&log_file);
    unlink(path);
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

static unsigned read_log(struct audit_record *records, unsigned most)
{
    FILE *file = fopen(path, "rb");
    char header[AUDIT_FILE_HEADER_BYTES];
    cr_assert_eq(fread(header, 1, sizeof(header), file), sizeof(header));
    cr_assert_eq(memcmp(header, AUDIT_FORMAT "\n", sizeof(AUDIT_FORMAT)), 0);
    unsigned count = (unsigned)fread(records, sizeof(*records), most, file);
    cr_assert_eq(fgetc(file), EOF, "more than %u records", count);
    fclose(file);
    return count;
}

// Records of all writers come into one sequence, stamped with their source and with the time.
Test(audit_log, several_rings)
{
    static struct audit_record records[2000];
    struct random random = random_start(73);
    struct error err;
    unsigned written = 0;
    uint64_t order[2000];
    unsigned taken = 0;
    while (written < 1500) {
        unsigned ring = (unsigned)random_below(&random, RINGS);
        for (uint64_t i = random_below(&random, 20); i > 0; i--, written++) {
            struct audit_record record = record_of(ring, AUDIT_REQUEST);
            record.cookie = written;
            put(ring, &record);
        }
        if (random_chance(&random, 50)) {
            unsigned which = (unsigned)random_below(&random, RINGS);
            bool wake = false;
            uint64_t there = shared_ring_available(&rings[which].ring) / sizeof(*records);
            cr_assert_eq(audit_log_take(&log_file, &rings[which], &wake, &err), 0, "%s", err.text);
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
    cr_assert_eq(audit_log_flush(&log_file, &err), 0);
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
            strcpy(path, "/tmp/guillotine-test-XXXXXX");
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
                record.decision = AUDIT_DECISION_GATE + 1;
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
            cr_assert_eq(audit_log_flush(&log_file, &err), 0);
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

// The next run goes on in the same file; a file that is something else, or used, is refused.
Test(audit_log, goes_on)
{
    struct audit_record records[4];
    struct audit_log other;
    struct error err;
    const struct audit_record own = {.type = AUDIT_START, .port = AUDIT_NO_PORT};
    cr_assert_eq(audit_log_append(&log_file, &own, &err), 0);
    cr_assert_eq(audit_log_flush(&log_file, &err), 0);
    cr_expect_eq(audit_log_open(&other, path, &fake_clock, &err), -1, "two writers");
    audit_log_close(&log_file);
    cr_assert_eq(audit_log_open(&log_file, path, &fake_clock, &err), 0, "%s", err.text);
    cr_assert_eq(audit_log_append(&log_file, &own, &err), 0);
    cr_assert_eq(audit_log_flush(&log_file, &err), 0);
    cr_assert_eq(read_log(records, COUNT(records)), 2u);
    cr_expect_eq(records[1].sequence, 0u, "each run counts its own");
    audit_log_close(&log_file);
    cr_assert_eq(truncate(path, AUDIT_FILE_HEADER_BYTES + 81), 0);
    cr_expect_eq(audit_log_open(&log_file, path, &fake_clock, &err), -1, "a torn record");
    cr_assert_eq(truncate(path, 10), 0);
    cr_expect_eq(audit_log_open(&log_file, path, &fake_clock, &err), -1);
    log_file.fd = -1;
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
    cr_assert_gt(COUNT(records), AUDIT_LOG_BATCH);
    cr_assert_eq(audit_log_take(&log_file, &rings[0], &wake, &err), 0);
    cr_expect_eq(read_log(records, COUNT(records)), COUNT(records));
}
