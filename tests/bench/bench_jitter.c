// SPDX-License-Identifier: Apache-2.0
// bench jitter: for how long a spinning model is kept from its core, with and without placement.
//
// A cell reads the TSC in a loop and keeps the largest gap of each millisecond. Beside it, two
// processes for each CPU want to run all the time. With placement the cell is started as by
// default: pinned, and as root everything else is moved off its core. Without, its threads may run
// on any CPU, and so may everything else. Slices of both alternate. The quantile is over the
// milliseconds: that of single readings would be the time of a reading.
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLICES      10
#define WINDOWS     3000 // of a millisecond, in a slice
#define SKIPPED     1000 // at the start of each: placement takes effect
#define BURNERS     2    // for each CPU
#define BURNERS_MAX 512
#define LONG_GAP_US 10.0

static pid_t burners[BURNERS_MAX];
static unsigned burner_count;

static uint64_t read_tsc(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

// Ticks of the TSC in a millisecond.
static double calibrate(void)
{
    const struct timespec pause = {0, 200000000};
    uint64_t ns = bench_now_ns();
    uint64_t ticks = read_tsc();
    nanosleep(&pause, NULL);
    ticks = read_tsc() - ticks;
    ns = bench_now_ns() - ns;
    return (double)ticks * 1e6 / (double)ns;
}

static void start_burners(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pid_t parent = getpid();
    while (burner_count < BURNERS_MAX && burner_count < (unsigned)cpus * BURNERS) {
        pid_t pid = fork();
        if (pid < 0)
            bench_die("fork: %s", strerror(errno));
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(0);
            for (volatile uint64_t i = 0;; i++)
                continue;
        }
        burners[burner_count++] = pid;
    }
}

static void end_burners(void)
{
    while (burner_count) {
        kill(burners[--burner_count], SIGKILL);
        waitpid(burners[burner_count], NULL, 0);
    }
}

static pid_t vmm_of(pid_t supervisor)
{
    char path[96];
    char name[32] = "";
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", supervisor, supervisor);
    FILE *file = fopen(path, "re");
    int child = -1;
    while (file && fscanf(file, "%d", &child) == 1) {
        snprintf(path, sizeof(path), "/proc/%d/comm", child);
        FILE *comm = fopen(path, "re");
        if (comm && fscanf(comm, "%31s", name) != 1)
            name[0] = '\0';
        if (comm)
            fclose(comm);
        if (!strcmp(name, "guillotine-vmm"))
            break;
        child = -1;
    }
    if (file)
        fclose(file);
    return child;
}

// Takes the pinning away again: all threads of the VMM may run on all CPUs.
static void unpin(pid_t supervisor)
{
    char path[64];
    cpu_set_t all;
    memset(&all, 0xff, sizeof(all));
    snprintf(path, sizeof(path), "/proc/%d/task", vmm_of(supervisor));
    DIR *folder = opendir(path);
    if (!folder)
        bench_die("%s: %s", path, strerror(errno));
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        if (thread > 0 && sched_setaffinity(thread, sizeof(all), &all) < 0)
            bench_die("move a thread of the VMM: %s; measure as root", strerror(errno));
    }
    closedir(folder);
}

// One slice: the largest gap of each millisecond, in microseconds, is added to `gaps`.
static void run_slice(const struct bench *bench, double ticks_per_ms, bool placed,
                      struct samples *gaps)
{
    char cli[4096], image[4096], runtime[128], state[128], ticks[32], skipped[16], windows[16];
    const struct timespec settled = {0, 300000000};
    uint32_t largest[WINDOWS];
    int output;
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(image, sizeof(image), "%s/bench-spin.elf", bench->data);
    snprintf(runtime, sizeof(runtime), "%s/run", bench->work);
    snprintf(state, sizeof(state), "%s/state", bench->work);
    snprintf(ticks, sizeof(ticks), "%.0f", ticks_per_ms);
    snprintf(skipped, sizeof(skipped), "%d", SKIPPED);
    snprintf(windows, sizeof(windows), "%d", WINDOWS);
    // A clock is granted: where the host can, it would deny the TSC otherwise.
    const char *const arguments[] = {cli,
                                     "run",
                                     "--image",
                                     image,
                                     "--port",
                                     "console",
                                     "--port",
                                     "clock",
                                     "--state-dir",
                                     state,
                                     "--runtime-dir",
                                     runtime,
                                     "--placement",
                                     placed ? "isolated" : "shared",
                                     "--",
                                     ticks,
                                     skipped,
                                     windows,
                                     NULL};
    pid_t pid = bench_spawn((char *const *)(uintptr_t)arguments, &output, NULL);
    if (!placed) {
        nanosleep(&settled, NULL);
        unpin(pid);
    }
    size_t length = 0;
    while (length < sizeof(largest)) {
        ssize_t n = read(output, (char *)largest + length, sizeof(largest) - length);
        if (n <= 0)
            bench_die("the spinning cell ended early");
        length += (size_t)n;
    }
    close(output);
    bench_wait(pid, 0);
    for (unsigned i = 0; i < WINDOWS; i++)
        samples_add(gaps, (double)largest[i] * 1000 / ticks_per_ms);
}

static double share_above(const struct samples *gaps, double limit)
{
    size_t count = 0;
    for (size_t i = 0; i < gaps->count; i++)
        count += gaps->values[i] > limit;
    // Windows are milliseconds.
    return gaps->count ? (double)count * 1000 / (double)gaps->count : 0;
}

// "1": gaps of up to 1 us, "2": up to 2 us, and so on by powers of two.
static void add_histogram(struct bench *bench, const char *name, const struct samples *gaps)
{
    size_t counts[24] = {0};
    for (size_t i = 0; i < gaps->count; i++) {
        unsigned bucket = 0;
        while (bucket < 23 && gaps->values[i] > (double)(1u << bucket))
            bucket++;
        counts[bucket]++;
    }
    size_t used = strlen(bench->extra);
    used += (size_t)snprintf(bench->extra + used, sizeof(bench->extra) - used,
                             ", \"%s\": {\"unit\": \"ms with a largest gap of up to that many us\"",
                             name);
    for (unsigned i = 0; i < 24 && used < sizeof(bench->extra) - 64; i++) {
        if (counts[i])
            used += (size_t)snprintf(bench->extra + used, sizeof(bench->extra) - used,
                                     ", \"%u\": %zu", 1u << i, counts[i]);
    }
    snprintf(bench->extra + used, sizeof(bench->extra) - used, "}");
}

void bench_jitter(struct bench *bench)
{
    struct samples without = {0};
    struct samples with = {0};
    double ticks_per_ms = calibrate();
    start_burners();
    for (int i = 0; i < SLICES; i++) {
        bench_progress(bench, "slice %d of %d", i + 1, SLICES);
        run_slice(bench, ticks_per_ms, true, &with);
        run_slice(bench, ticks_per_ms, false, &without);
    }
    end_burners();
    bench_metric(bench, "max_gap_us", samples_quantile(&without, 1), "us", "lower", without.count);
    bench_metric(bench, "p999_gap_us", samples_quantile(&without, 0.999), "us", "lower",
                 without.count);
    bench_metric(bench, "with_placement_max_gap_us", samples_quantile(&with, 1), "us", "lower",
                 with.count);
    bench_metric(bench, "with_placement_p999_gap_us", samples_quantile(&with, 0.999), "us", "lower",
                 with.count);
    bench_metric(bench, "gaps_over_10us_per_s", share_above(&without, LONG_GAP_US), "ms/s", "lower",
                 without.count);
    bench_metric(bench, "with_placement_gaps_over_10us_per_s", share_above(&with, LONG_GAP_US),
                 "ms/s", "lower", with.count);
    add_histogram(bench, "histogram", &without);
    add_histogram(bench, "with_placement_histogram", &with);
    samples_free(&without);
    samples_free(&with);
}
