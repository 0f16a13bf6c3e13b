// SPDX-License-Identifier: Apache-2.0
// bench port: latency, rates and fairness of the port fabric, with policy and audit on.
//
// A cell has no clock. The fabric stamps every request and completion in the audit log: all times
// and counts come from there, and a run whose log is not complete yields no figure. Everything runs
// on two CPUs: the model on the first that is usable, poller and supervisor, which writes the log,
// on the last.
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "audit_record.h"

#define PAIRS             30
#define POLLED_REQUESTS   20000
#define DOORBELL_REQUESTS 1000
#define WARM_UP           200
#define FLOOR_TRIPS       20000u

#define STORM_ROUNDS 3000
// A round counts if the moment of its publication is known to so many requests of the storm.
#define STORM_UNSURE 2u

#define SUSTAINED_NS         10000000000ull
#define SUSTAINED_FREE_BYTES (4ull << 30)

#define MEMCPY_BYTES (256ull << 20)

#define SIGNAL_STATUS_BASE 128

static int model_cpu;
static int hypervisor_cpu;

static void choose_cpus(void)
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    if (CPU_COUNT(&set) < 2)
        bench_die("port needs two CPUs");
    for (model_cpu = 0; !CPU_ISSET((unsigned)model_cpu, &set);)
        model_cpu++;
    for (hypervisor_cpu = CPU_SETSIZE - 1; !CPU_ISSET((unsigned)hypervisor_cpu, &set);)
        hypervisor_cpu--;
}

// A run of the guest (tests/bench/port_client.c), and what its log says.
struct run {
    const char *ports;         // of the VM file
    const char *arguments[6];  // of the guest
    uint64_t stop_ns;          // ends it after this time; 0: it ends by itself
    struct samples *gaps;      // between two requests, in ns, or NULL
    struct samples *completed; // in each whole second, or NULL
    // Called for each record of the fabric, or NULL.
    void (*visit)(struct run *run, const struct audit_record *record);
    void *context;
    // Results.
    uint64_t requests;
    uint64_t completions;
    uint64_t bytes;
    uint64_t first_ns;
    uint64_t last_request_ns;
    uint64_t last_ns;
    uint64_t second; // that is counted
    uint64_t in_second;
};

static void count_seconds(struct run *run, uint64_t now_ns)
{
    for (uint64_t second = (now_ns - run->first_ns) / 1000000000; run->second < second;) {
        samples_add(run->completed, (double)run->in_second);
        run->second++;
        run->in_second = 0;
    }
    run->in_second++;
}

static void take_record(void *context, const struct audit_record *record)
{
    struct run *run = context;
    if (record->source != AUDIT_SOURCE_VMM)
        return;
    if (record->type == AUDIT_REQUEST) {
        if (!run->requests++)
            run->first_ns = record->now_ns;
        else if (run->gaps && run->requests > WARM_UP)
            samples_add(run->gaps, (double)(record->now_ns - run->last_request_ns));
        run->last_request_ns = record->now_ns;
        run->bytes += record->length;
    } else if (record->type == AUDIT_COMPLETION) {
        run->completions++;
        run->last_ns = record->now_ns;
        if (run->completed)
            count_seconds(run, record->now_ns);
    }
    if (run->visit)
        run->visit(run, record);
}

static void write_vm_file(const struct bench *bench, const char *ports, const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        bench_die("%s: %s", path, strerror(errno));
    fprintf(file,
            "{\"format\":\"guillotine-vm/1\",\"image\":\"%s/bench-port.elf\","
            "\"placement\":{\"model_cores\":\"%d\",\"hypervisor_cores\":\"%d\"},"
            "\"poller\":{\"doorbell_interval_us\":0},\"ports\":[%s]}",
            bench->data, model_cpu, hypervisor_cpu, ports);
    fclose(file);
}

static void execute(const struct bench *bench, struct run *run)
{
    char cli[4096], file[128], audit[128], runtime[128], result[128], state[128];
    char *argv[20];
    size_t argc = 0;
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(file, sizeof(file), "%s/port.json", bench->work);
    snprintf(audit, sizeof(audit), "%s/port.audit", bench->work);
    snprintf(runtime, sizeof(runtime), "%s/run", bench->work);
    snprintf(result, sizeof(result), "%s/port-result.json", bench->work);
    snprintf(state, sizeof(state), "%s/state", bench->work);
    write_vm_file(bench, run->ports, file);
    unlink(audit);
    char checkpoint[160];
    snprintf(checkpoint, sizeof(checkpoint), "%s.checkpoint", audit);
    unlink(checkpoint);
    const char *const options[] = {cli,     "run",         "--audit", audit,      "--runtime-dir",
                                   runtime, "--state-dir", state,     "--result", result,
                                   file,    "--"};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        argv[argc++] = (char *)(uintptr_t)options[i];
    for (size_t i = 0; i < 6 && run->arguments[i]; i++)
        argv[argc++] = (char *)(uintptr_t)run->arguments[i];
    argv[argc] = NULL;
    pid_t pid = bench_spawn(argv, NULL, NULL);
    if (run->stop_ns) {
        usleep((useconds_t)(run->stop_ns / 1000));
        kill(pid, SIGTERM);
    }
    bench_wait(pid, run->stop_ns ? SIGNAL_STATUS_BASE + SIGTERM : 0);
    bench_read_log(audit, take_record, run);
    unlink(audit);

    char *json = bench_read_file(result, NULL);
    uint64_t requests = (uint64_t)bench_json_number(json, "requests");
    uint64_t completions = (uint64_t)bench_json_number(json, "completions");
    free(json);
    if (!requests || run->requests != requests || run->completions != completions)
        bench_die("%llu requests and %llu completions in the audit log; there were %llu and %llu",
                  (unsigned long long)run->requests, (unsigned long long)run->completions,
                  (unsigned long long)requests, (unsigned long long)completions);
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static _Alignas(64) _Atomic uint64_t line_to;
static _Alignas(64) _Atomic uint64_t line_back;

static void *echo(void *argument)
{
    (void)argument;
    pin(hypervisor_cpu);
    for (uint64_t i = 1; i <= FLOOR_TRIPS; i++) {
        while (atomic_load_explicit(&line_to, memory_order_acquire) != i)
            __builtin_ia32_pause();
        atomic_store_explicit(&line_back, i, memory_order_release);
    }
    return NULL;
}

// What the two cores need at the least: one 8-byte line each way, nothing else.
static void measure_floor(struct samples *samples)
{
    pthread_t thread;
    cpu_set_t before;
    sched_getaffinity(0, sizeof(before), &before);
    atomic_store(&line_to, 0);
    atomic_store(&line_back, 0);
    if (pthread_create(&thread, NULL, echo, NULL))
        bench_die("cannot start a thread");
    pin(model_cpu);
    uint64_t batch_start = bench_now_ns();
    for (uint64_t i = 1; i <= FLOOR_TRIPS; i++) {
        atomic_store_explicit(&line_to, i, memory_order_release);
        while (atomic_load_explicit(&line_back, memory_order_acquire) != i)
            __builtin_ia32_pause();
        if (i % 100 == 0) { // a clock read per trip would be part of the figure
            uint64_t now = bench_now_ns();
            if (i > 1000)
                samples_add(samples, (double)(now - batch_start) / 100);
            batch_start = now;
        }
    }
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof(before), &before);
}

static void add_all(struct samples *target, struct samples *source)
{
    for (size_t i = 0; i < source->count; i++)
        samples_add(target, source->values[i]);
    samples_free(source);
}

static void metric(struct bench *bench, const char *name, struct samples *samples, double fraction,
                   const char *unit, const char *better)
{
    bench_metric(bench, name, samples_quantile(samples, fraction), unit, better, samples->count);
    samples_free(samples);
}

static void one_at_a_time(const struct bench *bench, const char *ports, const char *requests,
                          struct samples *gaps, struct samples *rate)
{
    struct run run = {
        .ports = ports,
        .arguments = {"one", "loopback", requests},
        .gaps = gaps,
    };
    execute(bench, &run);
    if (rate)
        samples_add(rate, (double)run.requests / ((double)(run.last_ns - run.first_ns) / 1e9));
}

#define TEXT(number)  TEXT_(number)
#define TEXT_(number) #number

static void measure_latency(struct bench *bench)
{
    struct samples floor = {0}, polled = {0}, doorbell = {0}, rate = {0};
    struct samples to_polled = {0}, to_floor = {0};
    for (int i = 0; i < PAIRS; i++) {
        struct samples line = {0}, busy = {0}, rung = {0};
        bench_progress(bench, "latency: pair %d of %d", i + 1, PAIRS);
        measure_floor(&line);
        for (int k = 0; k < 2; k++) { // who goes first alternates
            if ((k ^ i) & 1)
                one_at_a_time(bench, "{\"kind\":\"loopback\",\"mode\":\"doorbell\"}",
                              TEXT(DOORBELL_REQUESTS), &rung, NULL);
            else
                one_at_a_time(bench, "{\"kind\":\"loopback\",\"mode\":\"busy\"}",
                              TEXT(POLLED_REQUESTS), &busy, &rate);
        }
        double p50 = samples_quantile(&busy, 0.5);
        samples_add(&to_polled, samples_quantile(&rung, 0.5) / p50);
        samples_add(&to_floor, p50 / samples_quantile(&line, 0.5));
        add_all(&floor, &line);
        add_all(&polled, &busy);
        add_all(&doorbell, &rung);
    }
    bench_metric(bench, "polled_p99_ns", samples_quantile(&polled, 0.99), "ns", "lower",
                 polled.count);
    metric(bench, "floor_p50_ns", &floor, 0.5, "ns", "lower");
    metric(bench, "polled_p50_ns", &polled, 0.5, "ns", "lower");
    metric(bench, "doorbell_p50_ns", &doorbell, 0.5, "ns", "lower");
    metric(bench, "doorbell_to_polled_ratio", &to_polled, 0.5, "ratio", "higher");
    metric(bench, "polled_to_floor_ratio", &to_floor, 0.5, "ratio", "lower");
    metric(bench, "requests_per_s_64_one_at_a_time", &rate, 0.5, "1/s", "higher");
}

// One kind of stream: the guest keeps as many requests outstanding as fit.
struct stream {
    unsigned bytes;
    unsigned queues;
    bool write; // the guest writes each payload anew
    unsigned requests;
    const char *rate_name; // NULL: measure_sustained has it
    const char *bytes_name;
    struct samples rate;
    struct samples bandwidth;
};

// The buffers of the large ones fit into a cache of 4 MiB; copies of as many are what they are
// compared with.
#define LARGE_IN_FLIGHT(bytes) ((bytes) == 65536 ? 16u : 4u)

static void measure_stream(const struct bench *bench, struct stream *stream)
{
    char ports[256], requests[16], bytes[16], queues[16];
    snprintf(ports, sizeof(ports),
             "{\"kind\":\"loopback\",\"mode\":\"busy\",\"queues\":%u,\"max_request_bytes\":%u,"
             "\"max_reply_bytes\":1,\"in_flight\":%u}",
             stream->queues, stream->bytes,
             stream->bytes >= 65536 ? LARGE_IN_FLIGHT(stream->bytes) : 64);
    snprintf(requests, sizeof(requests), "%u", stream->requests);
    snprintf(bytes, sizeof(bytes), "%u", stream->bytes);
    snprintf(queues, sizeof(queues), "%u", stream->queues);
    struct run run = {
        .ports = ports,
        .arguments = {"stream", "loopback", requests, bytes, queues, stream->write ? "1" : "0"},
    };
    execute(bench, &run);
    double seconds = (double)(run.last_ns - run.first_ns) / 1e9;
    samples_add(&stream->rate, (double)run.completions / seconds);
    samples_add(&stream->bandwidth, (double)run.bytes / seconds);
}

// What the hypervisor core's memcpy does with the same buffers: from as many as the port has, in
// shared memory, in turn, to one private buffer, since the fabric too uses the buffer again that it
// used last. The caches are treated alike.
static double memcpy_bytes_per_s(size_t bytes)
{
    size_t count = LARGE_IN_FLIGHT(bytes);
    cpu_set_t before;
    sched_getaffinity(0, sizeof(before), &before);
    pin(hypervisor_cpu);
    uint8_t *source =
        mmap(NULL, bytes * count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint8_t *target = malloc(bytes);
    if (source == MAP_FAILED || !target)
        bench_die("out of memory");
    memset(source, 1, bytes * count);
    memset(target, 1, bytes);
    uint64_t start = bench_now_ns();
    for (size_t done = 0; done < MEMCPY_BYTES / bytes; done++) {
        memcpy(target, source + done % count * bytes, bytes);
        __asm__ volatile("" : : "r"(target) : "memory"); // each one counts
    }
    uint64_t end = bench_now_ns();
    munmap(source, bytes * count);
    free(target);
    sched_setaffinity(0, sizeof(before), &before);
    return (double)MEMCPY_BYTES / ((double)(end - start) / 1e9);
}

// The same with fresh data: one core writes the buffers, the other copies them. What can be had
// where the model writes each payload before it sends it.
#define HANDOVER_BYTES   65536u
#define HANDOVER_BUFFERS LARGE_IN_FLIGHT(HANDOVER_BYTES)

static struct handover {
    uint8_t *buffers;
    _Alignas(64) _Atomic uint64_t written; // buffers that the model's core has filled
    _Alignas(64) _Atomic uint64_t copied;
} handover;

static void *write_buffers(void *argument)
{
    (void)argument;
    pin(model_cpu);
    for (uint64_t i = 0; i < MEMCPY_BYTES / HANDOVER_BYTES; i++) {
        while (i - atomic_load_explicit(&handover.copied, memory_order_acquire) >= HANDOVER_BUFFERS)
            __builtin_ia32_pause();
        memset(handover.buffers + i % HANDOVER_BUFFERS * HANDOVER_BYTES, (int)i, HANDOVER_BYTES);
        atomic_store_explicit(&handover.written, i + 1, memory_order_release);
    }
    return NULL;
}

static double handover_bytes_per_s(void)
{
    static uint8_t target[HANDOVER_BYTES];
    pthread_t thread;
    cpu_set_t before;
    sched_getaffinity(0, sizeof(before), &before);
    if (!handover.buffers)
        handover.buffers = mmap(NULL, (size_t)HANDOVER_BUFFERS * HANDOVER_BYTES,
                                PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (handover.buffers == MAP_FAILED)
        bench_die("out of memory");
    memset(handover.buffers, 1, (size_t)HANDOVER_BUFFERS * HANDOVER_BYTES);
    atomic_store(&handover.written, 0);
    atomic_store(&handover.copied, 0);
    pin(hypervisor_cpu);
    uint64_t start = bench_now_ns();
    if (pthread_create(&thread, NULL, write_buffers, NULL))
        bench_die("cannot start a thread");
    for (uint64_t i = 0; i < MEMCPY_BYTES / HANDOVER_BYTES; i++) {
        while (atomic_load_explicit(&handover.written, memory_order_acquire) <= i)
            __builtin_ia32_pause();
        if (!i)
            start = bench_now_ns();
        memcpy(target, handover.buffers + i % HANDOVER_BUFFERS * HANDOVER_BYTES, HANDOVER_BYTES);
        __asm__ volatile("" : : "r"(target) : "memory"); // each one counts
        atomic_store_explicit(&handover.copied, i + 1, memory_order_release);
    }
    uint64_t end = bench_now_ns();
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof(before), &before);
    return (double)MEMCPY_BYTES / ((double)(end - start) / 1e9);
}

static void measure_rates(struct bench *bench)
{
    enum {
        LARGE = 4, // of 65536 bytes
        LARGE_WRITTEN = 6,
        LARGEST = 7, // of 1048576 bytes
        COUNT = 10,
    };
    static struct stream streams[COUNT] = {
        {64, 1, false, 150000, NULL, "bytes_per_s_64", {0}, {0}},
        {64, 2, false, 150000, "requests_per_s_64_q2", "bytes_per_s_64_q2", {0}, {0}},
        {4096, 1, false, 100000, "requests_per_s_4096", "bytes_per_s_4096", {0}, {0}},
        {4096, 2, false, 100000, "requests_per_s_4096_q2", "bytes_per_s_4096_q2", {0}, {0}},
        {65536, 1, false, 15000, "requests_per_s_65536", "bytes_per_s_65536", {0}, {0}},
        {65536, 2, false, 15000, "requests_per_s_65536_q2", "bytes_per_s_65536_q2", {0}, {0}},
        {65536, 1, true, 15000, NULL, "bytes_per_s_65536_written", {0}, {0}},
        {1048576, 1, false, 1000, "requests_per_s_1048576", "bytes_per_s_1048576", {0}, {0}},
        {1048576, 2, false, 1000, "requests_per_s_1048576_q2", "bytes_per_s_1048576_q2", {0}, {0}},
        {1048576, 1, true, 1000, NULL, "bytes_per_s_1048576_written", {0}, {0}},
    };
    // What a stream is compared with, directly before it.
    struct samples copied[COUNT] = {{0}}, ratios[COUNT] = {{0}};
    for (int i = 0; i < PAIRS; i++) {
        bench_progress(bench, "rates: round %d of %d", i + 1, PAIRS);
        for (unsigned k = 0; k < COUNT; k++) {
            unsigned index = i & 1 ? COUNT - 1 - k : k;
            struct stream *stream = &streams[index];
            double other = 0;
            if (index == LARGE || index == LARGEST)
                other = memcpy_bytes_per_s(stream->bytes);
            else if (index == LARGE_WRITTEN)
                other = handover_bytes_per_s();
            measure_stream(bench, stream);
            if (other > 0) {
                samples_add(&copied[index], other);
                samples_add(&ratios[index],
                            stream->bandwidth.values[stream->bandwidth.count - 1] / other);
            }
        }
    }
    for (unsigned k = 0; k < COUNT; k++) {
        if (streams[k].rate_name)
            metric(bench, streams[k].rate_name, &streams[k].rate, 0.5, "1/s", "higher");
        metric(bench, streams[k].bytes_name, &streams[k].bandwidth, 0.5, "B/s", "higher");
        samples_free(&streams[k].rate);
    }
    metric(bench, "memcpy_bytes_per_s", &copied[LARGE], 0.5, "B/s", "higher");
    metric(bench, "memcpy_bytes_per_s_1048576", &copied[LARGEST], 0.5, "B/s", "higher");
    metric(bench, "handover_bytes_per_s", &copied[LARGE_WRITTEN], 0.5, "B/s", "higher");
    metric(bench, "bytes_per_s_65536_to_memcpy_ratio", &ratios[LARGE], 0.5, "ratio", "higher");
    metric(bench, "bytes_per_s_1048576_to_memcpy_ratio", &ratios[LARGEST], 0.5, "ratio", "higher");
    metric(bench, "bytes_per_s_65536_written_to_handover_ratio", &ratios[LARGE_WRITTEN], 0.5,
           "ratio", "higher");
}

// Which request of the storm was answered last, and what the last single request found.
struct storm {
    uint64_t answered;
    double between;
    struct samples samples;
    unsigned rounds;
};

static void visit_storm(struct run *run, const struct audit_record *record)
{
    struct storm *storm = run->context;
    if (record->port == 0)
        storm->answered += record->type == AUDIT_COMPLETION;
    if (record->port == 0 || record->type != AUDIT_REQUEST)
        return;
    // The cookie's upper part is about the round before (port_client.c).
    if (storm->rounds++ && record->cookie >> 48 <= STORM_UNSURE)
        samples_add(&storm->samples, storm->between);
    storm->between = (double)(storm->answered - (record->cookie & 0xffffffffffff));
}

// Fairness: how many requests of a port in a storm are served between the moment when another
// port's request is published and the moment when it is served. The rest of the pass that runs and
// the whole next one are 2 * POLLER_BUDGET; each time that the audit ring is full adds one more.
static void measure_storm(struct bench *bench)
{
    struct storm storm = {0};
    struct run run = {
        .ports = "{\"name\":\"storm\",\"kind\":\"loopback\",\"mode\":\"busy\",\"queue_size\":1024,"
                 "\"max_request_bytes\":4096,\"max_reply_bytes\":1,\"in_flight\":64},"
                 "{\"name\":\"single\",\"kind\":\"loopback\",\"mode\":\"busy\"}",
        .arguments = {"storm", "storm", "single", TEXT(STORM_ROUNDS)},
        .visit = visit_storm,
        .context = &storm,
    };
    bench_progress(bench, "fairness");
    execute(bench, &run);
    if (storm.samples.count < 1000)
        bench_die("only %zu of %u rounds of the storm could be counted", storm.samples.count,
                  storm.rounds);
    metric(bench, "storm_served_between", &storm.samples, 1, "requests", "lower");
}

static void measure_sustained(struct bench *bench)
{
    struct samples seconds = {0};
    struct statvfs status;
    if (statvfs(bench->work, &status) < 0 ||
        (uint64_t)status.f_bavail * status.f_frsize < SUSTAINED_FREE_BYTES)
        bench_die("%s needs 4 GiB of free space for the audit log", bench->work);
    struct run run = {
        .ports = "{\"kind\":\"loopback\",\"mode\":\"busy\",\"max_request_bytes\":64,"
                 "\"max_reply_bytes\":1,\"in_flight\":64}",
        .arguments = {"stream", "loopback", "0", "64", "1", "0"},
        .stop_ns = SUSTAINED_NS + SUSTAINED_NS / 20,
        .completed = &seconds,
    };
    bench_progress(bench, "10 s at the highest rate");
    execute(bench, &run);
    if (run.last_ns - run.first_ns < SUSTAINED_NS)
        bench_die("the sustained run lasted less than 10 s");
    double rate = (double)run.completions / ((double)(run.last_ns - run.first_ns) / 1e9);
    bench_metric(bench, "requests_per_s_64", rate, "1/s", "higher", run.completions);
    metric(bench, "requests_per_s_64_slowest_s", &seconds, 0, "1/s", "higher");
}

void bench_port(struct bench *bench)
{
    choose_cpus();
    measure_latency(bench);
    measure_rates(bench);
    measure_storm(bench);
    measure_sustained(bench);
}
