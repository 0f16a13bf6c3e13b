// SPDX-License-Identifier: Apache-2.0
// bench port: round trips of 64-byte requests through the console, policy and audit on.
//
// A cell has no clock. The fabric stamps every request in the audit log, and the guest sends the
// next request as soon as it has the reply: the time between two stamps is one round trip.
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_record.h"

#define PAIRS             30
#define POLLED_REQUESTS   20000
#define DOORBELL_REQUESTS 1000
#define WARM_UP           200
#define FLOOR_TRIPS       200000

static void write_vm_file(const struct bench *bench, const char *mode, char *path, size_t size)
{
    snprintf(path, size, "%s/%s.json", bench->work, mode);
    FILE *file = fopen(path, "we");
    if (!file)
        bench_die("%s", path);
    fprintf(file,
            "{\"format\":\"guillotine-vm/1\",\"image\":\"%s/bench-port.elf\","
            "\"poller\":{\"doorbell_interval_us\":0},"
            "\"ports\":[{\"name\":\"console\",\"kind\":\"console\",\"mode\":\"%s\"}]}",
            bench->data, mode);
    fclose(file);
}

// Adds the round-trip times of one run, in ns. Returns requests per second of the run.
static double run(const struct bench *bench, const char *mode, int requests,
                  struct samples *samples)
{
    char cli[4096], file[128], audit[128], runtime[128], count[16];
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(audit, sizeof(audit), "%s/port.audit", bench->work);
    snprintf(runtime, sizeof(runtime), "%s/run", bench->work);
    snprintf(count, sizeof(count), "%d", requests);
    write_vm_file(bench, mode, file, sizeof(file));
    char *argv[] = {cli,     (char *)"run", (char *)"--audit", audit, (char *)"--runtime-dir",
                    runtime, file,          (char *)"--",      count, NULL};
    unlink(audit);
    bench_wait(bench_spawn(argv, NULL, NULL), 0);

    size_t length;
    char *log = bench_read_file(audit, &length);
    uint64_t last = 0, first = 0, end = 0;
    int seen = 0;
    for (size_t at = AUDIT_FILE_HEADER_BYTES; at + sizeof(struct audit_record) <= length;
         at += sizeof(struct audit_record)) {
        struct audit_record record;
        memcpy(&record, log + at, sizeof(record));
        if (record.type != AUDIT_REQUEST)
            continue;
        if (++seen > WARM_UP && last)
            samples_add(samples, (double)(record.now_ns - last));
        if (seen == WARM_UP)
            first = record.now_ns;
        last = end = record.now_ns;
    }
    free(log);
    if (seen != requests)
        bench_die("%d of %d requests in the audit log", seen, requests);
    return (requests - WARM_UP) / ((double)(end - first) / 1e9);
}

static _Alignas(64) _Atomic uint64_t line_to;
static _Alignas(64) _Atomic uint64_t line_back;

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void *echo(void *argument)
{
    (void)argument;
    pin(1);
    for (uint64_t i = 1; i <= FLOOR_TRIPS; i++) {
        while (atomic_load_explicit(&line_to, memory_order_acquire) != i)
            __builtin_ia32_pause();
        atomic_store_explicit(&line_back, i, memory_order_release);
    }
    return NULL;
}

// What the two cores need at the least: one 8-byte line each way, nothing else.
static void measure_floor(struct bench *bench)
{
    struct samples samples = {0};
    pthread_t thread;
    cpu_set_t before;
    sched_getaffinity(0, sizeof(before), &before);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2 || pthread_create(&thread, NULL, echo, NULL))
        bench_die("the floor needs two CPUs");
    pin(0);
    uint64_t batch_start = bench_now_ns();
    for (uint64_t i = 1; i <= FLOOR_TRIPS; i++) {
        atomic_store_explicit(&line_to, i, memory_order_release);
        while (atomic_load_explicit(&line_back, memory_order_acquire) != i)
            __builtin_ia32_pause();
        if (i % 100 == 0) { // a clock read per trip would be part of the figure
            uint64_t now = bench_now_ns();
            samples_add(&samples, (double)(now - batch_start) / 100);
            batch_start = now;
        }
    }
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof(before), &before);
    bench_metric(bench, "floor_p50_ns", samples_quantile(&samples, 0.5), "ns", "lower",
                 samples.count);
    samples_free(&samples);
}

void bench_port(struct bench *bench)
{
    struct samples polled = {0}, doorbell = {0}, ratio = {0}, rate = {0};
    measure_floor(bench);
    for (int i = 0; i < PAIRS; i++) {
        struct samples one = {0}, other = {0};
        bench_progress(bench, "pair %d of %d", i + 1, PAIRS);
        samples_add(&rate, run(bench, "busy", POLLED_REQUESTS, &one));
        run(bench, "doorbell", DOORBELL_REQUESTS, &other);
        samples_add(&ratio, samples_quantile(&other, 0.5) / samples_quantile(&one, 0.5));
        for (size_t k = 0; k < one.count; k++)
            samples_add(&polled, one.values[k]);
        for (size_t k = 0; k < other.count; k++)
            samples_add(&doorbell, other.values[k]);
        samples_free(&one);
        samples_free(&other);
    }
    bench_metric(bench, "polled_p50_ns", samples_quantile(&polled, 0.5), "ns", "lower",
                 polled.count);
    bench_metric(bench, "polled_p99_ns", samples_quantile(&polled, 0.99), "ns", "lower",
                 polled.count);
    bench_metric(bench, "doorbell_p50_ns", samples_quantile(&doorbell, 0.5), "ns", "lower",
                 doorbell.count);
    bench_metric(bench, "doorbell_to_polled_ratio", samples_quantile(&ratio, 0.5), "ratio",
                 "higher", PAIRS);
    bench_metric(bench, "requests_per_s_64_one_at_a_time", samples_quantile(&rate, 0.5), "1/s",
                 "higher", PAIRS);
    samples_free(&polled);
    samples_free(&doorbell);
    samples_free(&ratio);
    samples_free(&rate);
}
