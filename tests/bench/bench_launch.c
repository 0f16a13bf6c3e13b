// SPDX-License-Identifier: Apache-2.0
// bench launch: exec of the CLI to the model's first instruction, with `run`'s defaults.
//
// The image's first instruction stores to the exit page; the VMM stamps the exit that this store
// causes. The figure is therefore an upper bound: it contains one exit from the guest.
#include "bench.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LAUNCHES 200
#define WARM_UP  5

static double launch(const struct bench *bench)
{
    char cli[4096], image[4096], weights[4096], result[128], runtime[128], state[128];
    uint64_t exec_ns;
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(image, sizeof(image), "%s/bench-first.elf", bench->data);
    snprintf(weights, sizeof(weights), "%s/demo.gguf", bench->data);
    snprintf(result, sizeof(result), "%s/result.json", bench->work);
    snprintf(runtime, sizeof(runtime), "%s/run", bench->work);
    snprintf(state, sizeof(state), "%s/state", bench->work);
    char *argv[] = {cli,
                    (char *)"run",
                    (char *)"--image",
                    image,
                    (char *)"--weights",
                    weights,
                    (char *)"--port",
                    (char *)"console",
                    (char *)"--result",
                    result,
                    (char *)"--runtime-dir",
                    runtime,
                    (char *)"--state-dir",
                    state,
                    NULL};
    pid_t pid = bench_spawn(argv, NULL, &exec_ns);
    bench_wait(pid, 0);
    char *json = bench_read_file(result, NULL);
    double first_exit_ns = bench_json_number(json, "first_exit_ns");
    free(json);
    return (first_exit_ns - (double)exec_ns) / 1e6;
}

// Private memory of the VMM that is neither guest memory nor weights, in KiB.
static double private_kib(pid_t vmm)
{
    char path[64];
    char line[512];
    double sum = 0;
    bool counts = false;
    snprintf(path, sizeof(path), "/proc/%d/smaps", vmm);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file)) {
        unsigned long first, last, kib;
        char name[256] = "";
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255[^\n]", &first, &last, name) >= 2 &&
            strchr(line, '-'))
            counts = !strstr(name, "guillotine-memory") && !strstr(name, ".gguf");
        else if (counts && (sscanf(line, "Private_Clean: %lu", &kib) == 1 ||
                            sscanf(line, "Private_Dirty: %lu", &kib) == 1))
            sum += (double)kib;
    }
    fclose(file);
    return sum;
}

static pid_t child_of(pid_t parent)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
    FILE *file = fopen(path, "re");
    int child = -1;
    if (file) {
        if (fscanf(file, "%d", &child) != 1)
            child = -1;
        fclose(file);
    }
    return child;
}

static void measure_memory(struct bench *bench)
{
    char cli[4096], image[4096], weights[4096], runtime[128], state[128];
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(image, sizeof(image), "%s/llm.elf", bench->data);
    snprintf(weights, sizeof(weights), "%s/demo.gguf", bench->data);
    snprintf(runtime, sizeof(runtime), "%s/run", bench->work);
    snprintf(state, sizeof(state), "%s/state", bench->work);
    char *argv[] = {cli,
                    (char *)"run",
                    (char *)"--image",
                    image,
                    (char *)"--weights",
                    weights,
                    (char *)"--port",
                    (char *)"console",
                    (char *)"--runtime-dir",
                    runtime,
                    (char *)"--state-dir",
                    state,
                    (char *)"--",
                    (char *)"--tokens",
                    (char *)"400",
                    (char *)"--ignore-eos",
                    NULL};
    int output;
    char byte;
    pid_t pid = bench_spawn(argv, &output, NULL);
    // It has produced text: everything that a running VMM touches is touched.
    for (int i = 0; i < 200 && read(output, &byte, 1) == 1; i++)
        continue;
    double kib = private_kib(child_of(pid));
    kill(pid, SIGTERM);
    close(output);
    int status;
    waitpid(pid, &status, 0);
    if (kib < 0)
        bench_progress(bench, "no vmm_private_mib: /proc/PID/smaps needs root\n");
    else
        bench_metric(bench, "vmm_private_mib", kib / 1024, "MiB", "lower", 1);
}

void bench_launch(struct bench *bench)
{
    struct samples samples = {0};
    for (int i = 0; i < WARM_UP; i++)
        launch(bench);
    for (int i = 0; i < LAUNCHES; i++) {
        bench_progress(bench, "launch %d of %d", i + 1, LAUNCHES);
        samples_add(&samples, launch(bench));
    }
    bench_metric(bench, "launch_p50_ms", samples_quantile(&samples, 0.5), "ms", "lower",
                 samples.count);
    bench_metric(bench, "launch_p99_ms", samples_quantile(&samples, 0.99), "ms", "lower",
                 samples.count);
    samples_free(&samples);
    measure_memory(bench);
}
