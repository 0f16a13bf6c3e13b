// SPDX-License-Identifier: Apache-2.0
// bench inference --model FILE: any model, on all CPUs, as a host process and in a cell.
//
// Both write their text into a pipe as they generate it; the time runs from the first byte to the
// end, so that start and prompt do not count. What the memory gives is measured in between.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"
#include "memory_bandwidth.h"

#define PAIRS          30
#define SECONDS        1.5 // of generation in each run
#define TOKENS_MAX     400u
#define PROMPT_WORDS   200u
#define BANDWIDTH_RUNS 5u // between the pairs, a few rounds each
#define FIRST_TOKENS   7u
#define WAIT_US        500

enum variant {
    VARIANT_HOST,
    VARIANT_CELL,
};

struct run {
    const struct bench *bench;
    unsigned cpus;
    char tokens[16];
    char workers[16];
    char list[32];
    char host[4096];
    char cli[4096];
    char image[4096];
    char runtime[128];
    char state[128];
    char prompt[PROMPT_WORDS * 4 + 8];
};

static void prepare(struct run *run, const struct bench *bench)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    *run = (struct run){.bench = bench, .cpus = online > 16 ? 16 : (unsigned)online};
    snprintf(run->workers, sizeof(run->workers), "%u", run->cpus);
    snprintf(run->host, sizeof(run->host), "%s/llm-host", bench->helpers);
    snprintf(run->cli, sizeof(run->cli), "%s/guillotine", bench->programs);
    snprintf(run->image, sizeof(run->image), "%s/llm.elf", bench->data);
    snprintf(run->runtime, sizeof(run->runtime), "%s/run", bench->work);
    snprintf(run->state, sizeof(run->state), "%s/state", bench->work);
}

// Tokens per second of one run of `tokens` tokens behind `prompt`, or with *prompt_s the seconds
// from the start to the first byte.
static double generate(struct run *run, enum variant variant, unsigned tokens, const char *prompt,
                       double *prompt_s)
{
    char list[128] = "0", vcpus[16], buffer[4096];
    const char *model = run->bench->model;
    size_t used = 1;
    for (unsigned cpu = 1; cpu < run->cpus; cpu++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, ",%u", cpu);
    snprintf(run->tokens, sizeof(run->tokens), "%u", tokens);
    snprintf(vcpus, sizeof(vcpus), "%u", run->cpus);
#define GENERATE                                                                                   \
    "--tokens", run->tokens, "--ignore-eos", "--no-echo", "--temperature", "0", "--prompt",        \
        prompt, NULL
    const char *const host[] = {run->host, "--workers", run->workers, "--cpus",
                                list,      model,       GENERATE};
    const char *const cell[] = {
        run->cli,        "run",        "--image",     run->image, "--weights", model,
        "--port",        "console",    "--vcpus",     vcpus,      "--memory",  run->bench->memory,
        "--runtime-dir", run->runtime, "--state-dir", run->state, "--",        GENERATE};
#undef GENERATE
    uint64_t first_ns = 0;
    uint64_t start_ns = bench_now_ns();
    int output;
    pid_t pid = bench_spawn((char *const *)(uintptr_t)(variant == VARIANT_HOST ? host : cell),
                            &output, NULL);
    while (read(output, buffer, sizeof(buffer)) > 0) {
        if (!first_ns)
            first_ns = bench_now_ns();
    }
    uint64_t last_ns = bench_now_ns();
    close(output);
    bench_wait(pid, 0);
    if (!first_ns || (tokens > 1 && last_ns == first_ns))
        bench_die("no output from %s", variant == VARIANT_HOST ? run->host : run->cli);
    if (prompt_s)
        *prompt_s = (double)(first_ns - start_ns) / 1e9;
    return (tokens - 1) / ((double)(last_ns - first_ns) / 1e9);
}

// The milliseconds from the start of `guillotine serve` to the first text that a client gets.
static double first_token_ms(struct run *run)
{
    static const char request[] =
        "POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 48\r\n\r\n{\"prompt\":\"The\",\"max_tokens\":1,\"stream\":true }\n\n";
    const char *const argv[] = {run->cli,          "serve",      "--name",      "bench",
                                "--runtime-dir",   run->runtime, "--state-dir", run->state,
                                run->bench->model, NULL};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char buffer[4096] = "";
    size_t used = 0;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/bench.serve", run->runtime);
    uint64_t start_ns = bench_now_ns();
    pid_t pid = bench_spawn((char *const *)(uintptr_t)argv, NULL, NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (bench_now_ns() - start_ns > 60000000000ull)
            bench_die("guillotine serve does not serve");
        usleep(WAIT_US);
    }
    if (write(fd, request, sizeof(request) - 1) != (ssize_t)(sizeof(request) - 1))
        bench_die("guillotine serve takes no request");
    while (!strstr(buffer, "\"text\":")) {
        ssize_t length = read(fd, buffer + used, sizeof(buffer) - 1 - used);
        if (length <= 0)
            bench_die("guillotine serve does not answer: %s", buffer);
        used += (size_t)length;
        buffer[used] = '\0';
    }
    double ms = (double)(bench_now_ns() - start_ns) / 1e6;
    close(fd);
    kill(pid, SIGTERM);
    bench_wait(pid, 128 + SIGTERM);
    return ms;
}

// Bytes that are read for each token, and the memory of a cell, as `guillotine model` has them.
static double inspect(struct bench *bench, const struct run *run)
{
    const char *const argv[] = {run->cli,      "model",    "inspect",    "--json",
                                "--state-dir", run->state, bench->model, NULL};
    char text[16384];
    size_t used = 0;
    ssize_t length;
    int output;
    pid_t pid = bench_spawn((char *const *)(uintptr_t)argv, &output, NULL);
    while ((length = read(output, text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)length;
    text[used] = '\0';
    close(output);
    bench_wait(pid, 0);
    snprintf(bench->memory, sizeof(bench->memory), "%.0fMiB",
             bench_json_number(text, "memory_bytes") / (1 << 20) + 32);
    return bench_json_number(text, "bytes_per_token");
}

// What a prompt is in tokens of the model.
static double count_tokens(struct run *run, const char *prompt)
{
    const char *const argv[] = {run->host, run->bench->model, "--tokenize", "--prompt", prompt,
                                NULL};
    char text[4096];
    double count = 0;
    ssize_t length;
    int output;
    pid_t pid = bench_spawn((char *const *)(uintptr_t)argv, &output, NULL);
    while ((length = read(output, text, sizeof(text))) > 0) {
        for (ssize_t i = 0; i < length; i++)
            count += text[i] == ' ' || text[i] == '\n';
    }
    close(output);
    bench_wait(pid, 0);
    return count;
}

static void measure_prompt(struct bench *bench, struct run *run)
{
    struct samples rates = {0};
    for (unsigned i = 0; i < PROMPT_WORDS; i++)
        strcat(run->prompt, " the");
    double tokens = count_tokens(run, run->prompt) - count_tokens(run, "The");
    for (unsigned i = 0; i < FIRST_TOKENS; i++) {
        double with = 0;
        double without = 0;
        bench_progress(bench, "prompt %u of %u", i + 1, FIRST_TOKENS);
        generate(run, VARIANT_CELL, 1, "The", &without);
        generate(run, VARIANT_CELL, 1, run->prompt, &with);
        samples_add(&rates, with > without ? tokens / (with - without) : 0);
    }
    bench_metric(bench, "prompt_tokens_per_s", samples_quantile(&rates, 0.5), "1/s", "higher",
                 FIRST_TOKENS);
    samples_free(&rates);
}

static void measure_first_token(struct bench *bench, struct run *run)
{
    struct samples times = {0};
    first_token_ms(run); // digests, page cache
    for (unsigned i = 0; i < FIRST_TOKENS; i++) {
        bench_progress(bench, "first token %u of %u", i + 1, FIRST_TOKENS);
        samples_add(&times, first_token_ms(run));
    }
    bench_metric(bench, "first_token_ms", samples_quantile(&times, 0.5), "ms", "lower",
                 FIRST_TOKENS);
    samples_free(&times);
}

void bench_model(struct bench *bench)
{
    static struct run run;
    struct samples host = {0}, cell = {0}, ratio = {0}, memory = {0};
    prepare(&run, bench);
    double bytes = inspect(bench, &run);
    double rate = generate(&run, VARIANT_HOST, 12, "The", NULL);
    generate(&run, VARIANT_CELL, 4, "The", NULL);
    unsigned tokens = rate * SECONDS > TOKENS_MAX ? TOKENS_MAX : (unsigned)(rate * SECONDS) + 8;
    for (unsigned i = 0; i < PAIRS; i++) {
        bool swap = i & 1; // who goes first alternates, so that drift favours neither
        bench_progress(bench, "pair %u of %u", i + 1, PAIRS);
        if (i % (PAIRS / BANDWIDTH_RUNS) == 0)
            samples_add(&memory, memory_bandwidth(run.cpus, 5));
        double a = generate(&run, swap ? VARIANT_CELL : VARIANT_HOST, tokens, "The", NULL);
        double b = generate(&run, swap ? VARIANT_HOST : VARIANT_CELL, tokens, "The", NULL);
        samples_add(&host, swap ? b : a);
        samples_add(&cell, swap ? a : b);
        samples_add(&ratio, (swap ? a : b) / (swap ? b : a));
    }
    double cell_rate = samples_quantile(&cell, 0.5);
    double bandwidth = samples_quantile(&memory, 0.5);
    bench_metric(bench, "host_tokens_per_s_all_cores", samples_quantile(&host, 0.5), "1/s",
                 "higher", PAIRS);
    bench_metric(bench, "cell_tokens_per_s_all_cores", cell_rate, "1/s", "higher", PAIRS);
    bench_metric(bench, "cell_to_host_ratio", samples_quantile(&ratio, 0.5), "ratio", "higher",
                 PAIRS);
    bench_metric(bench, "weights_bytes_per_token", bytes, "bytes", "lower", 1);
    bench_metric(bench, "memory_read_bytes_per_s", bandwidth, "bytes/s", "higher", BANDWIDTH_RUNS);
    bench_metric(bench, "bandwidth_share", cell_rate * bytes / bandwidth, "ratio", "higher", PAIRS);
    samples_free(&host);
    samples_free(&cell);
    samples_free(&ratio);
    samples_free(&memory);
    measure_prompt(bench, &run);
    measure_first_token(bench, &run);
}
