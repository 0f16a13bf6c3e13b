// SPDX-License-Identifier: Apache-2.0
// The shared byte ring: contents, wrap-around, wake-ups, and a hostile other side.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared_ring.h"
#include "support.h"

#define SIZE 4096u

// Both ends over one memfd, each with its own mapping as in two processes.
struct ends {
    struct shared_ring producer;
    struct shared_ring consumer;
};

static void open_ends(struct ends *ends, uint64_t size)
{
    struct error err;
    int fd = shared_ring_create("test", size, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    cr_assert_eq(shared_ring_map(&ends->producer, fd, size, &err), 0);
    cr_assert_eq(shared_ring_map(&ends->consumer, fd, size, &err), 0);
    close(fd);
}

static void close_ends(struct ends *ends)
{
    shared_ring_unmap(&ends->producer);
    shared_ring_unmap(&ends->consumer);
    cr_expect_null(ends->producer.header);
    shared_ring_unmap(&ends->producer); // again: harmless
}

Test(shared_ring, create_checks_the_size)
{
    static const uint64_t bad[] = {0, 1, 2048, 4095, 4097, 6144, 12288, UINT64_MAX};
    struct error err;
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect_eq(shared_ring_create("x", bad[i], &err), -1, "%llu", (unsigned long long)bad[i]);
}

Test(shared_ring, memory_cannot_be_resized)
{
    struct error err;
    int fd = shared_ring_create("x", SIZE, &err);
    cr_assert_geq(fd, 0);
    cr_expect_eq(ftruncate(fd, 0), -1);
    cr_expect_eq(ftruncate(fd, 1 << 20), -1);
    cr_expect_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

Test(shared_ring, map_refuses_memory_that_is_too_small)
{
    struct error err;
    struct shared_ring ring;
    int fd = shared_ring_create("x", SIZE, &err);
    cr_expect_eq(shared_ring_map(&ring, fd, 2 * SIZE, &err), -1);
    cr_expect_eq(shared_ring_map(&ring, -1, SIZE, &err), -1);
    close(fd);
}

// Every offset and many lengths against a plain copy of the stream.
Test(shared_ring, wraps_around)
{
    struct ends ends;
    struct random random = random_start(4);
    uint8_t sent[SIZE], got[SIZE];
    open_ends(&ends, SIZE);
    for (int round = 0; round < 40000; round++) {
        size_t length = random_below(&random, round % 16 ? 300 : SIZE + 1);
        random_fill(&random, sent, length < 64 ? length : 64);
        cr_assert_eq(shared_ring_space(&ends.producer), SIZE);
        size_t first = length ? random_below(&random, length + 1) : 0;
        shared_ring_append(&ends.producer, sent, first);
        shared_ring_append(&ends.producer, sent + first, length - first);
        cr_assert_eq(shared_ring_space(&ends.producer), SIZE - length);
        // Not visible before it is published.
        cr_assert_eq(shared_ring_available(&ends.consumer), 0u);
        cr_assert_not(shared_ring_publish(&ends.producer));
        cr_assert_eq(shared_ring_available(&ends.consumer), length);
        size_t split = length ? random_below(&random, length + 1) : 0;
        shared_ring_peek(&ends.consumer, 0, got, split);
        shared_ring_peek(&ends.consumer, split, got + split, length - split);
        cr_assert_eq(memcmp(sent, got, length), 0);
        // Peeking consumes nothing.
        cr_assert_eq(shared_ring_space(&ends.producer), SIZE - length);
        cr_assert_not(shared_ring_consume(&ends.consumer, length));
    }
    close_ends(&ends);
}

// Indices are 64-bit and free-running: the ring does not care when they pass 2^64.
Test(shared_ring, indices_wrap_at_64_bits)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    uint64_t start = UINT64_MAX - 100;
    ends.producer.own = ends.consumer.own = start;
    atomic_store(&ends.producer.header->head, start);
    atomic_store(&ends.producer.header->tail, start);
    uint8_t data[256], got[256];
    for (int round = 0; round < 64; round++) {
        memset(data, round + 1, sizeof(data));
        cr_assert_eq(shared_ring_space(&ends.producer), SIZE);
        shared_ring_append(&ends.producer, data, sizeof(data));
        shared_ring_publish(&ends.producer);
        cr_assert_eq(shared_ring_available(&ends.consumer), sizeof(data));
        shared_ring_peek(&ends.consumer, 0, got, sizeof(got));
        cr_assert_eq(memcmp(data, got, sizeof(got)), 0);
        shared_ring_consume(&ends.consumer, sizeof(got));
    }
    close_ends(&ends);
}

Test(shared_ring, hostile_consumer_index_stops_the_producer)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    uint8_t data[100] = {0};
    shared_ring_append(&ends.producer, data, sizeof(data));
    shared_ring_publish(&ends.producer);
    static const uint64_t hostile[] = {
        101, 102, 4096, 1ull << 32, 1ull << 63, UINT64_MAX - SIZE, (uint64_t)100 - SIZE - 1};
    for (size_t i = 0; i < COUNT(hostile); i++) {
        atomic_store(&ends.producer.header->tail, hostile[i]);
        cr_expect_eq(shared_ring_space(&ends.producer), 0u, "tail %#llx",
                     (unsigned long long)hostile[i]);
        cr_expect_not(shared_ring_wait_space(&ends.producer, 1));
    }
    // Every legal one gives what it should.
    for (uint64_t tail = 0; tail <= 100; tail++) {
        atomic_store(&ends.producer.header->tail, tail);
        cr_expect_eq(shared_ring_space(&ends.producer), SIZE - 100 + tail);
    }
    // An index that goes back only takes room away.
    atomic_store(&ends.producer.header->tail, UINT64_MAX);
    cr_expect_eq(shared_ring_space(&ends.producer), SIZE - 101u);
    close_ends(&ends);
}

Test(shared_ring, hostile_producer_index_is_noticed)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    static const uint64_t hostile[] = {SIZE + 1, 1ull << 32, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < COUNT(hostile); i++) {
        atomic_store(&ends.producer.header->head, hostile[i]);
        cr_expect_eq(shared_ring_available(&ends.consumer), UINT64_MAX);
    }
    atomic_store(&ends.producer.header->head, SIZE);
    cr_expect_eq(shared_ring_available(&ends.consumer), (uint64_t)SIZE);
    // Backwards: bytes that were consumed already.
    shared_ring_consume(&ends.consumer, 10);
    atomic_store(&ends.producer.header->head, 9);
    cr_expect_eq(shared_ring_available(&ends.consumer), UINT64_MAX);
    close_ends(&ends);
}

// The other side cannot move this side's own index by writing to its published copy.
Test(shared_ring, own_index_is_private)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    shared_ring_append(&ends.producer, "abc", 3);
    shared_ring_publish(&ends.producer);
    atomic_store(&ends.producer.header->head, 77); // by the consumer, who may write everywhere
    cr_expect_eq(shared_ring_space(&ends.producer), SIZE - 3);
    shared_ring_append(&ends.producer, "d", 1);
    shared_ring_publish(&ends.producer);
    cr_expect_eq(shared_ring_available(&ends.consumer), 4u);
    atomic_store(&ends.producer.header->tail, 2); // by the producer
    cr_expect_eq(shared_ring_available(&ends.consumer), 4u);
    close_ends(&ends);
}

Test(shared_ring, one_wake_up_for_each_wait)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    cr_expect_not(shared_ring_wait_data(&ends.consumer));
    shared_ring_append(&ends.producer, "a", 1);
    cr_expect(shared_ring_publish(&ends.producer));
    shared_ring_append(&ends.producer, "b", 1);
    cr_expect_not(shared_ring_publish(&ends.producer));
    // Data is there: no wait, no wake-up.
    cr_expect(shared_ring_wait_data(&ends.consumer));
    cr_expect_not(shared_ring_publish(&ends.producer));

    uint8_t filler[SIZE] = {0};
    shared_ring_append(&ends.producer, filler, SIZE - 2);
    shared_ring_publish(&ends.producer);
    cr_expect_not(shared_ring_wait_space(&ends.producer, 1));
    cr_expect(shared_ring_consume(&ends.consumer, 10));
    cr_expect_not(shared_ring_consume(&ends.consumer, 10));
    cr_expect(shared_ring_wait_space(&ends.producer, 20));
    cr_expect_not(shared_ring_consume(&ends.consumer, 1));
    cr_expect_not(shared_ring_wait_space(&ends.producer, SIZE));
    close_ends(&ends);
}

Test(shared_ring, nonsense_counts_as_something_to_look_at)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    atomic_store(&ends.producer.header->head, UINT64_MAX / 2);
    // A consumer must not sleep for ever over a ring that is broken.
    cr_expect(shared_ring_wait_data(&ends.consumer));
    close_ends(&ends);
}

struct side {
    struct shared_ring ring;
    int wake_mine;
    int wake_other;
    uint64_t bytes;
    uint64_t failures;
    unsigned sleeps;
};

static void wake(int fd)
{
    uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof(one));
    (void)ignored;
}

// Sleeps until woken; a wake-up that is lost shows as a time-out.
static int sleep_on(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 10000) != 1)
        return -1;
    uint64_t value;
    return read(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -1;
}

static uint8_t stream_byte(uint64_t position)
{
    return (uint8_t)(position * 0x9e3779b97f4a7c15ull >> 56);
}

static void *produce(void *context)
{
    struct side *side = (struct side *)context;
    struct random random = random_start(5);
    uint8_t data[SIZE];
    for (uint64_t done = 0; done < side->bytes;) {
        size_t length = 1 + random_below(&random, random_chance(&random, 5) ? SIZE : 200);
        if (length > side->bytes - done)
            length = side->bytes - done;
        while (shared_ring_space(&side->ring) < length) {
            if (shared_ring_wait_space(&side->ring, length))
                break;
            side->sleeps++;
            if (sleep_on(side->wake_mine) < 0) {
                side->failures++;
                return NULL;
            }
        }
        for (size_t i = 0; i < length; i++)
            data[i] = stream_byte(done + i);
        size_t first = random_below(&random, length + 1);
        shared_ring_append(&side->ring, data, first);
        shared_ring_append(&side->ring, data + first, length - first);
        if (shared_ring_publish(&side->ring))
            wake(side->wake_other);
        done += length;
    }
    return NULL;
}

static void *consume(void *context)
{
    struct side *side = (struct side *)context;
    struct random random = random_start(6);
    uint8_t data[SIZE];
    for (uint64_t done = 0; done < side->bytes;) {
        uint64_t available = shared_ring_available(&side->ring);
        if (available == UINT64_MAX) {
            side->failures++;
            return NULL;
        }
        if (!available) {
            if (shared_ring_wait_data(&side->ring))
                continue;
            side->sleeps++;
            if (sleep_on(side->wake_mine) < 0) {
                side->failures++;
                return NULL;
            }
            continue;
        }
        size_t length = 1 + random_below(&random, available);
        shared_ring_peek(&side->ring, 0, data, length);
        for (size_t i = 0; i < length; i++)
            side->failures += data[i] != stream_byte(done + i);
        if (shared_ring_consume(&side->ring, length))
            wake(side->wake_other);
        done += length;
    }
    return NULL;
}

static void make_sides(struct ends *ends, struct side *producer, struct side *consumer,
                       uint64_t bytes)
{
    open_ends(ends, SIZE);
    int to_producer = eventfd(0, 0), to_consumer = eventfd(0, 0);
    *producer = (struct side){ends->producer, to_producer, to_consumer, bytes, 0, 0};
    *consumer = (struct side){ends->consumer, to_consumer, to_producer, bytes, 0, 0};
}

Test(shared_ring, two_threads, .timeout = 50)
{
    struct ends ends;
    struct side producer, consumer;
    pthread_t thread;
    make_sides(&ends, &producer, &consumer, 24u << 20);
    cr_assert_eq(pthread_create(&thread, NULL, produce, &producer), 0);
    consume(&consumer);
    pthread_join(thread, NULL);
    cr_expect_eq(producer.failures, 0u, "producer was not woken");
    cr_expect_eq(consumer.failures, 0u, "wrong bytes, or the consumer was not woken");
}

Test(shared_ring, two_processes, .timeout = 50)
{
    struct ends ends;
    struct side producer, consumer;
    make_sides(&ends, &producer, &consumer, 24u << 20);
    pid_t child = fork();
    if (child == 0) {
        produce(&producer);
        _exit(producer.failures ? 1 : 0);
    }
    consume(&consumer);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "producer failed");
    cr_expect_eq(consumer.failures, 0u, "wrong bytes, or the consumer was not woken");
}

// The other side writes nonsense into everything it can reach, all the time: this side's calls
// stay inside its bounds (the sanitizer watches) and never claim more than the ring holds.
static void *vandal(void *context)
{
    struct shared_ring *ring = (struct shared_ring *)context;
    struct random random = random_start(7);
    while (!atomic_load(&ring->header->closed)) {
        uint64_t value =
            random_chance(&random, 50) ? random_next(&random) : random_below(&random, 3 * SIZE);
        atomic_store(&ring->header->tail, value);
        atomic_store(&ring->header->head, random_next(&random) >> random_below(&random, 64));
        atomic_store(&ring->header->producer_waiting, (uint32_t)value);
        atomic_store(&ring->header->consumer_waiting, (uint32_t)value);
    }
    return NULL;
}

Test(shared_ring, vandal, .timeout = 50)
{
    struct ends ends;
    open_ends(&ends, SIZE);
    pthread_t thread;
    struct shared_ring other = ends.consumer;
    cr_assert_eq(pthread_create(&thread, NULL, vandal, &other), 0);
    struct random random = random_start(8);
    static uint8_t data[SIZE];
    for (int i = 0; i < 200000; i++) {
        uint64_t space = shared_ring_space(&ends.producer);
        cr_assert_leq(space, (uint64_t)SIZE);
        size_t length = space ? random_below(&random, space + 1) : 0;
        shared_ring_append(&ends.producer, data, length);
        shared_ring_publish(&ends.producer);
        shared_ring_wait_space(&ends.producer, random_below(&random, SIZE));
        uint64_t available = shared_ring_available(&ends.consumer);
        cr_assert(available == UINT64_MAX || available <= SIZE);
        if (available == UINT64_MAX)
            continue;
        shared_ring_peek(&ends.consumer, 0, data, available);
        shared_ring_consume(&ends.consumer, random_below(&random, available + 1));
    }
    atomic_store(&ends.producer.header->closed, 1);
    pthread_join(thread, NULL);
}
