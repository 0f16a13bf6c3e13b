// SPDX-License-Identifier: Apache-2.0
// What an http port's grant lets the model reach.
#include "http_access.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// What is not the public internet (RFC 6890 and the registries that it made). Of IPv6 only
// 2000::/3 is handed out; what lies in it but leads elsewhere is here.
static const char *const closed[] = {
    "0.0.0.0/8",      "10.0.0.0/8",        "100.64.0.0/10",   "127.0.0.0/8",     "169.254.0.0/16",
    "172.16.0.0/12",  "192.0.0.0/24",      "192.0.2.0/24",    "192.31.196.0/24", "192.52.193.0/24",
    "192.88.99.0/24", "192.168.0.0/16",    "192.175.48.0/24", "198.18.0.0/15",   "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4",       "240.0.0.0/4",     "2001::/23",       "2001:db8::/32",
    "2002::/16",      "2620:4f:8000::/48", "3fff::/20",
};
static const char open_ipv6[] = "2000::/3";

// IPv4 addresses once more, in another spelling, which no check of theirs would see.
static const char mapped_ipv4[] = "::ffff:0.0.0.0/96";

// Where clouds hand out credentials and settings to whoever asks from inside.
static const char *const metadata[] = {
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "100.100.100.200",
    "168.63.129.16",   "192.0.0.192",   "fd00:ec2::254",  "fd00:ec2::23", "fd20:ce::254",
};

static struct http_network closed_networks[COUNT(closed)];
static struct http_network metadata_networks[COUNT(metadata)];
static struct http_network open_network;
static struct http_network mapped_network;

static bool read_networks(const char *const *texts, struct http_network *networks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!http_network_read(texts[i], &networks[i]))
            return false;
    }
    return true;
}

static bool text_is_sound(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

static bool origin_is_sound(const struct http_origin *origin)
{
    return origin->scheme < HTTP_SCHEMES && origin->port && origin->port <= 65535 &&
           text_is_sound(origin->host, sizeof(origin->host)) &&
           http_host_is_sound(origin->host, strlen(origin->host));
}

static bool address_is_sound(const struct http_address *address)
{
    return (address->version == 4 || address->version == 6) && address->port <= 65535;
}

static bool secret_is_sound(const struct http_secret *secret)
{
    return origin_is_sound(&secret->origin) &&
           text_is_sound(secret->header, sizeof(secret->header)) &&
           text_is_sound(secret->value, sizeof(secret->value)) && secret->secret_length &&
           secret->secret_at < sizeof(secret->value) &&
           secret->secret_length <= strlen(secret->value) &&
           secret->secret_at <= strlen(secret->value) - secret->secret_length;
}

static bool grant_is_sound(const struct http_grant *grant, size_t length)
{
    if (length != sizeof(*grant) ||
        memcmp(grant->format, HTTP_GRANT_FORMAT, sizeof(HTTP_GRANT_FORMAT)) != 0 ||
        grant->rule_count > HTTP_MAX_RULES || grant->network_count > HTTP_MAX_NETWORKS ||
        grant->nameserver_count > HTTP_MAX_NAMESERVERS || grant->name_count > HTTP_MAX_NAMES ||
        grant->secret_count > HTTP_MAX_SECRETS || grant->has_certificate > 1 ||
        !text_is_sound(grant->identity_oid, sizeof(grant->identity_oid)) ||
        (grant->proxy.version && !address_is_sound(&grant->proxy)))
        return false;
    for (uint32_t i = 0; i < grant->rule_count; i++) {
        const struct http_rule *rule = &grant->rules[i];
        if (!origin_is_sound(&rule->origin) || !text_is_sound(rule->path, sizeof(rule->path)))
            return false;
    }
    for (uint32_t i = 0; i < grant->network_count; i++) {
        const struct http_network *network = &grant->networks[i];
        if (!address_is_sound(&network->address) ||
            network->bits > (network->address.version == 4 ? 32 : 128))
            return false;
    }
    for (uint32_t i = 0; i < grant->nameserver_count; i++) {
        if (!address_is_sound(&grant->nameservers[i]))
            return false;
    }
    for (uint32_t i = 0; i < grant->name_count; i++) {
        const struct http_name *name = &grant->names[i];
        if (!text_is_sound(name->host, sizeof(name->host)) || !name->address_count ||
            name->address_count > HTTP_MAX_ADDRESSES)
            return false;
        for (uint32_t j = 0; j < name->address_count; j++) {
            if (!address_is_sound(&name->addresses[j]))
                return false;
        }
    }
    for (uint32_t i = 0; i < grant->secret_count; i++) {
        if (!secret_is_sound(&grant->secrets[i]))
            return false;
    }
    return true;
}

static int compile(struct http_access *access, struct error *err)
{
    const struct http_grant *grant = access->grant;
    if (policy_memory_open(&access->memory, err) < 0)
        return -1;
    access->patterns = policy_patterns_create(HTTP_MAX_RULES, &access->memory, err);
    if (!access->patterns)
        return -1;
    for (uint32_t i = 0; i < grant->rule_count; i++) {
        const char *path = grant->rules[i].path;
        access->pattern_of[i] = -1;
        if (!*path)
            continue;
        access->pattern_of[i] =
            policy_patterns_add(access->patterns, path, strlen(path), 0, NULL, err);
        if (access->pattern_of[i] < 0)
            return -1;
    }
    return 0;
}

static int look_up_own(struct http_access *access, struct error *err)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "http: this host's addresses");
    bool all = true;
    for (const struct ifaddrs *at = list; at; at = at->ifa_next) {
        struct http_address own = {0};
        const void *address = at->ifa_addr;
        if (!address)
            continue;
        if (at->ifa_addr->sa_family == AF_INET) {
            own.version = 4;
            memcpy(own.bytes, &((const struct sockaddr_in *)address)->sin_addr, 4);
        } else if (at->ifa_addr->sa_family == AF_INET6) {
            own.version = 6;
            memcpy(own.bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        } else {
            continue;
        }
        if (access->own_count == HTTP_OWN_ADDRESSES_MAX)
            all = false;
        else
            access->own[access->own_count++] = own;
    }
    freeifaddrs(list);
    return all ? 0
               : error_set(err, EXIT_STATUS_RESOURCES, 0,
                           "http: this host has more than %u addresses", HTTP_OWN_ADDRESSES_MAX);
}

int http_access_open(struct http_access *access, const void *grant, size_t length,
                     struct error *err)
{
    *access = (struct http_access){.grant = grant};
    if (!grant || !grant_is_sound(grant, length))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "http: settings of another version");
    if (!read_networks(closed, closed_networks, COUNT(closed)) ||
        !read_networks(metadata, metadata_networks, COUNT(metadata)) ||
        !http_network_read(open_ipv6, &open_network) ||
        !http_network_read(mapped_ipv4, &mapped_network))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "http: lists of networks");
    return compile(access, err) < 0 ? -1 : look_up_own(access, err);
}

bool http_origin_equals(const struct http_origin *a, const struct http_origin *b)
{
    return a->scheme == b->scheme && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static bool host_matches(const struct http_rule *rule, const char *host)
{
    if (!rule->any_label)
        return strcmp(rule->origin.host, host) == 0;
    size_t length = strlen(host);
    size_t end = strlen(rule->origin.host);
    return length > end + 1 && host[length - end - 1] == '.' &&
           strcmp(host + length - end, rule->origin.host) == 0;
}

static bool path_matches(struct http_access *access, uint32_t rule,
                         const struct http_request *request)
{
    size_t from;
    size_t to;
    if (access->pattern_of[rule] < 0)
        return true;
    const char *query = memchr(request->path, '?', request->path_length);
    size_t length = query ? (size_t)(query - request->path) : request->path_length;
    // Of the whole path, whatever verbs of PCRE2 (such as "(*ACCEPT)") make of the pattern's
    // anchors.
    return policy_patterns_search(access->patterns, (unsigned)access->pattern_of[rule],
                                  (const uint8_t *)request->path, length, 0, &from,
                                  &to) == POLICY_FOUND &&
           from == 0 && to == length;
}

bool http_access_allows(struct http_access *access, const struct http_request *request)
{
    for (uint32_t i = 0; i < access->grant->rule_count; i++) {
        const struct http_rule *rule = &access->grant->rules[i];
        if (rule->origin.scheme == request->origin.scheme &&
            rule->origin.port == request->origin.port && (rule->methods >> request->method & 1) &&
            host_matches(rule, request->origin.host) && path_matches(access, i, request))
            return true;
    }
    return false;
}

static bool is_in_any(const struct http_network *networks, size_t count,
                      const struct http_address *address)
{
    for (size_t i = 0; i < count; i++) {
        if (http_network_holds(&networks[i], address))
            return true;
    }
    return false;
}

static bool is_own(const struct http_access *access, const struct http_address *address)
{
    for (uint32_t i = 0; i < access->own_count; i++) {
        if (access->own[i].version == address->version &&
            memcmp(access->own[i].bytes, address->bytes, sizeof(address->bytes)) == 0)
            return true;
    }
    return false;
}

bool http_access_reaches(const struct http_access *access, const struct http_address *address)
{
    const struct http_grant *grant = access->grant;
    uint32_t whole = address->version == 4 ? 32 : 128;
    if (http_network_holds(&mapped_network, address))
        return false;
    bool guarded = is_in_any(metadata_networks, COUNT(metadata), address);
    for (uint32_t i = 0; i < grant->network_count; i++) {
        if (http_network_holds(&grant->networks[i], address) &&
            (!guarded || grant->networks[i].bits == whole))
            return true;
    }
    if (guarded || is_own(access, address) || is_in_any(closed_networks, COUNT(closed), address))
        return false;
    return address->version == 4 || http_network_holds(&open_network, address);
}

const struct http_name *http_access_name(const struct http_access *access, const char *host)
{
    for (uint32_t i = 0; i < access->grant->name_count; i++) {
        if (strcmp(access->grant->names[i].host, host) == 0)
            return &access->grant->names[i];
    }
    return NULL;
}

bool http_access_owns_header(const struct http_access *access, const struct http_origin *origin,
                             const struct http_header *header)
{
    for (uint32_t i = 0; i < access->grant->secret_count; i++) {
        const struct http_secret *secret = &access->grant->secrets[i];
        if (http_origin_equals(&secret->origin, origin) && http_header_is(header, secret->header))
            return true;
    }
    return false;
}
