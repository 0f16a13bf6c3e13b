// SPDX-License-Identifier: Apache-2.0
// The settings of an http port.
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "http_settings.h"
#include "policy_pattern.h"
#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define CONNECT_MS 10000u
#define REQUEST_MS 60000u
#define STREAM_MS  600000u
#define IDLE_MS    30000u

// The VMM's own time-out comes later than this program's.
#define TIMEOUT_SPARE_MS 5000u

static const char *const method_names[HTTP_METHODS] = {"GET",   "HEAD",   "POST",   "PUT",
                                                       "PATCH", "DELETE", "OPTIONS"};

static const char secret_mark[] = "secret:";

void vm_file_http_defaults(struct vmm_port_config *config)
{
    config->timeout_ms = REQUEST_MS + TIMEOUT_SPARE_MS;
}

static int copy_text(const struct json_place *place, char *target, size_t size, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (strlen(text) >= size)
        return json_refuse(place, JSON_PART_VALUE, err, "at most %zu bytes are expected", size - 1);
    memcpy(target, text, strlen(text) + 1);
    return 0;
}

static int read_origin(const struct json_place *place, struct http_origin *origin, bool *any_label,
                       struct error *err)
{
    const char *text;
    struct error inner;
    if (json_read_text(place, &text, err))
        return -1;
    return http_origin_parse(text, origin, any_label, &inner)
               ? vm_file_refuse_because(place, &inner, err)
               : 0;
}

static int read_rule_origin(const struct json_place *place, void *target, struct error *err)
{
    struct http_rule *rule = target;
    bool any_label = false;
    if (read_origin(place, &rule->origin, &any_label, err))
        return -1;
    rule->any_label = any_label;
    return 0;
}

static int read_method(const struct json_place *place, void *target, struct error *err)
{
    size_t index;
    if (json_read_name(place, method_names, HTTP_METHODS, &index, err))
        return -1;
    ((struct http_rule *)target)->methods |= 1u << index;
    return 0;
}

static int read_methods(const struct json_place *place, void *target, struct error *err)
{
    ((struct http_rule *)target)->methods = 0;
    return json_read_array(place, HTTP_METHODS, read_method, target, err);
}

// The whole path has to match: what is inside the pattern stays inside.
static int read_path(const struct json_place *place, void *target, struct error *err)
{
    static const char before[] = "\\A(?:";
    static const char behind[] = ")\\z";
    struct http_rule *rule = target;
    struct policy_memory memory = {0};
    struct error inner = {0};
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    size_t length = strlen(text);
    if (sizeof(before) + length + sizeof(behind) > sizeof(rule->path))
        return json_refuse(place, JSON_PART_VALUE, err, "the pattern is too long");
    if (policy_memory_open(&memory, err) < 0)
        return -1;
    struct policy_patterns *patterns = policy_patterns_create(2, &memory, &inner);
    // Alone first: a bracket too many must not end the one around it.
    bool sound = patterns && policy_patterns_add(patterns, text, length, 0, NULL, &inner) >= 0;
    memcpy(rule->path, before, sizeof(before) - 1);
    memcpy(rule->path + sizeof(before) - 1, text, length);
    memcpy(rule->path + sizeof(before) - 1 + length, behind, sizeof(behind));
    sound = sound &&
            policy_patterns_add(patterns, rule->path, strlen(rule->path), 0, NULL, &inner) >= 0;
    policy_memory_close(&memory);
    return sound ? 0 : vm_file_refuse_because(place, &inner, err);
}

static int read_rule(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "origin", .read = read_rule_origin, .required = true},
        {.key = "methods", .read = read_methods},
        {.key = "path", .read = read_path},
    };
    struct http_grant *grant = &((struct http_settings *)target)->grant;
    struct http_rule *rule = &grant->rules[grant->rule_count++];
    rule->methods = 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_HEAD;
    return json_read_object(place, fields, COUNT(fields), rule, err);
}

static int read_allow(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, HTTP_MAX_RULES, read_rule, target, err);
}

static int read_network(const struct json_place *place, void *target, struct error *err)
{
    struct http_grant *grant = &((struct http_settings *)target)->grant;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    return http_network_read(text, &grant->networks[grant->network_count++])
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err,
                             "ADDRESS/BITS is expected, with no bit set behind these");
}

static int read_networks(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, HTTP_MAX_NETWORKS, read_network, target, err);
}

static int read_nameserver(const struct json_place *place, void *target, struct error *err)
{
    struct http_grant *grant = &((struct http_settings *)target)->grant;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    return http_address_read_with_port(text, &grant->nameservers[grant->nameserver_count++])
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err,
                             "ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT is expected");
}

static int read_nameservers(const struct json_place *place, void *target, struct error *err)
{
    ((struct http_settings *)target)->has_nameservers = true;
    return json_read_array(place, HTTP_MAX_NAMESERVERS, read_nameserver, target, err);
}

static int read_address(const struct json_place *place, void *target, struct error *err)
{
    struct http_name *name = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    return http_address_read(text, strlen(text), &name->addresses[name->address_count++])
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "an address is expected");
}

static int read_names(const struct json_place *place, void *target, struct error *err)
{
    struct http_grant *grant = &((struct http_settings *)target)->grant;
    if (json_expect(place, json_type_object, err))
        return -1;
    json_object_object_foreach(place->value, key, value)
    {
        struct json_place member;
        (void)value;
        if (!json_member(place, key, &member))
            return json_refuse(place, JSON_PART_VALUE, err, "a member is missing");
        struct http_address address;
        if (!http_host_is_sound(key, strlen(key)) ||
            http_address_read(key, strlen(key), &address) || grant->name_count == HTTP_MAX_NAMES)
            return json_refuse(&member, JSON_PART_KEY, err,
                               "at most %u names, in lower case, are expected", HTTP_MAX_NAMES);
        struct http_name *name = &grant->names[grant->name_count++];
        memcpy(name->host, key, strlen(key) + 1);
        if (json_read_array(&member, HTTP_MAX_ADDRESSES, read_address, name, err))
            return -1;
        if (!name->address_count)
            return json_refuse(&member, JSON_PART_VALUE, err, "an address is expected");
    }
    return 0;
}

static int read_file(const struct json_place *place, char target[PATH_MAX], struct error *err)
{
    cleanup_free char *path = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    if (strlen(path) >= PATH_MAX)
        return json_refuse(place, JSON_PART_VALUE, err, "the path is too long");
    memcpy(target, path, strlen(path) + 1);
    return 0;
}

static int read_authorities(const struct json_place *place, void *target, struct error *err)
{
    return read_file(place, ((struct http_settings *)target)->authorities, err);
}

static int read_certificate(const struct json_place *place, void *target, struct error *err)
{
    return read_file(place, ((struct http_settings *)target)->certificate, err);
}

static int read_key(const struct json_place *place, void *target, struct error *err)
{
    return read_file(place, ((struct http_settings *)target)->key, err);
}

static int read_identity_oid(const struct json_place *place, void *target, struct error *err)
{
    char *oid = ((struct http_settings *)target)->grant.identity_oid;
    if (copy_text(place, oid, HTTP_OID_SIZE, err))
        return -1;
    return *oid && strspn(oid, "0123456789.") == strlen(oid)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "numbers with dots are expected");
}

static int read_proxy(const struct json_place *place, void *target, struct error *err)
{
    static const char scheme[] = "http://";
    struct http_address *proxy = &((struct http_settings *)target)->grant.proxy;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    return strncmp(text, scheme, strlen(scheme)) == 0 &&
                   http_address_read_with_port(text + strlen(scheme), proxy) && proxy->port
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "http://ADDRESS:PORT is expected");
}

static int read_source_file(const struct json_place *place, void *target, struct error *err)
{
    return read_file(place, ((struct http_secret_source *)target)->place, err);
}

static int read_source_credential(const struct json_place *place, void *target, struct error *err)
{
    struct http_secret_source *source = target;
    source->is_credential = true;
    return vm_file_read_name(place, source->place, HTTP_SECRET_NAME_SIZE, err);
}

static int read_sources(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "file", .read = read_source_file},
        {.key = "credential", .read = read_source_credential},
    };
    struct http_settings *settings = target;
    if (json_expect(place, json_type_object, err))
        return -1;
    json_object_object_foreach(place->value, key, value)
    {
        struct json_place member;
        struct error inner;
        (void)value;
        if (!json_member(place, key, &member))
            return json_refuse(place, JSON_PART_VALUE, err, "a member is missing");
        if (settings->source_count == HTTP_MAX_SECRETS)
            return json_refuse(&member, JSON_PART_KEY, err, "more than %u secrets",
                               HTTP_MAX_SECRETS);
        struct http_secret_source *source = &settings->sources[settings->source_count++];
        if (vm_file_check_name(key, sizeof(source->name), &inner))
            return vm_file_refuse_because(&member, &inner, err);
        memcpy(source->name, key, strlen(key) + 1);
        if (json_read_object(&member, fields, COUNT(fields), source, err))
            return -1;
        if (json_object_object_length(member.value) != 1)
            return json_refuse(&member, JSON_PART_VALUE, err,
                               "either \"file\" or \"credential\" is expected");
    }
    return 0;
}

static int read_secret_origin(const struct json_place *place, void *target, struct error *err)
{
    struct http_secret *secret = target;
    if (read_origin(place, &secret->origin, NULL, err))
        return -1;
    return secret->origin.scheme == HTTP_SCHEME_HTTPS
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err,
                             "a secret goes over https only: others could read it");
}

static int read_secret_header(const struct json_place *place, void *target, struct error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    struct http_secret *secret = target;
    if (copy_text(place, secret->header, sizeof(secret->header), err))
        return -1;
    return *secret->header && strspn(secret->header, letters) == strlen(secret->header)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err, "the name of a header is expected");
}

static int read_secret_value(const struct json_place *place, void *target, struct error *err)
{
    struct http_secret *secret = target;
    if (copy_text(place, secret->value, sizeof(secret->value), err))
        return -1;
    for (const char *at = secret->value; *at; at++) {
        if (*at < 0x20 || *at > 0x7e)
            return json_refuse(place, JSON_PART_VALUE, err, "printable ASCII is expected");
    }
    const char *mark = strstr(secret->value, secret_mark);
    return mark && !strstr(mark + 1, secret_mark)
               ? 0
               : json_refuse(place, JSON_PART_VALUE, err,
                             "one secret:NAME is expected, such as \"Bearer secret:NAME\"");
}

// Takes "secret:NAME" out of a value. Returns the index of its source, or -1.
static int take_name(const struct http_settings *settings, struct http_secret *secret)
{
    static const char ends[] = " \t\"',;:=/";
    char *mark = strstr(secret->value, secret_mark);
    char *name = mark + strlen(secret_mark);
    size_t length = strcspn(name, ends);
    for (uint32_t i = 0; i < settings->source_count; i++) {
        const char *known = settings->sources[i].name;
        if (strlen(known) != length || memcmp(known, name, length) != 0)
            continue;
        secret->secret_at = (uint32_t)(mark - secret->value);
        memmove(mark, name + length, strlen(name + length) + 1);
        return (int)i;
    }
    return -1;
}

static bool is_bound(const struct http_grant *grant, const struct http_secret *secret)
{
    for (uint32_t i = 0; i < grant->secret_count; i++) {
        const struct http_secret *other = &grant->secrets[i];
        if (other->origin.port == secret->origin.port &&
            strcmp(other->origin.host, secret->origin.host) == 0 &&
            strcasecmp(other->header, secret->header) == 0)
            return true;
    }
    return false;
}

static int read_injection(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "origin", .read = read_secret_origin, .required = true},
        {.key = "header", .read = read_secret_header, .required = true},
        {.key = "value", .read = read_secret_value, .required = true},
    };
    struct http_settings *settings = target;
    struct http_grant *grant = &settings->grant;
    struct http_secret secret = {0};
    if (json_read_object(place, fields, COUNT(fields), &secret, err))
        return -1;
    int source = take_name(settings, &secret);
    if (source < 0)
        return json_refuse(place, JSON_PART_VALUE, err, "no secret of this name is in \"secrets\"");
    if (is_bound(grant, &secret))
        return json_refuse(place, JSON_PART_VALUE, err, "this header has a secret already");
    settings->source_of[grant->secret_count] = (uint32_t)source;
    grant->secrets[grant->secret_count++] = secret;
    return 0;
}

static int read_inject(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, HTTP_MAX_SECRETS, read_injection, target, err);
}

#define MEMBER(name) offsetof(struct http_settings, grant.name)

void http_settings_defaults(struct http_settings *settings)
{
    struct http_grant *grant = &settings->grant;
    memcpy(grant->format, HTTP_GRANT_FORMAT, sizeof(HTTP_GRANT_FORMAT));
    memcpy(grant->identity_oid, HTTP_IDENTITY_OID, sizeof(HTTP_IDENTITY_OID));
    memcpy(settings->authorities, HTTP_AUTHORITIES_DEFAULT, sizeof(HTTP_AUTHORITIES_DEFAULT));
    grant->connect_ms = CONNECT_MS;
    grant->request_ms = REQUEST_MS;
    grant->stream_ms = STREAM_MS;
    grant->idle_ms = IDLE_MS;
}

int http_settings_read(const struct json_place *place, struct http_settings *settings, bool allow,
                       struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "allow", .read = read_allow, .required = true}, // first: others leave it out
        {.key = "networks", .read = read_networks},
        {.key = "nameservers", .read = read_nameservers},
        {.key = "names", .read = read_names},
        {.key = "ca", .read = read_authorities},
        {.key = "certificate", .read = read_certificate},
        {.key = "key", .read = read_key},
        {.key = "identity_oid", .read = read_identity_oid},
        {.key = "proxy", .read = read_proxy},
        {.key = "secrets", .read = read_sources}, // before those who name them
        {.key = "inject", .read = read_inject},
        {"connect_ms", json_field_u32, false, MEMBER(connect_ms), 1, 600000},
        {"request_ms", json_field_u32, false, MEMBER(request_ms), 1, 3600000},
        {"stream_ms", json_field_u32, false, MEMBER(stream_ms), 1, 86400000},
        {"idle_ms", json_field_u32, false, MEMBER(idle_ms), 1000, 600000},
    };
    size_t left_out = allow ? 0 : 1;
    http_settings_defaults(settings);
    if (json_read_object(place, fields + left_out, COUNT(fields) - left_out, settings, err))
        return -1;
    if (!*settings->certificate != !*settings->key)
        return json_refuse(place, JSON_PART_VALUE, err, "a certificate needs its key");
    settings->grant.has_certificate = *settings->certificate != '\0';
    return 0;
}

int vm_file_read_http(const struct json_place *place, struct vmm_port_config *config,
                      struct vm_settings *settings, struct error *err)
{
    struct http_settings *http = calloc(1, sizeof(*http));
    if (!http)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of an http port");
    *settings = (struct vm_settings){.bytes = http, .length = sizeof(*http)};
    if (http_settings_read(place, http, true, err))
        return -1;
    if (http->grant.request_ms >= config->timeout_ms || http->grant.idle_ms >= config->timeout_ms)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "\"request_ms\" (%u) and \"idle_ms\" (%u) have to be less than the "
                           "port's \"timeout_ms\" (%u)",
                           http->grant.request_ms, http->grant.idle_ms, config->timeout_ms);
    return 0;
}
