// SPDX-License-Identifier: Apache-2.0
// The inference program as a Linux process: llm-host [host options] MODEL.gguf [options].

#include "options.h"
#include "platform.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKERS_MAX 256
#define WEIGHTS_MAX 16   /* files of a split model */
#define SPINS_MAX   4096 /* about 40 microseconds; then the processor may be wanted elsewhere */

static const char usage[] =
    "usage: llm-host [--workers N] [--cpus LIST] [--isa baseline|native] [--more FILE]... "
    "MODEL.gguf [options]\n"
    "  --workers N        threads, this one included (1)\n"
    "  --cpus LIST        pin worker 0, 1, ... to these processors: 0,2,4\n"
    "  --isa baseline     use no instruction sets beyond x86-64's baseline\n"
    "  --more FILE        the next part of a split model (repeatable)\n";

/* Worker threads wait for `round` to change, run the function, and count themselves in `done`. */
struct pool {
    unsigned workers; /* the caller is number 0, the others have threads */
    int processors[WORKERS_MAX];
    unsigned processor_count; /* 0: not pinned */
    void (*function)(void *argument, unsigned worker);
    void *argument;
    _Alignas(64) atomic_uint round;
    _Alignas(64) atomic_uint done;
};

struct worker_start {
    struct pool *pool;
    unsigned worker;
};

/* Waits until *value differs from (equal false) or equals (equal true) `reference`. */
static void wait_for(atomic_uint *value, unsigned reference, bool equal)
{
    unsigned spins = 0;
    while ((atomic_load_explicit(value, memory_order_acquire) == reference) != equal) {
        if (++spins < SPINS_MAX) {
            __builtin_ia32_pause();
        } else {
            (void)sched_yield();
        }
    }
}

static void pin_worker(const struct pool *pool, unsigned worker)
{
    if (pool->processor_count == 0) {
        return;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)pool->processors[worker % pool->processor_count], &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        fprintf(stderr, "llm-host: worker %u cannot be pinned: %s\n", worker, strerror(errno));
    }
}

static void *worker_main(void *argument)
{
    const struct worker_start *start = argument;
    struct pool *pool = start->pool;
    unsigned round = 0;

    pin_worker(pool, start->worker);
    for (;;) {
        wait_for(&pool->round, round, false);
        round++;
        pool->function(pool->argument, start->worker);
        atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
    }
    return NULL;
}

static void pool_run(void *context, void (*function)(void *argument, unsigned worker),
                     void *argument)
{
    struct pool *pool = context;
    if (pool->workers > 1) {
        pool->function = function;
        pool->argument = argument;
        atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->round, 1, memory_order_release);
    }
    function(argument, 0);
    if (pool->workers > 1) {
        wait_for(&pool->done, pool->workers - 1, true);
    }
}

/* The threads live until the process ends; so do their arguments. */
static int start_workers(struct pool *pool)
{
    static struct worker_start starts[WORKERS_MAX];
    pin_worker(pool, 0);
    for (unsigned worker = 1; worker < pool->workers; worker++) {
        pthread_t thread;
        starts[worker] = (struct worker_start){pool, worker};
        int error = pthread_create(&thread, NULL, worker_main, &starts[worker]);
        if (error != 0) {
            fprintf(stderr, "llm-host: cannot start a worker: %s\n", strerror(error));
            return -1;
        }
    }
    return 0;
}

static int write_output(void *context, const void *data, size_t length)
{
    const char *bytes = data;
    (void)context;
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, length);
        if (written < 0 && errno != EINTR) {
            return -1;
        }
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
    return 0;
}

static long read_input(void *context, void *data, size_t length)
{
    ssize_t received;
    (void)context;
    do {
        received = read(STDIN_FILENO, data, length);
    } while (received < 0 && errno == EINTR);
    return received;
}

/* Returns the instruction sets that both the processor and the system, by the registers it saves
 * (XCR0), support. */
static uint64_t detect_isa(void)
{
    unsigned eax;
    unsigned ebx;
    unsigned ecx;
    unsigned edx;
    uint64_t isa = 0;

    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0) {
        return 0;
    }
    unsigned saved;
    unsigned high;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    bool wide = (saved & 0x6) == 0x6;     /* the YMM registers */
    bool widest = (saved & 0xe6) == 0xe6; /* the ZMM and mask registers too */
    if (!wide) {
        return 0;
    }
    isa |= (ecx & bit_FMA) != 0 ? LLM_ISA_FMA : 0;
    isa |= (ecx & bit_F16C) != 0 ? LLM_ISA_F16C : 0;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
        isa |= (ebx & bit_AVX2) != 0 ? LLM_ISA_AVX2 : 0;
        isa |= widest && (ebx & bit_AVX512F) != 0 ? LLM_ISA_AVX512F : 0;
        isa |= widest && (ebx & bit_AVX512BW) != 0 ? LLM_ISA_AVX512BW : 0;
        isa |= widest && (ebx & bit_AVX512VL) != 0 ? LLM_ISA_AVX512VL : 0;
        isa |= widest && (ecx & bit_AVX512VNNI) != 0 ? LLM_ISA_AVX512VNNI : 0;
    }
    return isa;
}

static int map_file(struct llm_weights *weights, const char *path)
{
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0) {
        fprintf(stderr, "llm-host: %s: %s\n", path, strerror(errno));
        if (file >= 0) {
            (void)close(file);
        }
        return -1;
    }
    void *data = MAP_FAILED;
    if (status.st_size > 0) {
        data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    } else {
        errno = EINVAL;
    }
    int error = errno;
    (void)close(file);
    if (data == MAP_FAILED) {
        fprintf(stderr, "llm-host: %s cannot be mapped: %s\n", path, strerror(error));
        return -1;
    }
    *weights = (struct llm_weights){data, (size_t)status.st_size};
    return 0;
}

/* Sizes the arena for the context that the program's options ask for. What is wrong with them, or
 * with the model, llm_main will say: the arena stays empty then. */
static int map_arena(struct llm_platform *platform)
{
    struct llm_options options;
    struct llm_error err;
    uint64_t bytes;

    if (llm_options_parse(&options, platform->argc, platform->argv, &err) != 0 ||
        llm_memory_needed(platform->weights, platform->weights_count, (uint32_t)options.context,
                          &bytes, &err) != 0) {
        return 0;
    }
    void *arena = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) {
        fprintf(stderr, "llm-host: no memory of %llu bytes: %s\n", (unsigned long long)bytes,
                strerror(errno));
        return -1;
    }
    platform->arena = arena;
    platform->arena_length = bytes;
    return 0;
}

static int parse_processors(struct pool *pool, const char *list)
{
    char *end;
    do {
        long processor = strtol(list, &end, 10);
        if (end == list || processor < 0 || processor >= CPU_SETSIZE ||
            pool->processor_count == WORKERS_MAX || (*end != ',' && *end != '\0')) {
            return -1;
        }
        pool->processors[pool->processor_count++] = (int)processor;
        list = end + 1;
    } while (*end == ',');
    return 0;
}

/* The files of the model. */
struct model {
    const char *paths[WEIGHTS_MAX];
    struct llm_weights weights[WEIGHTS_MAX];
    size_t count;
};

/* Reads the options before the model's first file; returns the index of its path, or -1. */
static int parse_host_options(int argc, char **argv, struct pool *pool, uint64_t *isa,
                              struct model *model)
{
    int index = 1;
    for (; index + 1 < argc && strncmp(argv[index], "--", 2) == 0; index += 2) {
        const char *value = argv[index + 1];
        if (strcmp(argv[index], "--workers") == 0) {
            char *end;
            long workers = strtol(value, &end, 10);
            if (end == value || *end != '\0' || workers < 1 || workers > WORKERS_MAX) {
                return -1;
            }
            pool->workers = (unsigned)workers;
        } else if (strcmp(argv[index], "--more") == 0) {
            if (model->count + 1 >= WEIGHTS_MAX) {
                return -1;
            }
            model->paths[++model->count] = value;
        } else if (strcmp(argv[index], "--cpus") == 0) {
            if (parse_processors(pool, value) != 0) {
                return -1;
            }
        } else if (strcmp(argv[index], "--isa") == 0 && strcmp(value, "baseline") == 0) {
            *isa = 0;
        } else if (strcmp(argv[index], "--isa") != 0 || strcmp(value, "native") != 0) {
            return -1;
        }
    }
    if (index >= argc || argv[index][0] == '-') {
        return -1;
    }
    model->paths[0] = argv[index];
    model->count++;
    return index;
}

int main(int argc, char **argv)
{
    static struct pool pool = {.workers = 1};
    static struct model model;
    struct llm_platform platform = {
        .isa = detect_isa(),
        .run = pool_run,
        .write = write_output,
        .read = read_input,
        .context = &pool,
    };
    int first = parse_host_options(argc, argv, &pool, &platform.isa, &model);
    if (first < 0) {
        fputs(usage, stderr);
        fputs(llm_options_usage, stderr);
        return LLM_EXIT_USAGE;
    }
    platform.workers = pool.workers;
    platform.argc = argc - first - 1;
    platform.argv = argv + first + 1;
    for (size_t index = 0; index < model.count; index++) {
        if (map_file(&model.weights[index], model.paths[index]) != 0) {
            return LLM_EXIT_FAILURE;
        }
    }
    platform.weights = model.weights;
    platform.weights_count = model.count;
    if (map_arena(&platform) != 0 || start_workers(&pool) != 0) {
        return LLM_EXIT_FAILURE;
    }
    return llm_main(&platform);
}
