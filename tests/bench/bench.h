// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share: samples, statistics, child processes, output.
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct samples {
    double *values;
    size_t count;
    size_t capacity;
};

void samples_add(struct samples *samples, double value);

// The value below which `fraction` of the samples lie; 0 without samples. Sorts in place.
double samples_quantile(struct samples *samples, double fraction);

void samples_free(struct samples *samples);

// One benchmark's results. Names never change once published.
struct bench {
    const char *name;
    bool json;
    char programs[3072]; // folder of guillotine
    char helpers[3072];  // folder of llm-host
    char data[3072];     // folder of images and the demo model
    char work[64];       // temporary folder, removed at the end
    const char *model;   // file to measure with, or NULL: the demo model
    char memory[32];     // of a cell for it
    char extra[2048];    // more members of the JSON object, each with a comma in front
    size_t metric_count;
    struct {
        const char *name;
        double value;
        const char *unit;
        const char *better;
        size_t samples;
    } metrics[48];
};

void bench_metric(struct bench *bench, const char *name, double value, const char *unit,
                  const char *better, size_t samples);

// Progress for people, on standard error.
void bench_progress(const struct bench *bench, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Ends the program with a message: a benchmark that cannot measure must not print a figure.
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Starts a program (argv[0] is its path) with standard input from /dev/null and, if `output` is
// given, standard output into a pipe whose read end it returns there. *exec_ns gets the monotonic
// time just before execve. Standard error stays.
pid_t bench_spawn(char *const *argv, int *output, uint64_t *exec_ns);

// Waits for a child; dies unless it exits with `status`.
void bench_wait(pid_t pid, int status);

uint64_t bench_now_ns(void);

// A whole file as a terminated string, to be freed; dies if it cannot be read.
char *bench_read_file(const char *path, size_t *length);

// The number after "KEY": in a JSON text of our own.
double bench_json_number(const char *json, const char *key);

// Gives each record of an audit log of one file to `take`, up to its seal; dies at a gap. The log
// may be larger than the memory.
struct audit_record;
void bench_read_log(const char *path, void (*take)(void *context, const struct audit_record *),
                    void *context);

void bench_launch(struct bench *bench);
void bench_inference(struct bench *bench);
void bench_model(struct bench *bench); // the same of bench->model
void bench_port(struct bench *bench);
void bench_isolate(struct bench *bench);
void bench_audit(struct bench *bench);
void bench_policy(struct bench *bench);
void bench_jitter(struct bench *bench);

#endif
