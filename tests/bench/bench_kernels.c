// SPDX-License-Identifier: Apache-2.0
// How fast the dot products of each tensor type are, next to what the memory gives: bench-kernels
// [--json] [TYPE...]

#include "activation.h"
#include "platform.h"
#include "types.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// Weights: far more than caches hold, as matrices of ROWS x COLUMNS that take their turns.
#define WEIGHTS      ((size_t)192 << 20) // bytes
#define ROWS         2048
#define COLUMNS      8192
#define VECTORS      24  // of a batch: what fits no register is read again and again
#define BATCH_ROWS   512 // of the batches' matrix
#define THREADS_MAX  2
#define ROUNDS       9
#define METRICS_MAX  80
#define CACHE_LINE   64
#define STREAMS      8
#define STREAM_BYTES 8192
#define ISA_AVX2_ALL (LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C)

// What the threads do together; the weights are shared, all else is each one's own.
struct job {
    const struct llm_type *type; // NULL: only read
    size_t vectors;
    size_t bytes; // of the weights
    unsigned threads;
};

struct worker {
    unsigned index;
    uint8_t *vectors; // [VECTORS][COLUMNS] in every form
    float *output;    // [VECTORS][ROWS]
};

static const uint8_t *weights;
static struct job job;
static pthread_barrier_t ready_line; // the job is set
static pthread_barrier_t start_line;
static pthread_barrier_t finish_line;
static struct worker workers[THREADS_MAX];
static volatile uint64_t sink;

static double seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

_Noreturn static void die(const char *what)
{
    (void)fprintf(stderr, "bench-kernels: %s\n", what);
    exit(70);
}

// The floor: nothing but loads, and an addition for each; several streams, as that is what memory
// gives most with.
__attribute__((target("avx2"))) static void read_weights(size_t begin, size_t end)
{
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t base = begin; base + STREAMS * STREAM_BYTES <= end;
         base += STREAMS * STREAM_BYTES) {
        for (size_t at = base; at < base + STREAM_BYTES; at += CACHE_LINE) {
#pragma GCC unroll 8
            for (size_t stream = 0; stream < STREAMS; stream++) {
                const uint8_t *line = weights + at + stream * STREAM_BYTES;
                __m256i first = _mm256_loadu_si256((const void *)line);
                __m256i second = _mm256_loadu_si256((const void *)(line + 32));
                sums[0] = _mm256_add_epi64(sums[0], first);
                sums[1] = _mm256_add_epi64(sums[1], second);
            }
        }
    }
    sink = sink + (uint64_t)_mm256_extract_epi64(_mm256_add_epi64(sums[0], sums[1]), 0);
}

// A worker's rows of every matrix, one after the other, as the layers of a model follow each other.
static void multiply_weights(const struct worker *worker)
{
    const struct llm_kernel *kernel = llm_type_kernel(job.type, ISA_AVX2_ALL);
    size_t row_bytes = COLUMNS / job.type->block_elements * job.type->block_bytes;
    size_t rows = job.bytes / row_bytes < ROWS ? job.bytes / row_bytes : ROWS;
    size_t begin = rows * worker->index / job.threads;
    size_t end = rows * (worker->index + 1) / job.threads;
    for (size_t at = 0; at + rows * row_bytes <= job.bytes; at += rows * row_bytes) {
        struct llm_product product = {
            .rows = weights + at + begin * row_bytes,
            .row_stride = row_bytes,
            .row_count = end - begin,
            .vectors = worker->vectors,
            .vector_stride = llm_activation_bytes(kernel->form, COLUMNS),
            .vector_count = job.vectors,
            .output = worker->output,
            .output_stride = ROWS,
            .columns = COLUMNS,
        };
        kernel->multiply(&product);
    }
}

// Each thread makes vectors in the form of the type, outside the time that is measured.
static void fill_vectors(const struct worker *worker)
{
    static const float wave[] = {0.25f, -0.5f, 0.125f, 1.0f, -0.75f, 0.0625f, 0.5f};
    enum llm_form form = llm_type_kernel(job.type, ISA_AVX2_ALL)->form;
    float *vector = malloc(COLUMNS * sizeof(float));
    if (vector == NULL)
        die("no memory");
    for (size_t index = 0; index < COLUMNS; index++)
        vector[index] = wave[index % (sizeof(wave) / sizeof(wave[0]))];
    for (size_t index = 0; index < job.vectors; index++) {
        uint8_t *to = worker->vectors + index * llm_activation_bytes(form, COLUMNS);
        if (form == LLM_FORM_FLOATS)
            memcpy(to, vector, COLUMNS * sizeof(float));
        else
            llm_activation_convert(form, vector, COLUMNS, to);
    }
    free(vector);
}

// Does a worker's part of the job; returns the seconds from the common start to the last one's end.
static double take_part(const struct worker *worker)
{
    (void)pthread_barrier_wait(&ready_line);
    bool in = worker->index < job.threads;
    if (in && job.type != NULL)
        fill_vectors(worker);
    (void)pthread_barrier_wait(&start_line);
    double start = seconds_now();
    if (in && job.type != NULL)
        multiply_weights(worker);
    else if (in)
        read_weights(job.bytes / job.threads * worker->index / CACHE_LINE * CACHE_LINE,
                     job.bytes / job.threads * (worker->index + 1) / CACHE_LINE * CACHE_LINE);
    (void)pthread_barrier_wait(&finish_line);
    return seconds_now() - start;
}

static void *worker_main(void *argument)
{
    for (;;)
        (void)take_part(argument);
    return NULL;
}

static void pin(pthread_t thread, unsigned index)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && index-- == 0)
            CPU_SET(cpu, &one);
    }
    if (CPU_COUNT(&one) == 1)
        (void)pthread_setaffinity_np(thread, sizeof(one), &one);
}

// Runs a job and returns the seconds it took; worker 0 is the caller.
static double run(const struct llm_type *type, size_t vectors, unsigned threads, size_t bytes)
{
    job = (struct job){type, vectors, bytes, threads};
    return take_part(&workers[0]);
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), compare);
    return values[ROUNDS / 2];
}

static struct {
    char name[48];
    double value;
    const char *unit;
} metrics[METRICS_MAX];
static size_t metric_count;

static void metric(const char *type, const char *what, unsigned number, double value,
                   const char *unit)
{
    if (metric_count == METRICS_MAX)
        die("too many metrics");
    char *name = metrics[metric_count].name;
    (void)snprintf(name, sizeof(metrics[0].name), "%s_%s_%u", type, what, number);
    for (; *name != '\0'; name++)
        *name = *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : *name;
    metrics[metric_count].value = value;
    metrics[metric_count++].unit = unit;
}

// Reading and multiplying take turns, so that what disturbs one disturbs the other too; the share
// is the median of the ratios of neighbours.
static void measure_stream(const struct llm_type *type, unsigned threads)
{
    size_t row_bytes = COLUMNS / type->block_elements * type->block_bytes;
    size_t bytes = WEIGHTS / (ROWS * row_bytes) * (ROWS * row_bytes);
    double rates[ROUNDS], shares[ROUNDS];
    (void)run(type, 1, threads, bytes);
    for (size_t round = 0; round < ROUNDS; round++) {
        double reading = run(NULL, 0, threads, bytes);
        double multiplying = run(type, 1, threads, bytes);
        rates[round] = (double)bytes / multiplying * 1e-9;
        shares[round] = reading / multiplying;
    }
    metric(type->name, "bytes_per_s", threads, median(rates), "GB/s");
    metric(type->name, "share_of_read", threads, median(shares), "ratio");
}

static void measure_batch(const struct llm_type *type)
{
    size_t bytes = BATCH_ROWS * (COLUMNS / type->block_elements * type->block_bytes);
    double rates[ROUNDS];
    for (size_t round = 0; round < ROUNDS; round++)
        rates[round] = (double)BATCH_ROWS * COLUMNS * VECTORS / run(type, VECTORS, 1, bytes) * 1e-9;
    metric(type->name, "multiply_adds_per_s", VECTORS, median(rates), "10^9/s");
}

static void start_workers(unsigned threads)
{
    size_t room = VECTORS * llm_activation_bytes(LLM_FORM_FLOATS, COLUMNS);
    if (pthread_barrier_init(&ready_line, NULL, threads) ||
        pthread_barrier_init(&start_line, NULL, threads) ||
        pthread_barrier_init(&finish_line, NULL, threads))
        die("no barrier");
    for (unsigned index = 0; index < threads; index++) {
        workers[index].index = index;
        workers[index].vectors = aligned_alloc(LLM_ACTIVATION_ALIGNMENT, room);
        workers[index].output = malloc(VECTORS * ROWS * sizeof(float));
        pthread_t thread = pthread_self();
        if (!workers[index].vectors || !workers[index].output ||
            (index > 0 && pthread_create(&thread, NULL, worker_main, &workers[index])))
            die("no memory or no thread");
        pin(thread, index);
    }
}

static void make_weights(void)
{
    uint8_t *memory =
        mmap(NULL, WEIGHTS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("no memory for the weights");
    (void)madvise(memory, WEIGHTS, MADV_HUGEPAGE);
    // Every scale that such bytes make is a normal number.
    uint32_t state = 1;
    for (size_t at = 0; at < WEIGHTS; at++) {
        state = state * 1664525u + 1013904223u;
        memory[at] = (uint8_t)(0x20 | (state >> 27));
    }
    weights = memory;
}

static void print_results(bool json, unsigned threads)
{
    if (!json) {
        for (size_t index = 0; index < metric_count; index++)
            (void)printf("%-32s %8.2f %s\n", metrics[index].name, metrics[index].value,
                         metrics[index].unit);
        return;
    }
    (void)printf("{\"bench\": \"kernels\", \"host\": {\"threads\": %u}, \"metrics\": [", threads);
    for (size_t index = 0; index < metric_count; index++)
        (void)printf("%s{\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"better\": "
                     "\"higher\", \"samples\": %d}",
                     index ? ", " : "", metrics[index].name, metrics[index].value,
                     metrics[index].unit, ROUNDS);
    (void)puts("]}");
}

int main(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    int first = json ? 2 : 1;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = online < THREADS_MAX ? 1 : THREADS_MAX;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        die("needs a processor with AVX2 and FMA");
    make_weights();
    start_workers(threads);
    for (unsigned count = 1; count <= threads; count++) {
        double rates[ROUNDS];
        for (size_t round = 0; round < ROUNDS; round++)
            rates[round] = (double)WEIGHTS / run(NULL, 0, count, WEIGHTS) * 1e-9;
        metric("read", "bytes_per_s", count, median(rates), "GB/s");
    }
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        bool wanted = argc == first;
        for (int argument = first; argument < argc; argument++)
            wanted = wanted || strcmp(argv[argument], type->name) == 0;
        for (unsigned count = 1; wanted && count <= threads; count++)
            measure_stream(type, count);
        if (wanted)
            measure_batch(type);
    }
    print_results(json, threads);
    return 0;
}
