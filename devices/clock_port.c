// SPDX-License-Identifier: Apache-2.0
// The clock backend: time in ticks, no finer than the VM file grants.
//
// What a model can learn by reading it in a loop is when ticks come; so that is all that depends on
// the time. The jitter of a tick is a function of its number: time never goes back, whoever asks.
#include "clock_port.h"

#include <sodium/crypto_shorthash.h>
#include <string.h>

static const struct port_operation clock_operations[] = {
    {CLOCK_PORT_NOW, 0, sizeof(struct clock_reading), "now"},
    {CLOCK_PORT_MONOTONIC, 0, sizeof(struct clock_reading), "monotonic"},
};

int clock_port_init(struct clock_port *port, const struct vmm_clock_options *options,
                    const struct clock *clock, struct error *err)
{
    _Static_assert(sizeof(port->jitter_key) == crypto_shorthash_KEYBYTES &&
                       sizeof(port->jitter_key) <= sizeof(options->seed),
                   "key of the jitter");
    uint64_t resolution_ns = options->resolution_ns;
    if (resolution_ns < VMM_CLOCK_RESOLUTION_MIN_MS * NS_PER_MS ||
        resolution_ns > VMM_CLOCK_RESOLUTION_MAX_MS * NS_PER_MS ||
        options->jitter_ns > resolution_ns)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "resolution or jitter out of range");
    uint64_t wall_ns = clock_wall_ns(clock);
    *port = (struct clock_port){
        .clock = clock,
        .resolution_ns = resolution_ns,
        .jitter_ns = options->jitter_ns,
        .quantises_replies = options->quantises_replies != 0,
        .start_ns = clock_now_ns(clock),
        .start_wall_ns = wall_ns - wall_ns % resolution_ns,
    };
    memcpy(port->jitter_key, options->seed, sizeof(port->jitter_key));
    return 0;
}

// How much later than its multiple of the resolution a tick comes, 0 to jitter_ns.
static uint64_t delay_of(const struct clock_port *port, uint64_t tick)
{
    uint64_t hash;
    _Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash-2-4");
    if (!port->jitter_ns || !tick)
        return 0;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)&tick, sizeof(tick),
                     port->jitter_key);
    return hash % (port->jitter_ns + 1);
}

// The last tick that has come.
static uint64_t tick_now(const struct clock_port *port)
{
    uint64_t since_ns = clock_now_ns(port->clock) - port->start_ns;
    uint64_t tick = since_ns / port->resolution_ns;
    // No delay is longer than the resolution: the tick before has come.
    return since_ns % port->resolution_ns < delay_of(port, tick) ? tick - 1 : tick;
}

static enum port_progress answer(const struct clock_port *port, uint64_t tick,
                                 struct port_request *request)
{
    struct clock_reading reading = {
        .nanoseconds = tick * port->resolution_ns,
        .resolution_ns = port->resolution_ns,
    };
    if (request->operation == CLOCK_PORT_NOW)
        reading.nanoseconds += port->start_wall_ns;
    if (request->reply_capacity < sizeof(reading)) {
        request->status = PORT_STATUS_TOO_LARGE;
        return PORT_DONE;
    }
    memcpy(request->reply, &reading, sizeof(reading));
    request->reply_length = sizeof(reading);
    return PORT_DONE;
}

static enum port_progress clock_submit(void *state, struct port_request *request)
{
    struct clock_port *port = state;
    if ((request->operation != CLOCK_PORT_NOW && request->operation != CLOCK_PORT_MONOTONIC) ||
        request->argument) {
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
    uint64_t tick = tick_now(port);
    if (!port->quantises_replies)
        return answer(port, tick, request);
    // No request is pending for 2^32 ticks.
    request->tag = (uint32_t)tick;
    port->waiting_tick = tick;
    return PORT_PENDING;
}

static enum port_progress clock_resume(void *state, struct port_request *request)
{
    struct clock_port *port = state;
    uint64_t tick = tick_now(port);
    if ((uint32_t)tick != request->tag)
        return answer(port, tick, request);
    port->waiting_tick = tick;
    return PORT_PENDING;
}

static void clock_nothing(void *state)
{
    (void)state;
}

static bool clock_prepare_sleep(void *state, uint64_t *wake_ns)
{
    const struct clock_port *port = state;
    uint64_t tick = tick_now(port);
    uint64_t next_ns = port->start_ns + (tick + 1) * port->resolution_ns + delay_of(port, tick + 1);
    if (tick != port->waiting_tick)
        return true; // it came since the requests were last looked at
    if (next_ns < *wake_ns)
        *wake_ns = next_ns;
    return false;
}

const struct port_backend clock_backend = {
    .kind = PORT_KIND_CLOCK,
    .name = "clock",
    .operations = clock_operations,
    .operation_count = sizeof(clock_operations) / sizeof(clock_operations[0]),
    .submit = clock_submit,
    .resume = clock_resume,
    .flush = clock_nothing,
    .prepare_sleep = clock_prepare_sleep,
    .forget = clock_nothing,
};
