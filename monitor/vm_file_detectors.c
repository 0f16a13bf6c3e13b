// SPDX-License-Identifier: Apache-2.0
// Reads "detectors" of a VM file.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hex.h"
#include "vm_file_internal.h"
#include "whole_file.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct reader {
    struct detector_settings settings;
    unsigned kind;                      // that is being read
    struct detector_external *external; // the same
};

static int read_level(const struct json_place *place, uint32_t *level, struct error *err)
{
    static const char *const names[] = {"none", "probation", "severed", "offline"};
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    *level = (uint32_t)index; // LEVEL_STANDARD: none
    return 0;
}

static int read_own_level(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    return read_level(place, &reader->settings.level[reader->kind], err);
}

#define NUMBER(key, member, least, most)                                                           \
    {                                                                                              \
        key, json_field_u32, false, offsetof(struct reader, settings.member), least, most          \
    }

static int read_token_bytes(const struct json_place *place, struct detector_token *token,
                            const void *bytes, size_t length, struct error *err)
{
    if (length < DETECTOR_TOKEN_MIN || length > DETECTOR_TOKEN_MAX)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a token has %u to %u bytes, this one has %zu", DETECTOR_TOKEN_MIN,
                           DETECTOR_TOKEN_MAX, length);
    memcpy(token->bytes, bytes, length);
    token->length = (uint32_t)length;
    return 0;
}

static struct detector_token *next_token(struct reader *reader)
{
    return &reader->settings.tokens[reader->settings.token_count];
}

static int read_token_text(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    return json_read_text(place, &text, err) ||
                   read_token_bytes(place, next_token(target), text, strlen(text), err)
               ? -1
               : 0;
}

static int read_token_hex(const struct json_place *place, void *target, struct error *err)
{
    uint8_t bytes[DETECTOR_TOKEN_MAX];
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    size_t length = strlen(text) / 2;
    if (length > sizeof(bytes) || strlen(text) % 2 || !hex_parse(text, bytes, length))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "lower-case hexadecimal digits of at most %u bytes are expected",
                           DETECTOR_TOKEN_MAX);
    return read_token_bytes(place, next_token(target), bytes, length, err);
}

// The file's bytes without a newline at the end.
static int read_token_file(const struct json_place *place, void *target, struct error *err)
{
    cleanup_free char *path = NULL;
    cleanup_free char *text = NULL;
    size_t length;
    if (vm_file_read_path(place, &path, err) ||
        whole_file_read(path, DETECTOR_TOKEN_MAX + 1, &text, &length, err) < 0)
        return -1;
    if (length && text[length - 1] == '\n')
        length--;
    return read_token_bytes(place, next_token(target), text, length, err);
}

static int read_token(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "text", .read = read_token_text},
        {.key = "hex", .read = read_token_hex},
        {.key = "file", .read = read_token_file},
    };
    struct reader *reader = target;
    if (json_expect(place, json_type_object, err))
        return -1;
    if (json_object_object_length(place->value) != 1)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a token is one of \"text\", \"hex\" and \"file\"");
    if (json_read_object(place, fields, COUNT(fields), reader, err))
        return -1;
    reader->settings.token_count++;
    return 0;
}

static int read_tokens(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, DETECTOR_MAX_TOKENS, read_token, target, err);
}

static int read_kind(const struct json_place *place, void *target, unsigned kind,
                     const struct json_field *fields, size_t count, struct error *err)
{
    struct reader *reader = target;
    reader->kind = kind;
    reader->settings.on[kind] = true;
    return json_read_object(place, fields, count, reader, err);
}

#define KIND(function, kind, ...)                                                                  \
    static int function(const struct json_place *place, void *target, struct error *err)           \
    {                                                                                              \
        static const struct json_field fields[] = {{.key = "level", .read = read_own_level},       \
                                                   __VA_ARGS__};                                   \
        return read_kind(place, target, kind, fields, COUNT(fields), err);                         \
    }

KIND(read_rate, DETECTOR_RATE, NUMBER("window_ms", rate_window_ms, 10, 3600000),
     NUMBER("warm_up", rate_warm_up, 1, 1000000), NUMBER("deviations", rate_deviations, 1, 1000),
     NUMBER("requests", rate_requests, 0, UINT32_MAX), NUMBER("bytes", rate_bytes, 0, UINT32_MAX))
KIND(read_entropy, DETECTOR_ENTROPY, NUMBER("min_bytes", entropy_bytes, 16, 1u << 20),
     NUMBER("millibits", entropy_millibits, 1000, 8000), NUMBER("run", entropy_run, 16, 1u << 20),
     NUMBER("count", entropy_count, 1, UINT32_MAX))
KIND(read_canary, DETECTOR_CANARY, {.key = "tokens", .read = read_tokens, .required = true})
KIND(read_denials, DETECTOR_DENIALS, NUMBER("count", denials_count, 1, UINT32_MAX),
     NUMBER("within_ms", denials_within_ms, 1, 86400000))
KIND(read_violations, DETECTOR_VIOLATIONS, NUMBER("count", violations_count, 1, UINT32_MAX))
KIND(read_timing, DETECTOR_TIMING, NUMBER("min_gap_us", timing_gap_us, 1, 60000000),
     NUMBER("windows", timing_windows, 1, 1000000))
KIND(read_doorbells, DETECTOR_DOORBELLS, NUMBER("per_s", doorbells_per_s, 1, UINT32_MAX))

static int read_external_name(const struct json_place *place, void *target, struct error *err)
{
    struct detector_external *external = ((struct reader *)target)->external;
    return vm_file_read_name(place, external->name, sizeof(external->name), err);
}

static int read_external_socket(const struct json_place *place, void *target, struct error *err)
{
    struct reader *reader = target;
    cleanup_free char *path = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    if (strlen(path) >= sizeof(reader->external->socket))
        return json_refuse(place, JSON_PART_VALUE, err, "a socket's path has at most %zu bytes",
                           sizeof(reader->external->socket) - 1);
    memcpy(reader->external->socket, path, strlen(path) + 1);
    return 0;
}

static int read_external_timeout(const struct json_place *place, void *target, struct error *err)
{
    uint64_t value;
    if (json_read_integer(place, 1, 60000, &value, err))
        return -1;
    ((struct reader *)target)->external->timeout_ms = (uint32_t)value;
    return 0;
}

static int read_external_level(const struct json_place *place, void *target, struct error *err)
{
    return read_level(place, &((struct reader *)target)->external->level, err);
}

static int read_external_failure(const struct json_place *place, void *target, struct error *err)
{
    return read_level(place, &((struct reader *)target)->external->on_failure, err);
}

static int read_external(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "name", .read = read_external_name, .required = true},
        {.key = "socket", .read = read_external_socket, .required = true},
        {.key = "timeout_ms", .read = read_external_timeout},
        {.key = "level", .read = read_external_level},
        {.key = "on_failure", .read = read_external_failure},
    };
    struct reader *reader = target;
    struct detector_settings *settings = &reader->settings;
    reader->external = &settings->externals[settings->external_count];
    *reader->external = (struct detector_external){
        .timeout_ms = 1000, .level = LEVEL_OFFLINE, .on_failure = LEVEL_SEVERED};
    if (json_read_object(place, fields, COUNT(fields), reader, err))
        return -1;
    settings->external_count++;
    return 0;
}

static int read_externals(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, DETECTOR_MAX_EXTERNALS, read_external, target, err);
}

int vm_file_read_detectors(const struct json_place *place, struct detector_settings *settings,
                           struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "rate", .read = read_rate},
        {.key = "entropy", .read = read_entropy},
        {.key = "canary", .read = read_canary},
        {.key = "denials", .read = read_denials},
        {.key = "violations", .read = read_violations},
        {.key = "timing", .read = read_timing},
        {.key = "doorbells", .read = read_doorbells},
        {.key = "external", .read = read_externals},
    };
    struct reader reader = {0};
    detector_settings_defaults(&reader.settings);
    if (json_read_object(place, fields, COUNT(fields), &reader, err))
        return -1;
    *settings = reader.settings;
    return 0;
}
