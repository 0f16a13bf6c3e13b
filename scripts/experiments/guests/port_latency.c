// SPDX-License-Identifier: Apache-2.0
// How long an honest port takes while its neighbours are used as hard as they can be.
//
//   port_latency SEED ROUNDS SAMPLES
//
// In each round, each condition in a random order: SAMPLES requests of 64 bytes on the port
// "honest", timed. Says "CONDITION CYCLES CYCLES ..." for each of them. Then "tick", half a second
// or so of cycles, "tock CYCLES": from that the host learns how long a cycle is.
#include "measure.h"

#include <string.h>

#define PAYLOAD     64u
#define FLOODS      4u
#define BAD         9u // an operation that a loopback does not have
#define DOORBELLS   4u
#define WARM_UP     20u
#define CALIBRATION (1ull << 30)

static struct measure_text text;
static struct cell_port honest;
static struct flood {
    struct cell_queue queue;
    unsigned outstanding;
} small[FLOODS], large[FLOODS];

static void require(int result)
{
    if (result < 0)
        cell_exit(63);
}

static void open_all(void)
{
    char name[16];
    require(cell_port_open(&honest, "honest"));
    for (unsigned i = 0; i < FLOODS; i++) {
        snprintf(name, sizeof(name), "small%u", i);
        require(cell_queue_open(&small[i].queue, name, 0, PAYLOAD, PAYLOAD, 0));
        snprintf(name, sizeof(name), "large%u", i);
        require(cell_queue_open(&large[i].queue, name, 0, 65536, 65536, 0));
    }
}

static void take(struct flood *flood)
{
    struct cell_reply reply;
    while (cell_queue_poll(&flood->queue, &reply))
        flood->outstanding--;
}

// Takes what was answered, and sends again as much as fits.
static void keep_full(struct flood *flood, uint32_t operation, uint32_t length)
{
    void *payload;
    take(flood);
    while ((payload = cell_queue_buffer(&flood->queue)) &&
           !cell_queue_send(&flood->queue, operation, 0, payload, length, 0))
        flood->outstanding++;
    cell_queue_flush(&flood->queue);
}

static void drain(struct flood *floods)
{
    for (unsigned i = 0; i < FLOODS; i++) {
        while (floods[i].outstanding) {
            take(&floods[i]);
            __builtin_ia32_pause();
        }
    }
}

static void no_attack(void)
{
}

static void flood_denied(void)
{
    for (unsigned i = 0; i < FLOODS; i++)
        keep_full(&small[i], BAD, PAYLOAD);
}

static void flood_small(void)
{
    for (unsigned i = 0; i < FLOODS; i++)
        keep_full(&small[i], LOOPBACK_ECHO, PAYLOAD);
}

static void flood_large(void)
{
    for (unsigned i = 0; i < FLOODS; i++)
        keep_full(&large[i], LOOPBACK_ECHO, 65536);
}

static void ring_doorbells(void)
{
    for (unsigned i = 0; i < DOORBELLS; i++)
        __asm__ volatile("movl %0, (%1)"
                         :
                         : "r"(0), "r"(small[i].queue.entry->doorbell)
                         : "memory");
}

static const struct condition {
    const char *name;
    void (*attack)(void);
} conditions[] = {
    {"alone", no_attack},   {"denied", flood_denied},      {"small", flood_small},
    {"large", flood_large}, {"doorbells", ring_doorbells},
};
#define CONDITIONS (sizeof(conditions) / sizeof(conditions[0]))

static uint64_t honest_cycles(void)
{
    static uint8_t payload[PAYLOAD], reply[PAYLOAD];
    uint64_t start = measure_cycles();
    if (cell_port_call(&honest, LOOPBACK_ECHO, 0, payload, sizeof(payload), reply, sizeof(reply),
                       NULL))
        cell_exit(62);
    return measure_cycles() - start;
}

static void run_condition(const struct condition *condition, unsigned samples)
{
    for (unsigned i = 0; i < WARM_UP; i++) {
        condition->attack();
        honest_cycles();
    }
    measure_say(&text, "%s", condition->name);
    for (unsigned i = 0; i < samples; i++) {
        condition->attack();
        measure_say(&text, " %llu", (unsigned long long)honest_cycles());
    }
    drain(small);
    drain(large);
    measure_say(&text, "\n");
    measure_flush(&text);
}

static void calibrate(void)
{
    cell_print("tick");
    uint64_t start = measure_cycles();
    while (measure_cycles() - start < CALIBRATION)
        continue;
    measure_say(&text, "tock %llu\n", (unsigned long long)(measure_cycles() - start));
    measure_flush(&text);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 61;
    measure_seed(argv[1]);
    unsigned rounds = (unsigned)strtoul(argv[2], NULL, 10);
    unsigned samples = (unsigned)strtoul(argv[3], NULL, 10);
    open_all();
    for (unsigned round = 0; round < rounds; round++) {
        unsigned order[CONDITIONS];
        for (unsigned i = 0; i < CONDITIONS; i++) {
            unsigned place = measure_between(0, i);
            order[i] = order[place];
            order[place] = i;
        }
        for (unsigned i = 0; i < CONDITIONS; i++)
            run_condition(&conditions[order[i]], samples);
    }
    calibrate();
    return 0;
}
