// SPDX-License-Identifier: Apache-2.0
// Hosts, origins and addresses of the web, in one spelling each.
#include "http_origin.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "number.h"

#define LABEL_MAX       63u
#define HOST_NAME_BYTES 253u

const char *const http_scheme_names[HTTP_SCHEMES] = {
    [HTTP_SCHEME_HTTP] = "http",
    [HTTP_SCHEME_HTTPS] = "https",
};

static const uint32_t default_ports[HTTP_SCHEMES] = {
    [HTTP_SCHEME_HTTP] = 80,
    [HTTP_SCHEME_HTTPS] = 443,
};

static int family(uint32_t version)
{
    return version == 4 ? AF_INET : AF_INET6;
}

bool http_address_read(const char *text, size_t length, struct http_address *address)
{
    char copy[HTTP_ADDRESS_TEXT_SIZE];
    char spelt[HTTP_ADDRESS_TEXT_SIZE];
    if (!length || length >= sizeof(copy) || memchr(text, '\0', length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    *address = (struct http_address){.version = strchr(copy, ':') ? 6 : 4};
    if (inet_pton(family(address->version), copy, address->bytes) != 1)
        return false;
    http_address_write(address, false, spelt);
    return strcmp(copy, spelt) == 0;
}

void http_address_write(const struct http_address *address, bool brackets,
                        char text[HTTP_ADDRESS_TEXT_SIZE])
{
    char plain[INET6_ADDRSTRLEN] = "";
    bool inside = brackets && address->version == 6;
    inet_ntop(family(address->version), address->bytes, plain, sizeof(plain));
    snprintf(text, HTTP_ADDRESS_TEXT_SIZE, "%s%s%s", inside ? "[" : "", plain, inside ? "]" : "");
}

static bool read_port(const char *text, uint32_t *port)
{
    uint64_t value;
    if (text[0] == '0' || number_parse(text, 1, 65535, &value, NULL))
        return false;
    *port = (uint32_t)value;
    return true;
}

bool http_address_read_with_port(const char *text, struct http_address *address)
{
    uint32_t port = 0;
    const char *colon = strrchr(text, ':');
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (!end || end[1] != ':' || !read_port(end + 2, &port) ||
            !http_address_read(text + 1, (size_t)(end - text - 1), address) ||
            address->version != 6)
            return false;
    } else if (colon && strchr(text, ':') == colon) {
        if (!read_port(colon + 1, &port) ||
            !http_address_read(text, (size_t)(colon - text), address))
            return false;
    } else if (!http_address_read(text, strlen(text), address)) {
        return false;
    }
    address->port = port;
    return true;
}

static bool bit(const struct http_address *address, uint32_t index)
{
    return address->bytes[index / 8] >> (7 - index % 8) & 1;
}

bool http_network_read(const char *text, struct http_network *network)
{
    uint64_t bits = 0;
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    if (!http_address_read(text, length, &network->address))
        return false;
    uint32_t most = network->address.version == 4 ? 32 : 128;
    if (!slash)
        bits = most;
    else if ((slash[1] == '0' && slash[2]) || number_parse(slash + 1, 0, most, &bits, NULL))
        return false;
    for (uint32_t i = (uint32_t)bits; i < most; i++) {
        if (bit(&network->address, i))
            return false;
    }
    network->bits = (uint32_t)bits;
    return true;
}

bool http_network_holds(const struct http_network *network, const struct http_address *address)
{
    if (network->address.version != address->version)
        return false;
    for (uint32_t i = 0; i < network->bits; i++) {
        if (bit(&network->address, i) != bit(address, i))
            return false;
    }
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool label_is_sound(const char *label, size_t length)
{
    if (!length || length > LABEL_MAX || label[0] == '-' || label[length - 1] == '-')
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = label[i];
        if (!(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

bool http_host_is_sound(const char *host, size_t length)
{
    struct http_address address;
    const char *label = host;
    const char *end = host + length;
    if (http_address_read(host, length, &address))
        return true;
    if (!length || length > HOST_NAME_BYTES)
        return false;
    for (const char *dot; (dot = memchr(label, '.', (size_t)(end - label))); label = dot + 1) {
        if (!label_is_sound(label, (size_t)(dot - label)))
            return false;
    }
    // A last label that begins with a digit is how others write addresses: 127.1, 0x7f.0x1.
    return label_is_sound(label, (size_t)(end - label)) && !is_digit(label[0]);
}

static int refuse(const char *text, const char *why, struct error *err)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "\"%.128s\": %s", text, why);
}

int http_origin_parse(const char *text, struct http_origin *origin, bool *any_label,
                      struct error *err)
{
    const char *at = strstr(text, "://");
    bool any = false;
    *origin = (struct http_origin){.scheme = HTTP_SCHEMES};
    for (uint32_t i = 0; i < HTTP_SCHEMES && at; i++) {
        if (strlen(http_scheme_names[i]) == (size_t)(at - text) &&
            memcmp(http_scheme_names[i], text, (size_t)(at - text)) == 0)
            origin->scheme = i;
    }
    if (!at || origin->scheme == HTTP_SCHEMES)
        return refuse(text, "an origin is http://HOST[:PORT] or https://HOST[:PORT]", err);
    at += strlen("://");
    if (any_label && strncmp(at, "*.", 2) == 0) {
        any = true;
        at += 2;
    }
    bool inside = at[0] == '[';
    const char *host = at + inside;
    const char *end = host + strcspn(host, inside ? "]" : ":");
    const char *behind = inside && *end ? end + 1 : end;
    size_t length = (size_t)(end - host);
    struct http_address address;
    bool numeric = http_address_read(host, length, &address);
    if (!http_host_is_sound(host, length) || (inside && (!*end || !numeric)) ||
        (numeric && (any || inside != (address.version == 6))))
        return refuse(text, "the host is a name in lower case or an address, nothing behind it",
                      err);
    origin->port = default_ports[origin->scheme];
    if (*behind && (*behind != ':' || !read_port(behind + 1, &origin->port)))
        return refuse(text, "the port is a number from 1 to 65535, nothing behind it", err);
    memcpy(origin->host, host, length);
    if (any_label)
        *any_label = any;
    return 0;
}
