// SPDX-License-Identifier: Apache-2.0
// Addresses, networks, hosts and origins: one spelling each, and no other.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "http_origin.h"
#include "support.h"

static bool address_is(const char *text)
{
    struct http_address address;
    return http_address_read(text, strlen(text), &address);
}

static bool host_is(const char *text)
{
    return http_host_is_sound(text, strlen(text));
}

static bool network_is(const char *text)
{
    struct http_network network;
    return http_network_read(text, &network);
}

Test(http_origin, addresses)
{
    static const char *const good[] = {
        "0.0.0.0", "1.2.3.4", "255.255.255.255",  "::",         "::1",
        "fe80::1", "1::2",    "2001:db8::a:b:c",  "a:b:c::",    "1:2:3:4:5:6:7:8",
        "::2:0:0", "1:0:2::", "::ffff:127.0.0.1", "1:0:2::3:4", "0:1::",
    };
    static const char *const bad[] = {
        "",
        "1",
        "1.2",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "1.2.3.04",
        "0x7f.0.0.1",
        "127.1",
        "2130706433",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4:80",
        "[::1]",
        "::1%lo",
        "fe80::1%1",
        "::ffff:7f00:1",
        "0:0:0:0:0:0:0:1",
        "::01",
        "::A",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        ":",
        ":::",
        "1::2:0:0:0:0",
        "2001:DB8::1",
        "12345::",
        "::1.2.3",
        "1.2.3.4\n",
        "a.b.c.d",
        "-1.2.3.4",
        "+1.2.3.4",
        "1..2.3",
        "1.2.3.",
        "0000:0000:0000:0000:0000:0000:255.255.255.2551",
    };
    for (size_t i = 0; i < COUNT(good); i++)
        cr_expect(address_is(good[i]), "%s", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect_not(address_is(bad[i]), "%s", bad[i]);
    struct http_address address;
    cr_expect_not(http_address_read("1.2.3.4\0", 8, &address));
    cr_expect(http_address_read("1.2.3.45", 7, &address));
    cr_expect_eq(address.version, 4);
    cr_expect_eq(address.bytes[3], 4);
    cr_expect_eq(address.port, 0);
}

Test(http_origin, addresses_with_ports)
{
    static const struct {
        const char *text;
        int port; // -1: refused
    } cases[] = {
        {"1.2.3.4", 0},
        {"1.2.3.4:53", 53},
        {"1.2.3.4:65535", 65535},
        {"1.2.3.4:0", -1},
        {"1.2.3.4:65536", -1},
        {"1.2.3.4:", -1},
        {"1.2.3.4:053", -1},
        {"1.2.3.4:+5", -1},
        {"1.2.3.4: 5", -1},
        {"1.2.3.4:5 ", -1},
        {"::1", 0},
        {"[::1]:53", 53},
        {"[::1]", -1},
        {"[::1]:", -1},
        {"[::1]53", -1},
        {"[::1", -1},
        {"[1.2.3.4]:53", -1},
        {"[]:53", -1},
        {"", -1},
        {":53", -1},
        {"ns.test:53", -1},
        {"[::1]:53:54", -1},
        {"[[::1]]:53", -1},
        {"1.2.3.4:5:6", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_address address;
        bool read = http_address_read_with_port(cases[i].text, &address);
        cr_expect_eq(read, cases[i].port >= 0, "%s", cases[i].text);
        if (read)
            cr_expect_eq(address.port, (uint32_t)cases[i].port, "%s", cases[i].text);
    }
}

Test(http_origin, networks)
{
    static const char *const good[] = {"10.0.0.0/8",    "0.0.0.0/0", "1.2.3.4",  "1.2.3.4/32",
                                       "128.0.0.0/1",   "::/0",      "fc00::/7", "::1",
                                       "2001:db8::/32", "::1/128"};
    static const char *const bad[] = {
        "",
        "/8",
        "10.0.0.1/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10/8",
        "10.0.0.0/08",
        "::1/127",
        "::/129",
        "[::]/0",
        "10.0.0.0/8 ",
        "10.0.0.0/ 8",
        "10.0.0.0/8/8",
        "10.0.0.0/00",
        "10.0.0.0/+8",
    };
    for (size_t i = 0; i < COUNT(good); i++)
        cr_expect(network_is(good[i]), "%s", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect_not(network_is(bad[i]), "%s", bad[i]);
}

// What a mask says, written anew: a byte at a time.
static bool holds_by_bytes(const struct http_network *network, const struct http_address *address)
{
    for (uint32_t i = 0; i < 16; i++) {
        int bits = (int)network->bits - (int)i * 8;
        uint8_t mask = bits >= 8 ? 0xff : bits <= 0 ? 0 : (uint8_t)(0xff << (8 - bits));
        if ((network->address.bytes[i] ^ address->bytes[i]) & mask)
            return false;
    }
    return network->address.version == address->version;
}

static struct http_address random_address(struct random *random)
{
    struct http_address address = {.version = random_chance(random, 50) ? 4 : 6};
    random_fill(random, address.bytes, address.version == 4 ? 4 : 16);
    // Runs of zeros are what spellings differ in.
    for (unsigned i = 0; i < 16; i += 2) {
        if (address.version == 6 && random_chance(random, 60))
            memset(address.bytes + i, 0, 2);
    }
    return address;
}

Test(http_origin, what_is_written_is_read_again)
{
    struct random random = random_start(1);
    for (unsigned round = 0; round < 50000; round++) {
        const struct http_address address = random_address(&random);
        char text[HTTP_ADDRESS_TEXT_SIZE];
        char again[HTTP_ADDRESS_TEXT_SIZE];
        struct http_address read;
        http_address_write(&address, false, text);
        cr_assert(http_address_read(text, strlen(text), &read), "%s", text);
        cr_assert_eq(memcmp(&read, &address, sizeof(read)), 0, "%s", text);
        http_address_write(&read, true, again);
        char wanted[HTTP_ADDRESS_TEXT_SIZE + 2];
        snprintf(wanted, sizeof(wanted), address.version == 6 ? "[%s]" : "%s", text);
        cr_assert_str_eq(again, wanted);
        cr_assert(host_is(text), "%s", text);
        // Any change of one character is another address, or none.
        char other[HTTP_ADDRESS_TEXT_SIZE];
        memcpy(other, text, sizeof(other));
        other[random_below(&random, strlen(text))] = (char)random_below(&random, 256);
        if (strcmp(other, text) != 0 && http_address_read(other, strlen(other), &read))
            cr_assert_neq(memcmp(&read, &address, sizeof(read)), 0, "%s and %s", text, other);
    }
}

Test(http_origin, a_network_holds_its_addresses)
{
    struct random random = random_start(2);
    unsigned held = 0;
    for (unsigned round = 0; round < 50000; round++) {
        struct http_network network = {.address = random_address(&random)};
        uint32_t most = network.address.version == 4 ? 32 : 128;
        char text[HTTP_ADDRESS_TEXT_SIZE + 8];
        network.bits = (uint32_t)random_below(&random, most + 1);
        for (uint32_t i = network.bits; i < most; i++)
            network.address.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
        struct http_address address = network.address;
        // One bit of it changes, or none: inside if it is behind the network's own.
        uint32_t changed = (uint32_t)random_below(&random, most + 1);
        if (changed < most)
            address.bytes[changed / 8] ^= (uint8_t)(0x80 >> changed % 8);
        cr_assert_eq(http_network_holds(&network, &address), changed >= network.bits);
        held += changed >= network.bits;
        const struct http_address any = random_address(&random);
        cr_assert_eq(http_network_holds(&network, &any), holds_by_bytes(&network, &any));
        http_address_write(&network.address, false, text);
        snprintf(text + strlen(text), 8, "/%u", network.bits);
        struct http_network read;
        cr_assert(http_network_read(text, &read), "%s", text);
        cr_assert_eq(memcmp(&read, &network, sizeof(read)), 0, "%s", text);
        if (changed < most && changed >= network.bits) {
            http_address_write(&address, false, text);
            snprintf(text + strlen(text), 8, "/%u", network.bits);
            cr_assert_not(http_network_read(text, &read), "%s", text);
        }
    }
    cr_expect_gt(held, 10000);
}

Test(http_origin, hosts)
{
    static const char *const good[] = {
        "a",         "localhost", "api.test",   "a.b.c.d.e", "xn--bcher-kva.example",
        "1.example", "_dmarc.a",  "a-b.c--d.e", "1.2.3.x4",  "0x7f.com",
        "127.0.0.1", "::1",       "10.example", "a1.b2",
    };
    static const char *const bad[] = {
        "",         ".",    "a.",    ".a",        "a..b",      "A",        "Api.test", "api.Test",
        "a b",      "a/b",  "a:80",  "a@b",       "a%41",      "a\n",      "-a.b",     "a-.b",
        "a.-b",     "a.b-", "127.1", "1",         "0x7f",      "0x7f.0x1", "1.2.3",    "1.2.3.4.5",
        "01.2.3.4", "a.1",  "a.1b",  "b\xc3\xbc", "a*",        "*.a",      "[::1]",    "::01",
        "a?b",      "a#b",  "a\\b",  "a,b",       "256.1.1.1",
    };
    char label[66];
    char long_name[256];
    for (size_t i = 0; i < COUNT(good); i++)
        cr_expect(host_is(good[i]), "%s", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect_not(host_is(bad[i]), "%s", bad[i]);
    cr_expect_not(http_host_is_sound("a\0b", 3));
    memset(label, 'a', sizeof(label));
    cr_expect(http_host_is_sound(label, 63));
    cr_expect_not(http_host_is_sound(label, 64));
    for (unsigned i = 0; i < sizeof(long_name); i++)
        long_name[i] = i % 2 ? '.' : 'a';
    cr_expect(http_host_is_sound(long_name, 253));
    cr_expect_not(http_host_is_sound(long_name, 255));
    // Every byte in a name: exactly the permitted ones.
    unsigned permitted = 0;
    for (unsigned c = 0; c < 256; c++) {
        const char name[] = {'a', (char)c, 'a'};
        permitted += http_host_is_sound(name, 3);
    }
    cr_expect_eq(permitted, 26 + 10 + 3);
}

Test(http_origin, origins)
{
    static const struct {
        const char *text;
        const char *host; // NULL: refused
        uint32_t scheme;
        uint32_t port;
    } cases[] = {
        {"https://api.test", "api.test", HTTP_SCHEME_HTTPS, 443},
        {"http://api.test", "api.test", HTTP_SCHEME_HTTP, 80},
        {"https://api.test:8443", "api.test", HTTP_SCHEME_HTTPS, 8443},
        {"https://api.test:443", "api.test", HTTP_SCHEME_HTTPS, 443},
        {"http://[::1]", "::1", HTTP_SCHEME_HTTP, 80},
        {"http://[::1]:1", "::1", HTTP_SCHEME_HTTP, 1},
        {"http://127.0.0.1:65535", "127.0.0.1", HTTP_SCHEME_HTTP, 65535},
        {.text = ""},
        {.text = "api.test"},
        {.text = "//api.test"},
        {.text = "://api.test"},
        {.text = "ftp://api.test"},
        {.text = "HTTPS://api.test"},
        {.text = "httpss://api.test"},
        {.text = "http:/api.test"},
        {.text = "https://"},
        {.text = "https://:443"},
        {.text = "https://api.test/"},
        {.text = "https://api.test:443/"},
        {.text = "https://api.test?"},
        {.text = "https://api.test#"},
        {.text = "https://user@api.test"},
        {.text = "https://user:1@api.test"},
        {.text = "https://API.test"},
        {.text = "https://api.test."},
        {.text = "https://api.test:"},
        {.text = "https://api.test:0"},
        {.text = "https://api.test:0443"},
        {.text = "https://api.test:65536"},
        {.text = "https://api.test:443:443"},
        {.text = "https://*.api.test"},
        {.text = "https://::1"},
        {.text = "https://[::1"},
        {.text = "https://[::1]443"},
        {.text = "https://[127.0.0.1]"},
        {.text = "https://[api.test]"},
        {.text = "https://[aaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbb.test]"},
        {.text = "https://[::1]]"},
        {.text = "https://127.1"},
        {.text = " https://api.test"},
        {.text = "https://api.test "},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_origin origin;
        struct error err = {0};
        bool read = http_origin_parse(cases[i].text, &origin, NULL, &err) == 0;
        cr_expect_eq(read, cases[i].host != NULL, "%s", cases[i].text);
        if (!read) {
            cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
            continue;
        }
        cr_expect_str_eq(origin.host, cases[i].host);
        cr_expect_eq(origin.scheme, cases[i].scheme, "%s", cases[i].text);
        cr_expect_eq(origin.port, cases[i].port, "%s", cases[i].text);
    }
}

Test(http_origin, any_label)
{
    static const char *const bad[] = {"https://*",       "https://*.",      "https://*api.test",
                                      "https://a.*.b",   "https://*.*.b",   "https://*.127.0.0.1",
                                      "https://*.[::1]", "https://[*.::1]", "*.api.test"};
    struct http_origin origin;
    struct error err = {0};
    bool any = false;
    cr_expect_eq(http_origin_parse("https://*.api.test:8", &origin, &any, &err), 0);
    cr_expect(any);
    cr_expect_str_eq(origin.host, "api.test");
    cr_expect_eq(origin.port, 8);
    cr_expect_eq(http_origin_parse("https://api.test", &origin, &any, &err), 0);
    cr_expect_not(any);
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect_eq(http_origin_parse(bad[i], &origin, &any, &err), -1, "%s", bad[i]);
}

static void write_origin(const struct http_origin *origin, char *text, size_t size)
{
    bool inside = strchr(origin->host, ':') != NULL;
    snprintf(text, size, "%s://%s%s%s:%u", http_scheme_names[origin->scheme], inside ? "[" : "",
             origin->host, inside ? "]" : "", origin->port);
}

// Origins with pieces put in, taken out and changed: what is read means itself once written.
Test(http_origin, what_is_read_has_one_meaning)
{
    static const char pieces[] = "aAz09.-_:/[]@*%?# \\\x7f";
    static const char *const starts[] = {"https://api.test:8443", "http://[2001:db8::1]:80",
                                         "http://10.0.0.1", "https://*.a.b"};
    struct random random = random_start(3);
    unsigned read = 0;
    for (unsigned round = 0; round < 200000; round++) {
        char text[64];
        char again[HTTP_HOST_SIZE + 32];
        struct http_origin origin;
        struct http_origin second;
        struct error err = {0};
        bool any = false;
        snprintf(text, sizeof(text), "%s", starts[random_below(&random, COUNT(starts))]);
        for (uint64_t changes = random_below(&random, 4); changes; changes--) {
            size_t at = random_below(&random, strlen(text));
            size_t kind = random_below(&random, 3);
            if (kind == 0)
                memmove(text + at, text + at + 1, strlen(text + at));
            else if (kind == 1 && strlen(text) + 2 < sizeof(text))
                memmove(text + at + 1, text + at, strlen(text + at) + 1);
            if (kind)
                text[at] = pieces[random_below(&random, sizeof(pieces) - 1)];
        }
        if (http_origin_parse(text, &origin, &any, &err))
            continue;
        read++;
        write_origin(&origin, again, sizeof(again));
        cr_assert_eq(http_origin_parse(again, &second, NULL, &err), 0, "%s: %s", text, again);
        cr_assert_eq(memcmp(&origin, &second, sizeof(origin)), 0, "%s: %s", text, again);
        // Nothing of the text is lost but the star and a port's default.
        cr_assert(strstr(text, origin.host), "%s: %s", text, again);
        cr_assert_not(strpbrk(origin.host, "/@*%?# \\[]"), "%s", text);
    }
    cr_expect_gt(read, 20000);
}
