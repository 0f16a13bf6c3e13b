// SPDX-License-Identifier: Apache-2.0
// The built-in detectors together.
#include <stdio.h>
#include <string.h>

#include "detector.h"

const char *detector_name(unsigned kind)
{
    static const char *const names[] = {"rate",       "entropy", "canary",    "denials",
                                        "violations", "timing",  "doorbells", "external"};
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

void detector_settings_defaults(struct detector_settings *settings)
{
    *settings = (struct detector_settings){
        .rate_window_ms = 1000,
        .rate_warm_up = 30,
        .rate_deviations = 8,
        .rate_requests = 100,
        .rate_bytes = 65536,
        .entropy_bytes = 64,
        .entropy_millibits = 7200,
        .entropy_run = 160,
        .entropy_count = 3,
        .denials_count = 100,
        .denials_within_ms = 60000,
        .violations_count = 1,
        .timing_gap_us = 500,
        .timing_windows = 2,
        .doorbells_per_s = 10000,
    };
}

bool detector_settings_want_payloads(const struct detector_settings *settings)
{
    return settings->on[DETECTOR_ENTROPY] || settings->on[DETECTOR_CANARY] ||
           settings->external_count;
}

void detectors_init(struct detectors *detectors, const struct detector_settings *settings)
{
    memset(detectors, 0, sizeof(*detectors));
    detectors->settings = *settings;
    detector_canary_init(detectors);
}

// Denials of all ports together, in a window from the first of them.
static bool look_at_denials(struct detectors *detectors, const struct audit_record *record,
                            struct detector_alarm *alarm)
{
    const struct detector_settings *settings = &detectors->settings;
    bool denied =
        record->decision == AUDIT_DECISION_DENY || record->decision == AUDIT_DECISION_ESCALATE;
    if (record->type != AUDIT_REQUEST || !denied)
        return false;
    if (!detectors->denials ||
        record->now_ns - detectors->denials_since_ns > settings->denials_within_ms * 1000000ull) {
        detectors->denials = 0;
        detectors->denials_since_ns = record->now_ns;
    }
    if (++detectors->denials < settings->denials_count)
        return false;
    alarm->score = detectors->denials;
    snprintf(alarm->reason, sizeof(alarm->reason), "%u requests denied in %llu ms",
             detectors->denials,
             (unsigned long long)(record->now_ns - detectors->denials_since_ns) / 1000000);
    detectors->denials = 0;
    return true;
}

static bool look_at_violations(struct detectors *detectors, const struct audit_record *record,
                               struct detector_alarm *alarm)
{
    if (record->type != AUDIT_ANOMALY ||
        ++detectors->violations < detectors->settings.violations_count)
        return false;
    alarm->score = detectors->violations;
    snprintf(alarm->reason, sizeof(alarm->reason), "%u broken rules of queues",
             detectors->violations);
    return true;
}

static bool ask(struct detectors *detectors, unsigned kind, const struct audit_record *record,
                const uint8_t *data, struct detector_alarm *alarm)
{
    switch (kind) {
    case DETECTOR_RATE:
        return detector_rate(detectors, record, alarm);
    case DETECTOR_ENTROPY:
        return detector_entropy(detectors, record, data, alarm);
    case DETECTOR_CANARY:
        return detector_canary(detectors, record, data, alarm);
    case DETECTOR_DENIALS:
        return look_at_denials(detectors, record, alarm);
    case DETECTOR_VIOLATIONS:
        return look_at_violations(detectors, record, alarm);
    case DETECTOR_TIMING:
        return detector_timing(detectors, record, alarm);
    default:
        return false;
    }
}

unsigned detectors_record(struct detectors *detectors, const struct audit_record *record,
                          const uint8_t *data, struct detector_alarm alarms[DETECTOR_KINDS])
{
    unsigned count = 0;
    // A backend's process records the same requests once more.
    if (record->source != AUDIT_SOURCE_VMM || record->port >= VMM_MAX_PORTS ||
        (record->type == AUDIT_PAYLOAD && record->length > AUDIT_DATA_MAX))
        return 0;
    for (unsigned kind = 0; kind < DETECTOR_KINDS; kind++) {
        struct detector_alarm *alarm = &alarms[count];
        uint64_t *quiet_until_ns = &detectors->quiet_until_ns[kind][record->port];
        *alarm = (struct detector_alarm){.kind = kind, .port = record->port};
        if (!detectors->settings.on[kind] || !ask(detectors, kind, record, data, alarm) ||
            record->now_ns < *quiet_until_ns)
            continue;
        *quiet_until_ns = record->now_ns + DETECTOR_QUIET_NS;
        count++;
    }
    return count;
}
