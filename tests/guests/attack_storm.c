// SPDX-License-Identifier: Apache-2.0
// Floods of exits: they cost the model its own time; honest requests are still served.
#include "hostile_driver.h"

#define STORM_EXITS 10000u
#define REQUESTS    200u

static struct hostile_driver driver;
static uint32_t finished;
static int outcome;

static int honest_request(void)
{
    driver_fill(&driver, CONSOLE_WRITE, 0, 0);
    return driver_expect(&driver, PORT_STATUS_OK);
}

static int doorbell_storm(void)
{
    driver_open(&driver);
    for (unsigned i = 0; i < STORM_EXITS; i++)
        driver_ring(&driver);
    return honest_request();
}

static void storm_or_ask(void *argument, unsigned worker)
{
    (void)argument;
    if (worker > 0) {
        while (!__atomic_load_n(&finished, __ATOMIC_RELAXED))
            driver_ring(&driver);
        return;
    }
    for (unsigned i = 0; i < REQUESTS && outcome == ATTACK_DEFENDED; i++)
        outcome = honest_request();
    __atomic_store_n(&finished, 1, __ATOMIC_RELAXED);
}

static int storm_beside_requests(void)
{
    driver_open(&driver);
    if (cell_boot()->vcpus < 2)
        return ATTACK_UNKNOWN;
    cell_run(storm_or_ask, NULL);
    return outcome;
}

static int unpark_storm(void)
{
    driver_open(&driver);
    for (unsigned i = 0; i < STORM_EXITS; i++)
        cell_unpark(0);
    return honest_request();
}

// A stale count never sleeps, so this ends.
static int park_storm(void)
{
    driver_open(&driver);
    for (unsigned i = 0; i < STORM_EXITS; i++)
        cell_park(cell_event_count(0) + 1);
    return honest_request();
}

// An event between the look and the park is not lost.
static int park_after_event(void)
{
    driver_open(&driver);
    for (unsigned i = 0; i < STORM_EXITS / 10; i++) {
        uint32_t seen = cell_event_count(0);
        cell_unpark(0);
        cell_park(seen);
    }
    return honest_request();
}

static const struct attack attacks[] = {
    {"doorbell", doorbell_storm},
    {"doorbell-beside-requests", storm_beside_requests}, // two vCPUs
    {"unpark", unpark_storm},
    {"park", park_storm},
    {"park-after-event", park_after_event},
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
