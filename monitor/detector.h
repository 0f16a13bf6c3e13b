// SPDX-License-Identifier: Apache-2.0
// Detectors: they see what the fabric records, and have no means to act except by an alarm.
//
// A detector is a function from its settings, its state and one record to an alarm or none. No
// clock but the records', no allocation, tables of fixed size: the same log gives the same alarms
// (guillotine detector replay). docs/detectors.md.
#ifndef MONITOR_DETECTOR_H
#define MONITOR_DETECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit_record.h"
#include "level.h"
#include "vmm_protocol.h"

enum detector_kind {
    DETECTOR_RATE,       // requests or bytes far above the port's own baseline
    DETECTOR_ENTROPY,    // payloads that look compressed, encrypted or encoded
    DETECTOR_CANARY,     // a token that nobody should say
    DETECTOR_DENIALS,    // many requests denied
    DETECTOR_VIOLATIONS, // broken rules of the transport
    DETECTOR_TIMING,     // requests in step with a clock, or with two
    DETECTOR_DOORBELLS,  // doorbells without requests; records do not show them
    DETECTOR_KINDS,
    DETECTOR_EXTERNAL = DETECTOR_KINDS, // a process on a socket
};

const char *detector_name(unsigned kind);

#define DETECTOR_MAX_TOKENS    16u
#define DETECTOR_TOKEN_MIN     8u // shorter ones are found by chance
#define DETECTOR_TOKEN_MAX     128u
#define DETECTOR_MAX_EXTERNALS 4u

struct detector_token {
    uint8_t bytes[DETECTOR_TOKEN_MAX];
    uint32_t length;
};

struct detector_external {
    char name[32];
    char socket[108];
    uint32_t timeout_ms; // for its verdict on a record
    uint32_t level;      // highest that its alarms raise to
    uint32_t on_failure; // level if it dies, lags or talks nonsense
};

struct detector_settings {
    bool on[DETECTOR_KINDS];
    uint32_t level[DETECTOR_KINDS]; // that an alarm raises to; LEVEL_STANDARD: none
    uint32_t rate_window_ms;
    uint32_t rate_warm_up;    // windows before the first alarm
    uint32_t rate_deviations; // mean deviations above the mean
    uint32_t rate_requests;   // in a window: never an alarm below
    uint32_t rate_bytes;
    uint32_t entropy_bytes;     // payloads below are not looked at
    uint32_t entropy_millibits; // of a byte
    uint32_t entropy_run;       // characters of base64 or hexadecimal digits without a break
    uint32_t entropy_count;     // such payloads
    uint32_t denials_count;
    uint32_t denials_within_ms;
    uint32_t violations_count;
    uint32_t timing_gap_us;   // gaps below are the model's own speed
    uint32_t timing_windows;  // of DETECTOR_GAPS gaps, in a row
    uint32_t doorbells_per_s; // beyond one for each request
    uint32_t token_count;
    uint32_t external_count;
    struct detector_token tokens[DETECTOR_MAX_TOKENS];
    struct detector_external externals[DETECTOR_MAX_EXTERNALS];
};

// What holds if the VM file says nothing else of a detector; all are off.
void detector_settings_defaults(struct detector_settings *settings);

// True if some detector looks at payloads: ports have to give them to the log's ring.
bool detector_settings_want_payloads(const struct detector_settings *settings);

struct detector_alarm {
    unsigned kind; // enum detector_kind
    uint32_t port;
    uint64_t score; // what was found, in the detector's own unit
    char reason[160];
};

// Counts against a baseline.
struct detector_flow {
    uint64_t count;     // in this window
    uint64_t mean;      // times 256
    uint64_t deviation; // times 256
};

#define DETECTOR_GAPS 64u

struct detector_port {
    // rate
    uint64_t window_ns; // where this window began; 0: none yet
    uint32_t windows;
    struct detector_flow requests;
    struct detector_flow bytes;
    // entropy: of the payload that is under way
    uint32_t histogram[256];
    uint32_t seen;
    uint32_t run;
    uint32_t longest;
    uint32_t suspicious; // payloads
    // timing
    uint64_t last_ns;
    uint32_t gap_count;
    uint32_t flagged; // windows in a row
    uint32_t gaps_us[DETECTOR_GAPS];
};

// Texts that stand for one token: as it is, reversed, hexadecimal, base64 in every phase.
#define DETECTOR_FORMS      (DETECTOR_MAX_TOKENS * 11u)
#define DETECTOR_FORM_BYTES (2 * DETECTOR_TOKEN_MAX)

struct detector_form {
    uint8_t bytes[DETECTOR_FORM_BYTES];
    uint32_t length;
    uint32_t token;
    const char *name;
};

struct detector_tail {
    uint8_t bytes[DETECTOR_FORM_BYTES];
    uint32_t length;
};

struct detectors {
    struct detector_settings settings;
    struct detector_port ports[VMM_MAX_PORTS];
    uint64_t denials_since_ns;
    uint32_t denials;
    uint32_t violations;
    uint32_t form_count;
    struct detector_form forms[DETECTOR_FORMS];
    struct detector_tail tails[VMM_MAX_PORTS]; // of what a port's requests said last
    uint64_t quiet_until_ns[DETECTOR_KINDS][VMM_MAX_PORTS];
};

// Starts from nothing.
void detectors_init(struct detectors *detectors, const struct detector_settings *settings);

// Shows the built-in detectors one record of the fabric, with the bytes behind it. Fills at most
// DETECTOR_KINDS alarms; returns how many. One detector alarms about one port at most once in
// DETECTOR_QUIET_NS of the records' time.
unsigned detectors_record(struct detectors *detectors, const struct audit_record *record,
                          const uint8_t *data, struct detector_alarm alarms[DETECTOR_KINDS]);

#define DETECTOR_QUIET_NS 10000000000ull

// Each detector by itself: true if it alarms. For detectors.c.
bool detector_rate(struct detectors *detectors, const struct audit_record *record,
                   struct detector_alarm *alarm);
bool detector_entropy(struct detectors *detectors, const struct audit_record *record,
                      const uint8_t *data, struct detector_alarm *alarm);
bool detector_canary(struct detectors *detectors, const struct audit_record *record,
                     const uint8_t *data, struct detector_alarm *alarm);
bool detector_timing(struct detectors *detectors, const struct audit_record *record,
                     struct detector_alarm *alarm);

// Makes the forms of all tokens.
void detector_canary_init(struct detectors *detectors);

#endif
