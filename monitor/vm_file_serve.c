// SPDX-License-Identifier: Apache-2.0
// The settings of a serve port.
#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "number.h"
#include "serve_settings.h"
#include "utf8.h"
#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DEFAULT_QUEUE       16u
#define DEFAULT_CONNECTIONS 64u
#define DEFAULT_DEADLINE_MS 600000u
#define DEADLINE_MAX_MS     86400000u

// The VMM waits that long for the process, which says something at least twice in this time.
#define PROCESS_MS 20000u

void vm_file_serve_defaults(struct vmm_port_config *config)
{
    config->timeout_ms = PROCESS_MS;
    config->in_flight = 4;
}

static int read_model(const struct json_place *place, void *target, struct error *err)
{
    struct serve_settings *settings = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    size_t length = strlen(text);
    bool sound = length && length < SERVE_MODEL_MAX;
    for (size_t at = 0; at < length && sound; at += utf8_length(text + at, length - at))
        sound = (unsigned char)text[at] > 0x20 && text[at] != 0x7f;
    if (!sound)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a name of 1 to %u bytes without spaces is expected",
                           SERVE_MODEL_MAX - 1);
    memcpy(settings->grant.model, text, length + 1);
    return 0;
}

static int read_unix(const struct json_place *place, const char *path, struct serve_place *listen,
                     struct error *err)
{
    listen->is_unix = true;
    if (!*path)
        return 0;
    if (*path != ':' || path[1] != '/' || strlen(path) >= sizeof(listen->path))
        return json_refuse(place, JSON_PART_VALUE, err, "unix:/PATH is expected");
    memcpy(listen->path, path + 1, strlen(path));
    return 0;
}

// Only the loopback: who wants more puts something in front that knows whom it talks to.
static int read_tcp(const struct json_place *place, const char *text, struct serve_place *listen,
                    struct error *err)
{
    char host[64];
    struct in_addr ipv4;
    struct error inner;
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host) ||
        number_parse(colon + 1, 1, 65535, &port, &inner) < 0)
        return json_refuse(place, JSON_PART_VALUE, err, "tcp:ADDRESS:PORT is expected");
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (strcmp(host, "[::1]") == 0) {
        const struct sockaddr_in6 address = {
            .sin6_family = AF_INET6,
            .sin6_port = htons((uint16_t)port),
            .sin6_addr = in6addr_loopback,
        };
        memcpy(&listen->address, &address, sizeof(address));
        listen->address_length = sizeof(address);
        return 0;
    }
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &ipv4) != 1 ||
        ntohl(ipv4.s_addr) >> 24 != 127)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "an address of the loopback is expected: 127.0.0.1 or [::1]");
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr = ipv4,
    };
    memcpy(&listen->address, &address, sizeof(address));
    listen->address_length = sizeof(address);
    return 0;
}

static int read_listener(const struct json_place *place, void *target, struct error *err)
{
    struct serve_settings *settings = target;
    struct serve_place *listen = &settings->places[settings->grant.listeners++];
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (strncmp(text, "unix", 4) == 0)
        return read_unix(place, text + 4, listen, err);
    if (strncmp(text, "tcp:", 4) == 0)
        return read_tcp(place, text + 4, listen, err);
    return json_refuse(place, JSON_PART_VALUE, err,
                       "\"unix\", \"unix:/PATH\" or \"tcp:127.0.0.1:PORT\" is expected");
}

static int read_listen(const struct json_place *place, void *target, struct error *err)
{
    struct serve_settings *settings = target;
    settings->grant.listeners = 0;
    settings->places[0].is_unix = false;
    if (json_read_array(place, SERVE_LISTENERS_MAX, read_listener, target, err))
        return -1;
    return settings->grant.listeners ? 0
                                     : json_refuse(place, JSON_PART_VALUE, err,
                                                   "at least one place to listen at is expected");
}

static int read_token_file(const struct json_place *place, void *target, struct error *err)
{
    struct serve_settings *settings = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (text[0] != '/' || strlen(text) >= sizeof(settings->token_file))
        return json_refuse(place, JSON_PART_VALUE, err, "an absolute path is expected");
    memcpy(settings->token_file, text, strlen(text) + 1);
    return 0;
}

int vm_file_read_serve(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "model", .read = read_model, .required = true},
        {.key = "listen", .read = read_listen},
        {.key = "token_file", .read = read_token_file},
        {"queue", json_field_u32, false, offsetof(struct serve_settings, grant.queue), 1,
         SERVE_QUEUE_MAX},
        {"connections", json_field_u32, false, offsetof(struct serve_settings, grant.connections),
         1, SERVE_CLIENTS_MAX},
        {"max_tokens", json_field_u32, false, offsetof(struct serve_settings, grant.max_tokens), 1,
         1u << 24},
        {"deadline_ms", json_field_u64, false, offsetof(struct serve_settings, grant.deadline_ms),
         1, DEADLINE_MAX_MS},
    };
    struct serve_settings *read = calloc(1, sizeof(*read));
    (void)config;
    if (!read)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a serve port");
    *settings = (struct vm_settings){.bytes = read, .length = sizeof(*read)};
    read->grant.queue = DEFAULT_QUEUE;
    read->grant.connections = DEFAULT_CONNECTIONS;
    read->grant.deadline_ms = DEFAULT_DEADLINE_MS;
    read->grant.created_s = (uint64_t)time(NULL);
    read->grant.listeners = 1;
    read->places[0].is_unix = true;
    for (unsigned i = 0; i < SERVE_LISTENERS_MAX; i++)
        read->places[i].fd = -1;
    return json_read_object(place, fields, COUNT(fields), read, err);
}
