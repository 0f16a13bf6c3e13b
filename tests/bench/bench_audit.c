// SPDX-License-Identifier: Apache-2.0
// bench audit: what the audit log costs. The recorder's own code, with its own hash, on one core.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit_stream.h"
#include "audit_writer.h"
#include "bench.h"
#include "log_key.h"

#define RECORDS      1000000u
#define BATCH        1000u
#define PAIRS        200u // batches of pairs on the hot path
#define DURABLE      300u
#define RING_BYTES   (1u << 20)
#define NS_PER_S_F   1e9
#define HOT_PATH_RUN 1000u

static void make_batch(struct audit_record *records, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        records[i] = (struct audit_record){
            .size = sizeof(records[0]), .type = AUDIT_REQUEST, .request = i, .length = 64};
}

// The fabric's side: room, both records of a request, and making them visible.
static void measure_hot_path(struct bench *bench)
{
    struct samples samples = {0};
    struct audit_stream stream = {.wake_fd = -1};
    struct shared_ring reader;
    struct error err;
    int fd = shared_ring_create("bench-audit", RING_BYTES, &err);
    if (fd < 0 || shared_ring_map(&stream.ring, fd, RING_BYTES, &err) < 0 ||
        shared_ring_map(&reader, fd, RING_BYTES, &err) < 0)
        bench_die("%s", err.text);
    for (unsigned batch = 0; batch < PAIRS; batch++) {
        uint64_t start = bench_now_ns();
        for (unsigned i = 0; i < HOT_PATH_RUN; i++) {
            struct audit_record request = {.type = AUDIT_REQUEST, .request = i};
            struct audit_record completion = {.type = AUDIT_COMPLETION, .request = i};
            if (!audit_stream_reserve(&stream, 2, start))
                bench_die("the audit ring is full");
            audit_stream_append(&stream, &request, NULL, 0);
            audit_stream_append(&stream, &completion, NULL, 0);
            audit_stream_flush(&stream);
        }
        samples_add(&samples, (double)(bench_now_ns() - start) / HOT_PATH_RUN);
        shared_ring_consume(&reader, shared_ring_available(&reader));
    }
    bench_metric(bench, "hot_path_ns", samples_quantile(&samples, 0.5), "ns", "lower",
                 samples.count);
    samples_free(&samples);
    shared_ring_unmap(&reader);
    shared_ring_unmap(&stream.ring);
    close(fd);
}

static void open_log(const struct bench *bench, struct audit_writer *w, struct note_secret *secret)
{
    struct error err;
    int key = log_key_open(bench->work, &err);
    int folder = open(bench->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (key < 0 || folder < 0 || log_key_read(key, secret, &err) < 0)
        bench_die("%s", err.text);
    close(key);
    *w = (struct audit_writer){
        .files = &audit_files_host, .folder = folder, .witness = -1, .secret = secret};
    strcpy(w->name, "bench.audit");
    snprintf(w->origin, sizeof(w->origin), "%s/bench", secret->key.name);
    int log = openat(folder, w->name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (audit_writer_open(w, log, &err) < 0)
        bench_die("%s", err.text);
}

static void measure_writer(struct bench *bench)
{
    static struct audit_record records[BATCH];
    struct samples samples = {0};
    struct audit_writer w;
    struct note_secret secret;
    struct error err;
    open_log(bench, &w, &secret);
    uint64_t start = bench_now_ns();
    for (unsigned done = 0; done < RECORDS; done += BATCH) {
        make_batch(records, BATCH);
        if (audit_writer_append(&w, records, sizeof(records), &err) < 0)
            bench_die("%s", err.text);
    }
    bench_metric(bench, "records_per_s", RECORDS / ((double)(bench_now_ns() - start) / NS_PER_S_F),
                 "1/s", "higher", RECORDS);
    if (audit_writer_sync(&w, &err) < 0)
        bench_die("%s", err.text);
    for (unsigned i = 0; i < DURABLE; i++) {
        make_batch(records, 2);
        start = bench_now_ns();
        if (audit_writer_append(&w, records, 2 * sizeof(records[0]), &err) < 0 ||
            audit_writer_sync(&w, &err) < 0)
            bench_die("%s", err.text);
        samples_add(&samples, (double)(bench_now_ns() - start) / 1e6);
    }
    bench_metric(bench, "durable_p99_ms", samples_quantile(&samples, 0.99), "ms", "lower",
                 samples.count);
    samples_free(&samples);
    if (audit_writer_seal(&w, &err) < 0)
        bench_die("%s", err.text);
    close(w.folder);
    audit_writer_close(&w);
}

static void measure_verify(struct bench *bench)
{
    char cli[4096], log[128];
    char *argv[] = {cli, (char *)"audit", (char *)"verify", (char *)"--state-dir", bench->work, log,
                    NULL};
    uint64_t start;
    int output;
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(log, sizeof(log), "%s/bench.audit", bench->work);
    pid_t pid = bench_spawn(argv, &output, &start);
    bench_wait(pid, 0);
    double seconds = (double)(bench_now_ns() - start) / NS_PER_S_F;
    close(output);
    bench_metric(bench, "verify_records_per_s", (RECORDS + 2 * DURABLE) / seconds, "1/s", "higher",
                 RECORDS);
}

void bench_audit(struct bench *bench)
{
    bench_progress(bench, "audit: hot path");
    measure_hot_path(bench);
    bench_progress(bench, "audit: writer");
    measure_writer(bench);
    bench_progress(bench, "audit: verify");
    measure_verify(bench);
}
