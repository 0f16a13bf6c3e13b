// SPDX-License-Identifier: Apache-2.0
// guillotine-bench: measures this machine and prints one table or one JSON object.
#include "bench.h"
#include "audit_record.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    void (*run)(struct bench *bench);
    const char *summary;
} benches[] = {
    {"launch", bench_launch, "exec of the CLI to the model's first instruction, 200 launches"},
    {"inference", bench_inference, "tokens per second, host process against cell"},
    {"isolate", bench_isolate, "decision to shut gate and stopped vCPUs, 2,000 rounds, 1 to 2 min"},
    {"port", bench_port, "latency, rates and fairness of ports; 60 to 90 s, 4 GiB in /tmp"},
    {"audit", bench_audit, "what the audit log costs; 90 MiB in /tmp"},
    {"policy", bench_policy, "what a decision costs by 10, 100 and 1,000 rules"},
    {"jitter", bench_jitter, "how long a model is kept from its core, under load; 80 s"},
};

#define BENCH_COUNT (sizeof(benches) / sizeof(benches[0]))

void samples_add(struct samples *samples, double value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? samples->capacity * 2 : 1024;
        samples->values = realloc(samples->values, samples->capacity * sizeof(double));
        if (!samples->values)
            bench_die("out of memory");
    }
    samples->values[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_quantile(struct samples *samples, double fraction)
{
    if (!samples->count)
        return 0;
    qsort(samples->values, samples->count, sizeof(double), compare);
    size_t index = (size_t)((double)(samples->count - 1) * fraction + 0.5);
    return samples->values[index];
}

void samples_free(struct samples *samples)
{
    free(samples->values);
    *samples = (struct samples){0};
}

void bench_metric(struct bench *bench, const char *name, double value, const char *unit,
                  const char *better, size_t samples)
{
    size_t index = bench->metric_count++;
    if (index == sizeof(bench->metrics) / sizeof(bench->metrics[0]))
        bench_die("too many metrics");
    bench->metrics[index].name = name;
    bench->metrics[index].value = value;
    bench->metrics[index].unit = unit;
    bench->metrics[index].better = better;
    bench->metrics[index].samples = samples;
}

void bench_progress(const struct bench *bench, const char *format, ...)
{
    va_list arguments;
    if (bench->json || !isatty(STDERR_FILENO))
        return;
    va_start(arguments, format);
    fprintf(stderr, "\r\033[K");
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

static char *work_folder;

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void remove_work(void)
{
    if (work_folder)
        nftw(work_folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

_Noreturn void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "guillotine bench: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    remove_work();
    exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

// The CPUs that this process was given; programs under test get all of them, whatever it pins.
static cpu_set_t usable_cpus;

pid_t bench_spawn(char *const *argv, int *output, uint64_t *exec_ns)
{
    static uint64_t *stamp;
    int pipe_fds[2] = {-1, -1};
    if (!stamp)
        stamp = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stamp == MAP_FAILED || (output && pipe2(pipe_fds, O_CLOEXEC) < 0))
        bench_die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        sched_setaffinity(0, sizeof(usable_cpus), &usable_cpus);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(output ? pipe_fds[1] : null, 1);
        *stamp = bench_now_ns();
        execv(argv[0], argv);
        _exit(127);
    }
    if (output) {
        close(pipe_fds[1]);
        *output = pipe_fds[0];
    }
    // The child stamps before it execs; a caller that needs the value reads it after the child's
    // first output or end.
    if (exec_ns) {
        int status;
        waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT);
        (void)status;
        *exec_ns = *stamp;
    }
    return pid;
}

void bench_wait(pid_t pid, int status)
{
    int result;
    if (waitpid(pid, &result, 0) < 0 || !WIFEXITED(result) || WEXITSTATUS(result) != status)
        bench_die("a program under test ended with wait status 0x%x", result);
}

char *bench_read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "re");
    size_t used = 0;
    size_t capacity = 1 << 16;
    char *text = malloc(capacity);
    if (!file || !text)
        bench_die("%s: %s", path, strerror(errno));
    for (size_t n; (n = fread(text + used, 1, capacity - 1 - used, file)) > 0;) {
        used += n;
        if (used == capacity - 1) {
            capacity *= 2;
            text = realloc(text, capacity);
            if (!text)
                bench_die("out of memory");
        }
    }
    fclose(file);
    text[used] = '\0';
    if (length)
        *length = used;
    return text;
}

double bench_json_number(const char *json, const char *key)
{
    char pattern[80];
    snprintf(pattern, sizeof(pattern), "\"%s\":", key);
    const char *at = strstr(json, pattern);
    if (!at)
        bench_die("no %s in a result", key);
    return strtod(at + strlen(pattern), NULL);
}

static void print_host(void)
{
    struct utsname name;
    char model[128] = "unknown";
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    uname(&name);
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "model name : %127[^\n\"\\]", model) == 1)
            break;
    }
    if (file)
        fclose(file);
    printf("{\"cpu\": \"%s\", \"cpus\": %ld, \"kernel\": \"%s\"}", model,
           sysconf(_SC_NPROCESSORS_ONLN), name.release);
}

static void print_results(const struct bench *bench)
{
    if (!bench->json) {
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[K");
        printf("%-44s %20s %-10s %s\n", "METRIC", "VALUE", "UNIT", "SAMPLES");
        for (size_t i = 0; i < bench->metric_count; i++)
            printf("%-44s %20.3f %-10s %zu\n", bench->metrics[i].name, bench->metrics[i].value,
                   bench->metrics[i].unit, bench->metrics[i].samples);
        return;
    }
    printf("{\"bench\": \"%s\", \"host\": ", bench->name);
    print_host();
    printf(", \"metrics\": [");
    for (size_t i = 0; i < bench->metric_count; i++)
        printf("%s{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"better\": \"%s\", "
               "\"samples\": %zu}",
               i ? ", " : "", bench->metrics[i].name, bench->metrics[i].value,
               bench->metrics[i].unit, bench->metrics[i].better, bench->metrics[i].samples);
    printf("]%s}\n", bench->extra);
}

static int help(void)
{
    printf("Usage: guillotine bench NAME [--json]\n\nMeasures this machine.\n\nBenchmarks:\n");
    for (size_t i = 0; i < BENCH_COUNT; i++)
        printf("  %-10s %s\n", benches[i].name, benches[i].summary);
    printf(
        "\nOptions:\n"
        "  --json         one object on standard output\n"
        "  --model FILE   of inference: this model, on all CPUs, with the share of the memory's\n"
        "                 bandwidth, the rate of prompts and the time to the first token\n"
        "\nExamples:\n  guillotine bench launch\n  guillotine bench port --json\n"
        "  guillotine bench inference --json --model model.gguf\n");
    return 0;
}

void bench_read_log(const char *path, void (*take)(void *context, const struct audit_record *),
                    void *context)
{
    struct audit_record record;
    uint64_t next = 0;
    FILE *file = fopen(path, "re");
    if (!file || fseek(file, AUDIT_FILE_HEADER_BYTES, SEEK_SET) < 0)
        bench_die("%s: %s", path, strerror(errno));
    while (fread(&record, sizeof(record), 1, file) == 1 && record.type != AUDIT_SEAL) {
        char data[AUDIT_DATA_MAX];
        if (record.sequence != next++ || !audit_size_is_valid(record.size) ||
            (record.size > sizeof(record) &&
             fread(data, record.size - sizeof(record), 1, file) != 1))
            bench_die("%s: the log has a gap", path);
        take(context, &record);
    }
    fclose(file);
}

// In the build folder everything lies side by side; installed, it is spread as usual.
static void find_programs(struct bench *bench)
{
    char path[2048];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length < 0)
        bench_die("/proc/self/exe: %s", strerror(errno));
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    const char *installed = strstr(path, "/libexec/guillotine");
    snprintf(bench->helpers, sizeof(bench->helpers), "%s", path);
    snprintf(bench->programs, sizeof(bench->programs), "%s%s", path, installed ? "/../../bin" : "");
    snprintf(bench->data, sizeof(bench->data), "%s%s", path,
             installed ? "/../../share/guillotine" : "");
    snprintf(bench->work, sizeof(bench->work), "/tmp/guillotine-bench-XXXXXX");
    work_folder = mkdtemp(bench->work);
    if (!work_folder)
        bench_die("mkdtemp: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    static struct bench bench;
    size_t chosen = BENCH_COUNT;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json"))
            bench.json = true;
        else if (!strcmp(argv[i], "--help"))
            return help();
        else if (!strcmp(argv[i], "--model") && i + 1 < argc)
            bench.model = argv[++i];
        else
            for (chosen = 0; chosen < BENCH_COUNT && strcmp(argv[i], benches[chosen].name);)
                chosen++;
    }
    if (chosen == BENCH_COUNT) {
        help();
        return 64;
    }
    sched_getaffinity(0, sizeof(usable_cpus), &usable_cpus);
    bench.name = benches[chosen].name;
    // These place their own threads beside the VM's, on machines with few cores. The others measure
    // what a launch does by default.
    if (benches[chosen].run != bench_jitter && benches[chosen].run != bench_launch)
        setenv("GUILLOTINE_PLACEMENT", "shared", 1);
    else
        unsetenv("GUILLOTINE_PLACEMENT");
    find_programs(&bench);
    if (bench.model && benches[chosen].run != bench_inference) {
        help();
        return 64;
    }
    if (bench.model)
        bench_model(&bench);
    else
        benches[chosen].run(&bench);
    print_results(&bench);
    remove_work();
    return 0;
}
