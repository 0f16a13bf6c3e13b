// SPDX-License-Identifier: Apache-2.0
// Requests and bytes of a port, window by window, against what is usual for it.
#include <stdio.h>

#include "detector.h"

// A new window counts for one sixteenth of the baseline.
#define SHARE 16

// Windows without a record that are counted one by one; more than these change nothing any more.
#define EMPTY_MAX 256u

// Far above the baseline: more than the mean and so many mean deviations, and more than the floor.
static bool is_far(const struct detector_flow *flow, uint32_t deviations, uint64_t floor)
{
    uint64_t limit = (flow->mean + deviations * flow->deviation) / 256;
    return flow->count > floor && flow->count > limit;
}

// Ends a window. What was far above counts as the limit itself: an attack that goes on does not
// become the baseline at once.
static void end_window(struct detector_flow *flow, uint32_t deviations, bool far)
{
    uint64_t count = flow->count * 256;
    if (far)
        count = flow->mean + deviations * flow->deviation;
    uint64_t distance = count > flow->mean ? count - flow->mean : flow->mean - count;
    flow->deviation += distance / SHARE;
    flow->deviation -= flow->deviation / SHARE;
    flow->mean += count / SHARE;
    flow->mean -= flow->mean / SHARE;
    flow->count = 0;
}

static bool end_both(const struct detector_settings *settings, struct detector_port *port,
                     struct detector_alarm *alarm)
{
    bool warm = port->windows >= settings->rate_warm_up;
    bool requests =
        warm && is_far(&port->requests, settings->rate_deviations, settings->rate_requests);
    bool bytes = warm && is_far(&port->bytes, settings->rate_deviations, settings->rate_bytes);
    if (requests || bytes) {
        const struct detector_flow *flow = requests ? &port->requests : &port->bytes;
        alarm->score = flow->count;
        snprintf(alarm->reason, sizeof(alarm->reason), "%llu %s in %u ms, %llu are usual",
                 (unsigned long long)flow->count, requests ? "requests" : "bytes",
                 settings->rate_window_ms, (unsigned long long)flow->mean / 256);
    }
    end_window(&port->requests, settings->rate_deviations, requests);
    end_window(&port->bytes, settings->rate_deviations, bytes);
    port->windows++;
    return requests || bytes;
}

bool detector_rate(struct detectors *detectors, const struct audit_record *record,
                   struct detector_alarm *alarm)
{
    const struct detector_settings *settings = &detectors->settings;
    struct detector_port *port = &detectors->ports[record->port];
    uint64_t window_ns = settings->rate_window_ms * 1000000ull;
    bool alarmed = false;
    if (record->type != AUDIT_REQUEST)
        return false;
    if (!port->window_ns || record->now_ns < port->window_ns)
        port->window_ns = record->now_ns;
    uint64_t past = (record->now_ns - port->window_ns) / window_ns;
    for (uint64_t i = 0; i < past && i < EMPTY_MAX; i++)
        alarmed = end_both(settings, port, alarm) || alarmed;
    port->window_ns += past * window_ns;
    port->requests.count++;
    port->bytes.count += record->length;
    return alarmed;
}
