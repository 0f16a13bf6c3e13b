// SPDX-License-Identifier: Apache-2.0
// Requests that come in step with a clock, or with two: whoever watches them reads bits.
#include <stdio.h>
#include <string.h>

#include "detector.h"

// Gaps count as equal within one part in this many.
#define TOLERANCE 8u

// Of a window of gaps: so many have to lie in the two steps together, and in the rarer of them.
#define IN_STEP (DETECTOR_GAPS * 3 / 4)
#define RARER   (DETECTOR_GAPS / 8)

static void sort(uint32_t *values, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        uint32_t value = values[i];
        unsigned at = i;
        for (; at && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

// The longest stretch of sorted values that are equal within the tolerance, outside of another.
static unsigned find_step(const uint32_t *values, unsigned from, unsigned to, unsigned *start)
{
    unsigned longest = 0;
    for (unsigned i = from, j = from; i < to; i++) {
        while (j < to && values[j] - values[i] <= values[i] / TOLERANCE)
            j++;
        if (j - i > longest) {
            longest = j - i;
            *start = i;
        }
    }
    return longest;
}

// One step or two that nearly all gaps of the window are made of.
static bool is_in_step(const uint32_t *gaps, uint32_t *first_us, uint32_t *second_us)
{
    uint32_t sorted[DETECTOR_GAPS];
    unsigned start = 0;
    unsigned below_start = 0;
    unsigned above_start = 0;
    memcpy(sorted, gaps, sizeof(sorted));
    sort(sorted, DETECTOR_GAPS);
    unsigned first = find_step(sorted, 0, DETECTOR_GAPS, &start);
    unsigned below = find_step(sorted, 0, start, &below_start);
    unsigned above = find_step(sorted, start + first, DETECTOR_GAPS, &above_start);
    unsigned second = below > above ? below : above;
    *first_us = sorted[start];
    *second_us = second >= RARER ? sorted[below > above ? below_start : above_start] : 0;
    return first >= IN_STEP || (second >= RARER && first + second >= IN_STEP);
}

bool detector_timing(struct detectors *detectors, const struct audit_record *record,
                     struct detector_alarm *alarm)
{
    const struct detector_settings *settings = &detectors->settings;
    struct detector_port *port = &detectors->ports[record->port];
    if (record->type != AUDIT_REQUEST)
        return false;
    uint64_t gap_us = port->last_ns && record->now_ns > port->last_ns
                          ? (record->now_ns - port->last_ns) / 1000
                          : 0;
    port->last_ns = record->now_ns;
    if (gap_us < settings->timing_gap_us || gap_us > UINT32_MAX)
        return false;
    port->gaps_us[port->gap_count++] = (uint32_t)gap_us;
    if (port->gap_count < DETECTOR_GAPS)
        return false;
    uint32_t first_us;
    uint32_t second_us;
    port->gap_count = 0;
    port->flagged = is_in_step(port->gaps_us, &first_us, &second_us) ? port->flagged + 1 : 0;
    if (port->flagged < settings->timing_windows)
        return false;
    alarm->score = port->flagged * DETECTOR_GAPS;
    snprintf(alarm->reason, sizeof(alarm->reason),
             second_us ? "%u requests in steps of %u and %u us" : "%u requests in steps of %u us",
             port->flagged * DETECTOR_GAPS, first_us, second_us);
    return true;
}
