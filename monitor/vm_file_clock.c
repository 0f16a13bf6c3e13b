// SPDX-License-Identifier: Apache-2.0
// The settings of a clock.
#include "clock.h"
#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DEFAULT_RESOLUTION_MS 1000u

// Operation monotonic (ports/port_abi.h): the date has to be granted by name.
#define OPERATION_MONOTONIC 2u

struct clock_settings {
    uint32_t resolution_ms;
    uint32_t jitter_ms;
    bool quantise_replies;
};

void vm_file_clock_defaults(struct vmm_port_config *config)
{
    config->operations = 1ull << OPERATION_MONOTONIC;
    config->options.clock.resolution_ns = DEFAULT_RESOLUTION_MS * NS_PER_MS;
}

int vm_file_read_clock(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {
        {"resolution_ms", json_field_u32, false, offsetof(struct clock_settings, resolution_ms),
         VMM_CLOCK_RESOLUTION_MIN_MS, VMM_CLOCK_RESOLUTION_MAX_MS},
        {"jitter_ms", json_field_u32, false, offsetof(struct clock_settings, jitter_ms), 0,
         VMM_CLOCK_RESOLUTION_MAX_MS},
        {"quantise_replies", json_field_bool, false,
         offsetof(struct clock_settings, quantise_replies), 0, 0},
    };
    struct clock_settings given = {.resolution_ms = DEFAULT_RESOLUTION_MS};
    struct json_place jitter;
    (void)settings; // all of it fits the options
    if (json_read_object(place, fields, COUNT(fields), &given, err))
        return -1;
    if (given.jitter_ms > given.resolution_ms)
        return json_refuse(json_member(place, "jitter_ms", &jitter) ? &jitter : place,
                           JSON_PART_VALUE, err, "%u is more than the resolution, %u",
                           given.jitter_ms, given.resolution_ms);
    config->options.clock = (struct vmm_clock_options){
        .resolution_ns = given.resolution_ms * NS_PER_MS,
        .jitter_ns = given.jitter_ms * NS_PER_MS,
        .quantises_replies = given.quantise_replies,
    };
    return 0;
}
