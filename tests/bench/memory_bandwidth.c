// SPDX-License-Identifier: Apache-2.0
// How fast this machine's memory can be read.
#include "memory_bandwidth.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define BUFFER       ((size_t)512 << 20)
#define STREAMS      8u
#define STREAM_BYTES 16384u
#define CACHE_LINE   64u
#define THREADS_MAX  64u

struct reader {
    const uint8_t *begin;
    size_t bytes;
    unsigned cpu;
    pthread_barrier_t *line;
    unsigned rounds;
    volatile uint64_t sum; // so that nothing is left out
};

__attribute__((target("avx2"))) static uint64_t read_once(const uint8_t *begin, size_t bytes)
{
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t base = 0; base + STREAMS * STREAM_BYTES <= bytes; base += STREAMS * STREAM_BYTES) {
        for (size_t at = base; at < base + STREAM_BYTES; at += CACHE_LINE) {
#pragma GCC unroll 8
            for (size_t stream = 0; stream < STREAMS; stream++) {
                const uint8_t *line = begin + at + stream * STREAM_BYTES;
                sums[0] = _mm256_add_epi64(sums[0], _mm256_loadu_si256((const void *)line));
                sums[1] = _mm256_add_epi64(sums[1], _mm256_loadu_si256((const void *)(line + 32)));
            }
        }
    }
    __m256i sum = _mm256_add_epi64(sums[0], sums[1]);
    return (uint64_t)_mm256_extract_epi64(sum, 0) + (uint64_t)_mm256_extract_epi64(sum, 3);
}

static void *run(void *argument)
{
    struct reader *reader = argument;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(reader->cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    for (unsigned i = 0; i < reader->rounds; i++) {
        pthread_barrier_wait(reader->line);
        reader->sum = reader->sum + read_once(reader->begin, reader->bytes);
        pthread_barrier_wait(reader->line);
    }
    return NULL;
}

double memory_bandwidth(unsigned threads, unsigned rounds)
{
    static struct reader readers[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t line;
    double best = 0;
    threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    if (!__builtin_cpu_supports("avx2"))
        bench_die("this processor has no AVX2");
    uint8_t *buffer =
        mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        bench_die("no memory to read");
    madvise(buffer, BUFFER, MADV_HUGEPAGE);
    memset(buffer, 1, BUFFER); // no page is the zero page
    pthread_barrier_init(&line, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        readers[i] = (struct reader){
            .begin = buffer + BUFFER / threads * i,
            .bytes = BUFFER / threads,
            .cpu = i,
            .line = &line,
            .rounds = rounds,
        };
        if (pthread_create(&ids[i], NULL, run, &readers[i]))
            bench_die("no thread");
    }
    for (unsigned i = 0; i < rounds; i++) {
        pthread_barrier_wait(&line);
        uint64_t start_ns = bench_now_ns();
        pthread_barrier_wait(&line);
        double rate = (double)BUFFER / ((double)(bench_now_ns() - start_ns) / 1e9);
        best = rate > best ? rate : best;
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&line);
    munmap(buffer, BUFFER);
    return best;
}
