// SPDX-License-Identifier: Apache-2.0
// What guillotine-actuator says while it works: one JSON object a line, read by the supervisor.
#ifndef MONITOR_ACTUATOR_EVENT_H
#define MONITOR_ACTUATOR_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actuator_config.h"

// Longest line, with its newline; a longer one is refused.
#define ACTUATOR_LINE_MAX    1024u
#define ACTUATOR_DETAIL_SIZE 256

// The first four, plus one, are the `detail` of an AUDIT_ACTUATOR record.
enum actuator_event_kind {
    ACTUATOR_EVENT_ARMED,     // the arming note was used up; `detail` is its reason
    ACTUATOR_EVENT_FIRED,     // the order went out; whether it worked is not known yet
    ACTUATOR_EVENT_CONFIRMED, // read back, for as long as settle_ms
    ACTUATOR_EVENT_FAILED,    // this attempt; `detail` says why
    ACTUATOR_EVENT_STATE,     // what a check read back
    ACTUATOR_EVENT_SUMMARY,   // the last one
    ACTUATOR_EVENT_COUNT,
};

enum actuator_state {
    ACTUATOR_STATE_UNKNOWN,
    ACTUATOR_STATE_ON,
    ACTUATOR_STATE_OFF, // cut, or destroyed
    ACTUATOR_STATE_COUNT,
};

struct actuator_event {
    enum actuator_event_kind kind;
    enum actuator_action action;
    char actuator[ACTUATOR_NAME_SIZE]; // summary: the confirmed one, or ""
    enum actuator_kind driver;         // not in a summary without an actuator
    bool simulated;
    uint32_t attempt;                  // from 1; summary: attempts in all
    enum actuator_state state;         // as last read
    bool confirmed;                    // summary: the action is true
    char detail[ACTUATOR_DETAIL_SIZE]; // printable ASCII; may quote a device
};

const char *actuator_event_name(enum actuator_event_kind kind);
const char *actuator_state_name(enum actuator_state state);

// Writes the line with its newline. `detail` is made printable. Returns its length, which is below
// ACTUATOR_LINE_MAX.
size_t actuator_event_format(const struct actuator_event *event, char line[ACTUATOR_LINE_MAX]);

// Reads a line without its newline; the program is not trusted. Returns 0 or -1.
int actuator_event_parse(const char *line, size_t length, struct actuator_event *event,
                         struct error *err);

#endif
