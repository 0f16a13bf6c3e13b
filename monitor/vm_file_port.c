// SPDX-License-Identifier: Apache-2.0
// Reads the ports of a VM file.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Memory that the buffers of one port may take if the file does not say how many requests it takes
// at once.
#define DEFAULT_BUFFERS_BYTES (8u << 20)
#define DEFAULT_IN_FLIGHT_MIN 4u

#define DEFAULT_QUEUE_SIZE 64u

// Where a backend runs.
enum port_process {
    PROCESS_NEVER,  // in the VMM
    PROCESS_MAY,    // in the VMM unless the file says otherwise
    PROCESS_ALWAYS, // in a process of its own
};

// What a port of a kind can be asked for. Numbers are those of ports/port_abi.h.
struct port_kind_rules {
    const char *name;
    uint32_t number;
    const char *operations[8];
    uint32_t operation_numbers[8]; // in the order of the names
    size_t operation_count;
    const char *inward; // what comes from outside, for rules of policy; NULL: nothing does
    uint32_t inward_number;
    uint32_t most_bytes;    // of a request, of a reply
    uint32_t default_bytes; // of either
    uint32_t queue_size;    // the default; 0: DEFAULT_QUEUE_SIZE
    enum port_process process;
    // Reads "settings": what VMM and backend need goes to config->options, what is longer and only
    // for a backend's program is allocated at settings->bytes. NULL: there are none.
    int (*read_settings)(const struct json_place *place, struct vmm_port_config *config,
                         struct vm_settings *settings, struct error *err);
    bool needs_settings;
    void (*set_defaults)(struct vmm_port_config *config); // changes the common ones, or NULL
};

static const struct port_kind_rules port_kinds[] = {
    {
        .name = "console",
        .number = 1,
        .operations = {"write", "read"},
        .operation_numbers = {1, 2},
        .operation_count = 2,
        .most_bytes = 4096,
        .default_bytes = 4096,
    },
    {
        .name = "loopback",
        .number = 2,
        .operations = {"echo", "discard", "generate"},
        .operation_numbers = {1, 2, 3},
        .operation_count = 3,
        .most_bytes = 1u << 20,
        .default_bytes = 65536,
        .process = PROCESS_MAY,
    },
    {
        .name = "message",
        .number = 3,
        .operations = {"send", "receive"},
        .operation_numbers = {1, 2},
        .operation_count = 2,
        .most_bytes = 1u << 20,
        .default_bytes = 65536,
    },
    {
        .name = "clock",
        .number = 4,
        .operations = {"now", "monotonic"},
        .operation_numbers = {1, 2},
        .operation_count = 2,
        .most_bytes = 64,
        .default_bytes = 64,
        .read_settings = vm_file_read_clock,
        .set_defaults = vm_file_clock_defaults,
    },
    {
        .name = "entropy",
        .number = 5,
        .operations = {"read"},
        .operation_numbers = {1},
        .operation_count = 1,
        .most_bytes = 4096,
        .default_bytes = 4096,
        .read_settings = vm_file_read_entropy,
    },
    {
        .name = "log",
        .number = 6,
        .operations = {"write"},
        .operation_numbers = {1},
        .operation_count = 1,
        .most_bytes = 4096,
        .default_bytes = 4096,
        .read_settings = vm_file_read_log,
        .set_defaults = vm_file_log_defaults,
    },
    {
        .name = "store",
        .number = 7,
        .operations = {"get", "list", "search", "put", "delete"},
        .operation_numbers = {1, 2, 3, 4, 5},
        .operation_count = 5,
        .most_bytes = 1u << 20,
        .default_bytes = 65536,
        .process = PROCESS_ALWAYS,
        .read_settings = vm_file_read_store,
        .needs_settings = true,
        .set_defaults = vm_file_store_defaults,
    },
    {
        .name = "http",
        .number = 8,
        .operations = {"fetch", "open", "read", "close"},
        .operation_numbers = {1, 2, 3, 4},
        .operation_count = 4,
        .most_bytes = 1u << 20,
        .default_bytes = 65536,
        .process = PROCESS_ALWAYS,
        .read_settings = vm_file_read_http,
        .needs_settings = true,
        .set_defaults = vm_file_http_defaults,
    },
    {
        .name = "tool",
        .number = VMM_PORT_TOOL,
        .operations = {"list", "call"},
        .operation_numbers = {1, 2},
        .operation_count = 2,
        .most_bytes = 1u << 20,
        .default_bytes = 65536,
        .process = PROCESS_ALWAYS,
        .read_settings = vm_file_read_tool,
        .needs_settings = true,
    },
    {
        .name = "serve",
        .number = VMM_PORT_SERVE,
        .operations = {"receive", "piece", "answer"},
        .operation_numbers = {1, 2, 3},
        .operation_count = 3,
        .inward = "prompt",
        .inward_number = 4,
        .most_bytes = 1u << 20,
        .default_bytes = 256u << 10,
        .process = PROCESS_ALWAYS,
        .read_settings = vm_file_read_serve,
        .needs_settings = true,
        .set_defaults = vm_file_serve_defaults,
    },
    {
        .name = "block",
        .number = VMM_PORT_BLOCK,
        .operations = {"read", "write", "flush", "discard", "write-zeroes"},
        .operation_numbers = {1, 2, 3, 4, 5},
        .operation_count = 5,
        .most_bytes = 1u << 20,
        .default_bytes = 1u << 20,
        .process = PROCESS_ALWAYS,
        .read_settings = vm_file_read_block,
        .needs_settings = true,
        .set_defaults = vm_file_block_defaults,
    },
};

#define FEATURE_INDIRECT 1u

// Largest request or reply of any kind.
#define PORT_BYTES_MAX (1u << 20)

// What the readers of one port fill. The kind comes first: the others depend on it.
struct port_reader {
    struct vmm_port_config config;
    const struct port_kind_rules *kind;
    struct vm_restart restart;
    bool settings_given;
    struct vm_settings *settings; // of the VM, at the port's index
};

static uint64_t all_operations(const struct port_kind_rules *kind)
{
    uint64_t operations = 0;
    for (size_t i = 0; i < kind->operation_count; i++)
        operations |= 1ull << kind->operation_numbers[i];
    return operations;
}

static struct vmm_port_config port_defaults(const struct port_kind_rules *kind)
{
    struct vmm_port_config config = {
        .kind = kind->number,
        .mode = VMM_PORT_ADAPTIVE,
        .operations = all_operations(kind),
        .queue_size = kind->queue_size ? kind->queue_size : DEFAULT_QUEUE_SIZE,
        .queue_count = 1,
        .max_request_bytes = kind->default_bytes,
        .max_reply_bytes = kind->default_bytes,
        .features = FEATURE_INDIRECT,
        .closed_at_probation = 1,
        .timeout_ms = 10000,
        .process = kind->process == PROCESS_ALWAYS,
    };
    snprintf(config.name, sizeof(config.name), "%s", kind->name);
    if (kind->set_defaults)
        kind->set_defaults(&config);
    return config;
}

// What follows from the other keys.
static void complete_port(struct vmm_port_config *config)
{
    if (config->in_flight)
        return;
    uint64_t each = (uint64_t)config->max_request_bytes + config->max_reply_bytes;
    uint64_t fit = DEFAULT_BUFFERS_BYTES / (each ? each : 1);
    if (fit < DEFAULT_IN_FLIGHT_MIN)
        fit = DEFAULT_IN_FLIGHT_MIN;
    config->in_flight = fit < VMM_MAX_IN_FLIGHT ? (uint32_t)fit : VMM_MAX_IN_FLIGHT;
}

static bool has_port(const struct vm_description *vm, const char *name)
{
    for (uint32_t i = 0; i < vm->port_count; i++) {
        if (!strcmp(vm->ports[i].name, name))
            return true;
    }
    return false;
}

static int read_port_kind(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    const char *names[COUNT(port_kinds)];
    size_t index;
    for (size_t i = 0; i < COUNT(port_kinds); i++)
        names[i] = port_kinds[i].name;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->kind = &port_kinds[index];
    reader->config = port_defaults(reader->kind);
    return 0;
}

static int read_port_name(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    return vm_file_read_name(place, reader->config.name, sizeof(reader->config.name), err);
}

static int read_port_mode(const struct json_place *place, void *target, struct error *err)
{
    static const char *const modes[] = {
        [VMM_PORT_ADAPTIVE] = "adaptive",
        [VMM_PORT_BUSY] = "busy",
        [VMM_PORT_DOORBELL] = "doorbell",
    };
    struct port_reader *reader = target;
    size_t index;
    if (json_read_name(place, modes, COUNT(modes), &index, err))
        return -1;
    reader->config.mode = (uint32_t)index;
    return 0;
}

static int read_operation(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    size_t index;
    if (json_read_name(place, reader->kind->operations, reader->kind->operation_count, &index, err))
        return -1;
    uint64_t bit = 1ull << reader->kind->operation_numbers[index];
    if (reader->config.operations & bit)
        return json_refuse(place, JSON_PART_VALUE, err, "'%s' is listed twice",
                           reader->kind->operations[index]);
    reader->config.operations |= bit;
    return 0;
}

static int read_operations(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    reader->config.operations = 0;
    return json_read_array(place, SIZE_MAX, read_operation, reader, err);
}

static int read_queue_size(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    if (json_field_u32(place, target, err))
        return -1;
    uint32_t size = reader->config.queue_size;
    if (size & (size - 1))
        return json_refuse(place, JSON_PART_VALUE, err, "%" PRIu32 " is not a power of two", size);
    return 0;
}

static int read_most_bytes(const struct json_place *place, const struct port_kind_rules *kind,
                           uint32_t *target, struct error *err)
{
    uint64_t bytes;
    if (json_read_integer(place, 1, kind->most_bytes, &bytes, err))
        return -1;
    *target = (uint32_t)bytes;
    return 0;
}

static int read_max_request_bytes(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    return read_most_bytes(place, reader->kind, &reader->config.max_request_bytes, err);
}

static int read_max_reply_bytes(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    return read_most_bytes(place, reader->kind, &reader->config.max_reply_bytes, err);
}

static int read_feature(const struct json_place *place, void *target, struct error *err)
{
    static const char *const features[] = {"indirect", "event-index"};
    struct port_reader *reader = target;
    size_t index;
    if (json_read_name(place, features, COUNT(features), &index, err))
        return -1;
    if (reader->config.features >> index & 1)
        return json_refuse(place, JSON_PART_VALUE, err, "'%s' is listed twice", features[index]);
    reader->config.features |= 1u << index;
    return 0;
}

static int read_features(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    reader->config.features = 0;
    return json_read_array(place, SIZE_MAX, read_feature, reader, err);
}

static int read_process(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    bool process;
    if (json_read_bool(place, &process, err))
        return -1;
    if (process && reader->kind->process == PROCESS_NEVER)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "the backend of a %s cannot be a process of its own",
                           reader->kind->name);
    if (!process && reader->kind->process == PROCESS_ALWAYS)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "the backend of a %s is always a process of its own",
                           reader->kind->name);
    reader->config.process = process;
    return 0;
}

static int read_settings(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    if (!reader->kind->read_settings)
        return json_refuse(place, JSON_PART_KEY, err, "a %s has no settings", reader->kind->name);
    reader->settings_given = true;
    return reader->kind->read_settings(place, &reader->config, reader->settings, err);
}

static int read_restart(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"max", json_field_u32, false, offsetof(struct vm_restart, max), 0, 1000},
        {"delay_ms", json_field_u32, false, offsetof(struct vm_restart, delay_ms), 0, 60000},
    };
    struct port_reader *reader = target;
    return json_read_object(place, fields, COUNT(fields), &reader->restart, err);
}

#define LIMIT(member)                                                                              \
    {                                                                                              \
#member, json_field_u64, false, offsetof(struct limits_config, member), 0, VM_LIMIT_MAX    \
    }

int vm_file_read_limits(const struct json_place *place, struct limits_config *limits,
                        struct error *err)
{
    static const struct json_field fields[] = {
        LIMIT(requests_per_s),      LIMIT(request_burst),    LIMIT(bytes_per_s),
        LIMIT(byte_burst),          LIMIT(requests_total),   LIMIT(bytes_total),
        LIMIT(reply_bytes_per_s),   LIMIT(reply_byte_burst), LIMIT(reply_bytes_total),
        LIMIT(capacity_bits_per_s),
    };
    return json_read_object(place, fields, COUNT(fields), limits, err);
}

static int read_limits(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    struct json_place rate;
    // A kind's default burst belongs to its default rate.
    if (json_object_is_type(place->value, json_type_object) &&
        json_member(place, "requests_per_s", &rate))
        reader->config.limits.request_burst = 0;
    return vm_file_read_limits(place, &reader->config.limits, err);
}

static int read_audit(const struct json_place *place, void *target, struct error *err)
{
    static const char *const modes[] = {
        [VMM_AUDIT_METADATA] = "metadata",
        [VMM_AUDIT_DIGEST] = "digest",
        [VMM_AUDIT_FULL] = "full",
    };
    struct port_reader *reader = target;
    size_t index;
    if (json_read_name(place, modes, COUNT(modes), &index, err))
        return -1;
    reader->config.audit = (uint32_t)index;
    return 0;
}

// A value that the file does not give.
#define NOT_GIVEN UINT64_MAX

// What an object at "probation" may say.
struct probation_reader {
    uint64_t max_request_bytes;
    uint64_t max_reply_bytes;
    struct limits_config limits;
};

#define NO_RATE SIZE_MAX

// Every limit of a port. A burst belongs to a rate: 0 stands for one second's worth of that.
static const struct {
    const char *name;
    size_t at;
    size_t rate_at;
    bool is_rate;
} limit_rules[] = {
#define RATE(member)                                                                               \
    {                                                                                              \
#member, offsetof(struct limits_config, member), NO_RATE, true                             \
    }
#define TOTAL(member)                                                                              \
    {                                                                                              \
#member, offsetof(struct limits_config, member), NO_RATE, false                            \
    }
#define BURST(member, rate)                                                                        \
    {                                                                                              \
#member, offsetof(struct limits_config, member), offsetof(struct limits_config, rate),     \
            false                                                                                  \
    }
    RATE(requests_per_s),     BURST(request_burst, requests_per_s),
    RATE(bytes_per_s),        BURST(byte_burst, bytes_per_s),
    TOTAL(requests_total),    TOTAL(bytes_total),
    RATE(reply_bytes_per_s),  BURST(reply_byte_burst, reply_bytes_per_s),
    TOTAL(reply_bytes_total), RATE(capacity_bits_per_s),
#undef RATE
#undef TOTAL
#undef BURST
};

static uint64_t *limit_of(struct limits_config *limits, size_t at)
{
    return (uint64_t *)(void *)((char *)limits + at);
}

static uint64_t a_tenth(uint64_t value)
{
    return value < 10 ? !!value : value / 10;
}

static uint32_t a_half(uint32_t value)
{
    return value < 2 ? value : value / 2;
}

// What holds at Probation if the file says nothing of it: a tenth of each rate and burst, half of
// the sizes, the same totals.
static void set_tight_defaults(struct vmm_port_config *config)
{
    config->tight_request_bytes = a_half(config->max_request_bytes);
    config->tight_reply_bytes = a_half(config->max_reply_bytes);
    config->tight_limits = config->limits;
    for (size_t i = 0; i < COUNT(limit_rules); i++) {
        uint64_t *limit = limit_of(&config->tight_limits, limit_rules[i].at);
        size_t rate_at = limit_rules[i].rate_at;
        if (rate_at != NO_RATE && !*limit_of(&config->limits, rate_at))
            *limit = 0; // of no rate: one that comes has a burst of its own
        else if (limit_rules[i].is_rate || rate_at != NO_RATE)
            *limit = a_tenth(*limit);
    }
}

// The bound that a limit of Standard is; UINT64_MAX: none.
static uint64_t bound_of(struct limits_config *limits, size_t rule)
{
    uint64_t value = *limit_of(limits, limit_rules[rule].at);
    if (limit_rules[rule].rate_at != NO_RATE) {
        uint64_t rate = *limit_of(limits, limit_rules[rule].rate_at);
        if (!rate)
            return UINT64_MAX;
        value = value ? value : rate;
    }
    return value ? value : UINT64_MAX;
}

static int refuse_looser(const struct json_place *object, const char *key, uint64_t bound,
                         struct error *err)
{
    struct json_place place;
    bool given = json_member(object, key, &place);
    return json_refuse(given ? &place : object, JSON_PART_VALUE, err,
                       "looser than %" PRIu64 ", which holds at Standard%s", bound,
                       given ? "" : " (give a burst)");
}

static int take_tight_sizes(const struct json_place *place, struct vmm_port_config *config,
                            const struct probation_reader *given, struct error *err)
{
    if (given->max_request_bytes != NOT_GIVEN) {
        if (given->max_request_bytes > config->max_request_bytes)
            return refuse_looser(place, "max_request_bytes", config->max_request_bytes, err);
        config->tight_request_bytes = (uint32_t)given->max_request_bytes;
    }
    if (given->max_reply_bytes != NOT_GIVEN) {
        if (given->max_reply_bytes > config->max_reply_bytes)
            return refuse_looser(place, "max_reply_bytes", config->max_reply_bytes, err);
        config->tight_reply_bytes = (uint32_t)given->max_reply_bytes;
    }
    return 0;
}

static int take_tight_limits(const struct json_place *place, struct vmm_port_config *config,
                             struct probation_reader *given, struct error *err)
{
    for (size_t i = 0; i < COUNT(limit_rules); i++) {
        uint64_t value = *limit_of(&given->limits, limit_rules[i].at);
        if (value != NOT_GIVEN)
            *limit_of(&config->tight_limits, limit_rules[i].at) = value;
    }
    // Compared as they are in force: a burst that nobody gave follows its rate.
    for (size_t i = 0; i < COUNT(limit_rules); i++) {
        uint64_t bound = bound_of(&config->limits, i);
        if (bound_of(&config->tight_limits, i) > bound)
            return refuse_looser(place, limit_rules[i].name, bound, err);
    }
    return 0;
}

#define TIGHT(member)                                                                              \
    {                                                                                              \
#member, json_field_u64, false, offsetof(struct probation_reader, limits.member), 0,       \
            VM_LIMIT_MAX                                                                           \
    }

// Behind everything else: what it says is compared with the rest of the port.
static int read_probation(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"max_request_bytes", json_field_u64, false,
         offsetof(struct probation_reader, max_request_bytes), 1, PORT_BYTES_MAX},
        {"max_reply_bytes", json_field_u64, false,
         offsetof(struct probation_reader, max_reply_bytes), 1, PORT_BYTES_MAX},
        TIGHT(requests_per_s),
        TIGHT(request_burst),
        TIGHT(bytes_per_s),
        TIGHT(byte_burst),
        TIGHT(requests_total),
        TIGHT(bytes_total),
        TIGHT(reply_bytes_per_s),
        TIGHT(reply_byte_burst),
        TIGHT(reply_bytes_total),
        TIGHT(capacity_bits_per_s),
    };
    struct port_reader *reader = target;
    struct probation_reader given;
    bool open = true;
    set_tight_defaults(&reader->config);
    if (json_object_is_type(place->value, json_type_boolean)) {
        if (json_read_bool(place, &open, err))
            return -1;
    } else if (json_object_is_type(place->value, json_type_object)) {
        memset(&given, 0xff, sizeof(given)); // NOT_GIVEN
        if (json_read_object(place, fields, COUNT(fields), &given, err) ||
            take_tight_sizes(place, &reader->config, &given, err) ||
            take_tight_limits(place, &reader->config, &given, err))
            return -1;
    } else {
        return json_refuse(place, JSON_PART_VALUE, err,
                           "true, false or an object of limits is expected");
    }
    reader->config.closed_at_probation = !open;
    return 0;
}

int vm_file_read_port(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "kind", .read = read_port_kind, .required = true}, // first: fills in defaults
        {.key = "name", .read = read_port_name},
        {.key = "mode", .read = read_port_mode},
        {.key = "operations", .read = read_operations},
        {"queue_size", read_queue_size, false, offsetof(struct port_reader, config.queue_size), 1,
         1024},
        {"queues", json_field_u32, false, offsetof(struct port_reader, config.queue_count), 1,
         VMM_MAX_QUEUES},
        {.key = "features", .read = read_features},
        {.key = "max_request_bytes", .read = read_max_request_bytes},
        {.key = "max_reply_bytes", .read = read_max_reply_bytes},
        {"in_flight", json_field_u32, false, offsetof(struct port_reader, config.in_flight), 1,
         VMM_MAX_IN_FLIGHT},
        {.key = "process", .read = read_process},
        {"timeout_ms", json_field_u32, false, offsetof(struct port_reader, config.timeout_ms), 1,
         3600000},
        {.key = "restart", .read = read_restart},
        {.key = "settings", .read = read_settings},
        {.key = "limits", .read = read_limits},
        {.key = "audit", .read = read_audit},
        {.key = "probation", .read = read_probation}, // last: compared with the others
    };
    struct vm_description *vm = target;
    struct port_reader port = {
        .restart = VM_RESTART_DEFAULT,
        .settings = &vm->settings[vm->port_count],
    };
    struct json_place name;
    if (json_read_object(place, fields, COUNT(fields), &port, err))
        return -1;
    if (port.config.closed_at_probation)
        set_tight_defaults(&port.config);
    if (has_port(vm, port.config.name))
        return json_refuse(json_member(place, "name", &name) ? &name : place, JSON_PART_VALUE, err,
                           "another port is named '%s'", port.config.name);
    if (port.kind->needs_settings && !port.settings_given)
        return json_refuse(place, JSON_PART_VALUE, err, "a %s needs settings", port.kind->name);
    complete_port(&port.config);
    vm->restarts[vm->port_count] = port.restart;
    vm->ports[vm->port_count++] = port.config;
    return 0;
}

int vm_description_add_port(struct vm_description *vm, const char *kind, const char *name,
                            struct error *err)
{
    char excerpt[JSON_EXCERPT_SIZE];
    char known[128] = "";
    const struct port_kind_rules *rules = NULL;
    for (size_t i = 0; i < COUNT(port_kinds); i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", port_kinds[i].name);
        if (!strcmp(kind, port_kinds[i].name))
            rules = &port_kinds[i];
    }
    if (!rules)
        return error_set(err, EXIT_STATUS_USAGE, 0, "port kind '%s' is not known (known: %s)",
                         json_excerpt(excerpt, kind), known);
    if (rules->needs_settings)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "a %s needs settings: describe the port in a VM file", kind);
    struct vmm_port_config config = port_defaults(rules);
    if (name && vm_file_check_name(name, sizeof(config.name), err))
        return -1;
    if (name)
        memcpy(config.name, name, strlen(name) + 1);
    if (vm->port_count == VMM_MAX_PORTS)
        return error_set(err, EXIT_STATUS_USAGE, 0, "more than %u ports", VMM_MAX_PORTS);
    if (has_port(vm, config.name))
        return error_set(err, EXIT_STATUS_USAGE, 0, "another port is named '%s'", config.name);
    complete_port(&config);
    set_tight_defaults(&config);
    vm->restarts[vm->port_count] = (struct vm_restart)VM_RESTART_DEFAULT;
    vm->ports[vm->port_count++] = config;
    return 0;
}

static const struct port_kind_rules *kind_rules(uint32_t number)
{
    for (size_t i = 0; i < COUNT(port_kinds); i++) {
        if (port_kinds[i].number == number)
            return &port_kinds[i];
    }
    return NULL;
}

const char *vm_port_kind_name(uint32_t kind)
{
    const struct port_kind_rules *rules = kind_rules(kind);
    return rules ? rules->name : NULL;
}

const char *vm_port_operation_name(uint32_t kind, uint32_t number)
{
    const struct port_kind_rules *rules = kind_rules(kind);
    for (size_t i = 0; rules && i < rules->operation_count; i++) {
        if (rules->operation_numbers[i] == number)
            return rules->operations[i];
    }
    return rules && rules->inward && rules->inward_number == number ? rules->inward : NULL;
}
