// SPDX-License-Identifier: Apache-2.0
// Payloads of requests that say too much for their length, or are encoded.
#include <stdio.h>
#include <string.h>

#include "detector.h"

static bool is_base64(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '+' || byte == '/' || byte == '-' ||
           byte == '_' || byte == '=';
}

static void look_at(struct detector_port *port, const uint8_t *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        port->histogram[data[i]]++;
        port->run = is_base64(data[i]) ? port->run + 1 : 0;
        if (port->run > port->longest)
            port->longest = port->run;
    }
    port->seen += length;
}

// log2(n) in thousandths, for n of at least 1.
static uint32_t log2_milli(uint32_t n)
{
    uint32_t whole = 31u - (uint32_t)__builtin_clz(n);
    uint64_t mantissa = (uint64_t)n << (31 - whole); // from 1 to 2, times 2^31
    uint32_t fraction = 0;
    for (unsigned bit = 0; bit < 12; bit++) {
        mantissa = mantissa * mantissa >> 31;
        uint32_t is_two = mantissa >> 32 != 0;
        mantissa >>= is_two;
        fraction = fraction << 1 | is_two;
    }
    return whole * 1000 + fraction * 1000 / 4096;
}

// Shannon entropy of the histogram, in thousandths of a bit per byte.
static uint32_t millibits(const struct detector_port *port)
{
    uint64_t sum = 0;
    uint32_t all = log2_milli(port->seen);
    for (unsigned i = 0; i < 256; i++) {
        if (port->histogram[i])
            sum += (uint64_t)port->histogram[i] * (all - log2_milli(port->histogram[i]));
    }
    return (uint32_t)(sum / port->seen);
}

// `n` bytes have at most log2(n) bits each: short payloads are compared with what they can have.
static uint32_t limit(const struct detector_settings *settings, uint32_t seen)
{
    uint64_t most = log2_milli(seen);
    return (uint32_t)(settings->entropy_millibits * (most < 8000 ? most : 8000) / 8000);
}

bool detector_entropy(struct detectors *detectors, const struct audit_record *record,
                      const uint8_t *data, struct detector_alarm *alarm)
{
    const struct detector_settings *settings = &detectors->settings;
    struct detector_port *port = &detectors->ports[record->port];
    if (record->type != AUDIT_PAYLOAD || record->detail != AUDIT_DIRECTION_REQUEST ||
        !record->length)
        return false;
    if (record->argument == 0) {
        memset(port->histogram, 0, sizeof(port->histogram));
        port->seen = port->run = port->longest = 0;
    }
    look_at(port, data, record->length);
    if (record->argument + record->length != record->status || port->seen < settings->entropy_bytes)
        return false;
    uint32_t found = millibits(port);
    bool dense = found >= limit(settings, port->seen);
    bool encoded = port->longest >= settings->entropy_run;
    port->suspicious += dense || encoded;
    if ((!dense && !encoded) || port->suspicious < settings->entropy_count)
        return false;
    alarm->score = dense ? found : port->longest;
    if (dense)
        snprintf(alarm->reason, sizeof(alarm->reason),
                 "%u payloads that look encrypted or compressed, the last of %u bytes with %u.%03u "
                 "bits each",
                 port->suspicious, port->seen, found / 1000, found % 1000);
    else
        snprintf(alarm->reason, sizeof(alarm->reason),
                 "%u payloads that look encoded, the last of %u bytes with %u such characters in a "
                 "row",
                 port->suspicious, port->seen, port->longest);
    return true;
}
