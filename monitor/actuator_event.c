// SPDX-License-Identifier: Apache-2.0
// Events of guillotine-actuator as lines of JSON.
#include "actuator_event.h"

#include <stdio.h>
#include <string.h>

#include "escape.h"
#include "json_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const event_names[] = {"armed",  "fired", "confirmed",
                                          "failed", "state", "summary"};
static const char *const state_names[] = {"unknown", "on", "off"};

const char *actuator_event_name(enum actuator_event_kind kind)
{
    return (size_t)kind < COUNT(event_names) ? event_names[kind] : "unknown";
}

const char *actuator_state_name(enum actuator_state state)
{
    return (size_t)state < COUNT(state_names) ? state_names[state] : "unknown";
}

// Copies a text for a JSON string: what is not printable is shown as '?', quotes and backslashes
// are escaped. `target` has room for two bytes for each.
static void quote(char *target, const char *text, size_t most)
{
    for (size_t i = 0; i < most && text[i]; i++) {
        char c = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
        if (c == '"' || c == '\\')
            *target++ = '\\';
        *target++ = c;
    }
    *target = '\0';
}

size_t actuator_event_format(const struct actuator_event *event, char line[ACTUATOR_LINE_MAX])
{
    char detail[2 * ACTUATOR_DETAIL_SIZE];
    quote(detail, event->detail, ACTUATOR_DETAIL_SIZE - 1);
    int n =
        snprintf(line, ACTUATOR_LINE_MAX,
                 "{\"event\":\"%s\",\"action\":\"%s\",\"actuator\":\"%s\",\"driver\":\"%s\","
                 "\"simulated\":%s,\"attempt\":%u,\"state\":\"%s\",\"confirmed\":%s,"
                 "\"detail\":\"%s\"}\n",
                 actuator_event_name(event->kind), actuator_action_name(event->action),
                 event->actuator, event->actuator[0] ? actuator_kind_name(event->driver) : "",
                 event->simulated ? "true" : "false", event->attempt,
                 actuator_state_name(event->state), event->confirmed ? "true" : "false", detail);
    return n > 0 ? (size_t)n : 0;
}

static int read_kind(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_event *event = target;
    size_t index;
    if (json_read_name(place, event_names, COUNT(event_names), &index, err))
        return -1;
    event->kind = (enum actuator_event_kind)index;
    return 0;
}

static int read_action(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_event *event = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    event->action = actuator_action_parse(text);
    return event->action == ACTUATOR_ACTION_COUNT
               ? json_refuse(place, JSON_PART_VALUE, err, "not an action")
               : 0;
}

static int read_actuator(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_event *event = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (strlen(text) >= sizeof(event->actuator) ||
        text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return json_refuse(place, JSON_PART_VALUE, err, "not a name");
    memcpy(event->actuator, text, strlen(text) + 1);
    return 0;
}

static int read_driver(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_event *event = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    unsigned kind = 0;
    while (*text && kind < ACTUATOR_KIND_COUNT && strcmp(text, actuator_kind_name(kind)))
        kind++;
    if (kind == ACTUATOR_KIND_COUNT)
        return json_refuse(place, JSON_PART_VALUE, err, "not a driver");
    event->driver = (enum actuator_kind)kind;
    return 0;
}

static int read_state(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_event *event = target;
    size_t index;
    if (json_read_name(place, state_names, COUNT(state_names), &index, err))
        return -1;
    event->state = (enum actuator_state)index;
    return 0;
}

static int read_detail(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_event *event = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    size_t length = 0;
    while (text[length] >= 0x20 && text[length] < 0x7f)
        length++;
    if (text[length] || length >= sizeof(event->detail))
        return json_refuse(place, JSON_PART_VALUE, err, "too long, or not printable");
    memcpy(event->detail, text, length + 1);
    return 0;
}

int actuator_event_parse(const char *line, size_t length, struct actuator_event *event,
                         struct error *err)
{
    static const struct json_field fields[] = {
        {"event", read_kind, true, 0, 0, 0},
        {"action", read_action, true, 0, 0, 0},
        {"actuator", read_actuator, true, 0, 0, 0},
        {"driver", read_driver, true, 0, 0, 0},
        {"simulated", json_field_bool, true, offsetof(struct actuator_event, simulated), 0, 0},
        {"attempt", json_field_u32, true, offsetof(struct actuator_event, attempt), 0, UINT32_MAX},
        {"state", read_state, true, 0, 0, 0},
        {"confirmed", json_field_bool, true, offsetof(struct actuator_event, confirmed), 0, 0},
        {"detail", read_detail, true, 0, 0, 0},
    };
    cleanup_json_document struct json_document document = {0};
    *event = (struct actuator_event){0};
    if (json_document_parse(&document, "guillotine-actuator", line, length, ACTUATOR_LINE_MAX, err))
        return -1;
    const struct json_place root = json_document_root(&document);
    return json_read_object(&root, fields, COUNT(fields), event, err);
}
