// SPDX-License-Identifier: Apache-2.0
// bench inference: the same objects and model as a host process and in a cell, alternating.
//
// Both write their text into a pipe as they generate it; the time runs from the first byte to the
// end, so that start and prompt do not count. Neither has a clock of its own that the other lacks.
#include "bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAIRS  30
#define TOKENS 400

enum variant {
    VARIANT_HOST,
    VARIANT_CELL,
    VARIANT_HOST_ALL,
};

static double tokens_per_s(const struct bench *bench, enum variant variant)
{
    char host[4096], cli[4096], image[4096], weights[4096], runtime[128], state[128], all[32];
    char workers[16], tokens[16], buffer[4096];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(host, sizeof(host), "%s/llm-host", bench->helpers);
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    snprintf(image, sizeof(image), "%s/llm.elf", bench->data);
    snprintf(weights, sizeof(weights), "%s/demo.gguf", bench->data);
    snprintf(runtime, sizeof(runtime), "%s/run", bench->work);
    snprintf(state, sizeof(state), "%s/state", bench->work);
    snprintf(workers, sizeof(workers), "%ld", cpus > 4 ? 4 : cpus);
    snprintf(all, sizeof(all), "%s", cpus > 2 ? "0,1,2,3" : cpus > 1 ? "0,1" : "0");
    snprintf(tokens, sizeof(tokens), "%d", TOKENS);
#define GENERATE                                                                                   \
    (char *)"--tokens", tokens, (char *)"--ignore-eos", (char *)"--no-echo",                       \
        (char *)"--temperature", (char *)"0", (char *)"--prompt", (char *)"The", NULL
    char *host_argv[] = {host, (char *)"--cpus", (char *)"0", weights, GENERATE};
    char *all_argv[] = {host,    (char *)"--workers", workers, (char *)"--cpus", all, weights,
                        GENERATE};
    char *cell_argv[] = {cli,
                         (char *)"run",
                         (char *)"--image",
                         image,
                         (char *)"--weights",
                         weights,
                         (char *)"--port",
                         (char *)"console",
                         (char *)"--model-cores",
                         (char *)"0",
                         (char *)"--runtime-dir",
                         runtime,
                         (char *)"--state-dir",
                         state,
                         (char *)"--",
                         GENERATE};
#undef GENERATE
    char *const *argv = variant == VARIANT_HOST   ? host_argv
                        : variant == VARIANT_CELL ? cell_argv
                                                  : all_argv;
    int output;
    uint64_t first = 0;
    pid_t pid = bench_spawn(argv, &output, NULL);
    while (read(output, buffer, sizeof(buffer)) > 0) {
        if (!first)
            first = bench_now_ns();
    }
    uint64_t last = bench_now_ns();
    close(output);
    bench_wait(pid, 0);
    if (!first || last == first)
        bench_die("no output from %s", argv[0]);
    return (TOKENS - 1) / ((double)(last - first) / 1e9);
}

void bench_inference(struct bench *bench)
{
    struct samples host = {0}, cell = {0}, all = {0}, ratio = {0};
    cpu_set_t set;
    // This process reads the pipes: keep it off the core that computes.
    CPU_ZERO(&set);
    CPU_SET(1, &set);
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        sched_setaffinity(0, sizeof(set), &set);
    tokens_per_s(bench, VARIANT_HOST);
    tokens_per_s(bench, VARIANT_CELL);
    for (int i = 0; i < PAIRS; i++) {
        bench_progress(bench, "pair %d of %d", i + 1, PAIRS);
        bool swap = i & 1; // who goes first alternates, so that drift favours neither
        double a = tokens_per_s(bench, swap ? VARIANT_CELL : VARIANT_HOST);
        double b = tokens_per_s(bench, swap ? VARIANT_HOST : VARIANT_CELL);
        samples_add(&host, swap ? b : a);
        samples_add(&cell, swap ? a : b);
        samples_add(&ratio, (swap ? a : b) / (swap ? b : a));
        samples_add(&all, tokens_per_s(bench, VARIANT_HOST_ALL));
    }
    double cell_rate = samples_quantile(&cell, 0.5);
    bench_metric(bench, "host_tokens_per_s", samples_quantile(&host, 0.5), "1/s", "higher", PAIRS);
    bench_metric(bench, "cell_tokens_per_s", cell_rate, "1/s", "higher", PAIRS);
    bench_metric(bench, "cell_to_host_ratio", samples_quantile(&ratio, 0.5), "ratio", "higher",
                 PAIRS);
    bench_metric(bench, "host_tokens_per_s_all_cores", samples_quantile(&all, 0.5), "1/s", "higher",
                 PAIRS);
    // One model core and one hypervisor core are reserved for the cell.
    bench_metric(bench, "tokens_per_s_per_reserved_core", cell_rate / 2, "1/s", "higher", PAIRS);
    samples_free(&host);
    samples_free(&cell);
    samples_free(&all);
    samples_free(&ratio);
}
