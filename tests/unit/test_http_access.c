// SPDX-License-Identifier: Apache-2.0
// What an http port's grant lets a model reach: rules, then addresses.
#include <criterion/criterion.h>
#include <string.h>

#include "http_access.h"
#include "support.h"

static struct http_grant grant;
static struct http_access http_access;

static void begin(void)
{
    grant = (struct http_grant){.format = HTTP_GRANT_FORMAT};
}

static void add_rule(const char *origin, uint32_t methods, const char *path)
{
    struct http_rule *rule = &grant.rules[grant.rule_count++];
    struct error err = {0};
    bool any = false;
    cr_assert_eq(http_origin_parse(origin, &rule->origin, &any, &err), 0, "%s", err.text);
    rule->any_label = any;
    rule->methods = methods;
    if (path)
        strcpy(rule->path, path);
}

static void add_network(const char *text)
{
    cr_assert(http_network_read(text, &grant.networks[grant.network_count++]), "%s", text);
}

static void open_access(void)
{
    struct error err = {0};
    cr_assert_eq(http_access_open(&http_access, &grant, sizeof(grant), &err), 0, "%s", err.text);
}

static bool allows(uint32_t method, const char *origin, const char *path)
{
    struct http_request request = {
        .method = method,
        .path = path,
        .path_length = (uint32_t)strlen(path),
    };
    struct error err = {0};
    cr_assert_eq(http_origin_parse(origin, &request.origin, NULL, &err), 0, "%s", err.text);
    return http_access_allows(&http_access, &request);
}

#define ONLY(method) (1u << HTTP_METHOD_##method)

Test(http_access, rules)
{
    static const struct {
        uint32_t method;
        const char *origin;
        const char *path;
        bool allowed;
    } cases[] = {
        {HTTP_METHOD_GET, "https://api.test", "/", true},
        {HTTP_METHOD_GET, "https://api.test", "/any/thing?at=all", true},
        {HTTP_METHOD_HEAD, "https://api.test", "/", false},
        {HTTP_METHOD_POST, "https://api.test", "/", false},
        {HTTP_METHOD_GET, "http://api.test", "/", false},
        {HTTP_METHOD_GET, "http://api.test:443", "/", false},
        {HTTP_METHOD_GET, "https://api.test:8443", "/", false},
        {HTTP_METHOD_GET, "https://x.api.test", "/", false},
        {HTTP_METHOD_GET, "https://xapi.test", "/", false},
        {HTTP_METHOD_GET, "https://api.test.evil.test", "/", false},
        {HTTP_METHOD_GET, "https://api.tes", "/", false},
        {HTTP_METHOD_POST, "https://a.many.test:1", "/", true},
        {HTTP_METHOD_POST, "https://a.b.c.many.test:1", "/", true},
        {HTTP_METHOD_POST, "https://many.test:1", "/", false},
        {HTTP_METHOD_POST, "https://amany.test:1", "/", false},
        {HTTP_METHOD_POST, "https://a.many.test.evil.test:1", "/", false},
        {HTTP_METHOD_POST, "https://a.many.test:2", "/", false},
        {HTTP_METHOD_GET, "https://a.many.test:1", "/", false},
        {HTTP_METHOD_GET, "http://10.0.0.1", "/", true},
        {HTTP_METHOD_GET, "http://10.0.0.2", "/", false},
        {HTTP_METHOD_GET, "http://[::1]:8", "/", true},
        {HTTP_METHOD_GET, "http://[::2]:8", "/", false},
        {HTTP_METHOD_GET, "https://paths.test", "/v1/models", true},
        {HTTP_METHOD_GET, "https://paths.test", "/v1/models?limit=/etc", true},
        {HTTP_METHOD_GET, "https://paths.test", "/v1/models/", false},
        {HTTP_METHOD_GET, "https://paths.test", "/a/v1/models", false},
        {HTTP_METHOD_GET, "https://paths.test", "/?/v1/models", false},
        {HTTP_METHOD_GET, "https://paths.test", "/v2/item/42", true},
        {HTTP_METHOD_GET, "https://paths.test", "/v2/item/", false},
        {HTTP_METHOD_GET, "https://paths.test", "/v2/item/42/more", false},
        // Verbs of PCRE2 leave the pattern's end out; nothing else does.
        {HTTP_METHOD_GET, "https://verbs.test", "/start", true},
        {HTTP_METHOD_GET, "https://verbs.test", "/start/and/more", false},
    };
    begin();
    add_rule("https://api.test", ONLY(GET), NULL);
    add_rule("https://*.many.test:1", ONLY(POST) | ONLY(PUT), NULL);
    add_rule("http://10.0.0.1", ONLY(GET), NULL);
    add_rule("http://[::1]:8", ONLY(GET), NULL);
    add_rule("https://paths.test", ONLY(GET), "\\A(?:/v1/models)\\z");
    add_rule("https://paths.test", ONLY(GET), "\\A(?:/v2/item/[0-9]+)\\z");
    add_rule("https://verbs.test", ONLY(GET), "\\A(?:/start(*ACCEPT))\\z");
    open_access();
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_eq(allows(cases[i].method, cases[i].origin, cases[i].path), cases[i].allowed,
                     "case %zu: %s%s", i, cases[i].origin, cases[i].path);
}

Test(http_access, each_method_has_its_bit)
{
    for (uint32_t granted = 0; granted < HTTP_METHODS; granted++) {
        begin();
        add_rule("https://api.test", 1u << granted, NULL);
        open_access();
        for (uint32_t method = 0; method < HTTP_METHODS; method++)
            cr_expect_eq(allows(method, "https://api.test", "/"), method == granted);
    }
}

Test(http_access, nothing_is_allowed_without_rules)
{
    begin();
    open_access();
    cr_expect_not(allows(HTTP_METHOD_GET, "https://api.test", "/"));
}

// A pattern that takes too long allows nothing, also where it would have matched in the end.
Test(http_access, a_costly_pattern_allows_nothing)
{
    static char path[4000];
    begin();
    add_rule("https://api.test", ONLY(GET), "\\A(?:/(?:(?:a+)+b|a+c))\\z");
    open_access();
    cr_expect(allows(HTTP_METHOD_GET, "https://api.test", "/aaac"));
    memset(path, 'a', sizeof(path) - 2);
    path[0] = '/';
    path[sizeof(path) - 2] = 'c';
    cr_expect_not(allows(HTTP_METHOD_GET, "https://api.test", path));
}

static struct http_address address_of(const char *text)
{
    struct http_address address = {0};
    cr_assert(http_address_read(text, strlen(text), &address), "%s", text);
    return address;
}

static bool reaches(const char *text)
{
    const struct http_address address = address_of(text);
    return http_access_reaches(&http_access, &address);
}

// First and last address of each network that is not public, and the public ones next to it; NULL:
// what is next to it is not public either.
static const struct {
    const char *before;
    const char *first;
    const char *last;
    const char *behind;
} closed[] = {
    {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
    {"192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"},
    {"192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"},
    {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
    {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
    {"223.255.255.255", "224.0.0.0", "239.255.255.255", NULL},
    {NULL, "240.0.0.0", "255.255.255.255", NULL},
    {NULL, "::", "::ffff:255.255.255.255", NULL},
    {NULL, "64:ff9b::", "64:ff9b::ffff:ffff", NULL},
    {NULL, "100::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
    {"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:200::"},
    {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
    {"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2003::"},
    {"2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
     "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"},
    {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3fff:1000::"},
    {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "5f00::", NULL},
    {NULL, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
    {NULL, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
    {NULL, "fec0::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
};

Test(http_access, what_is_not_public_is_not_reached)
{
    begin();
    open_access();
    http_access.own_count = 0;
    for (size_t i = 0; i < COUNT(closed); i++) {
        cr_expect_not(reaches(closed[i].first), "%s", closed[i].first);
        cr_expect_not(reaches(closed[i].last), "%s", closed[i].last);
        cr_expect(!closed[i].before || reaches(closed[i].before), "%s", closed[i].before);
        cr_expect(!closed[i].behind || reaches(closed[i].behind), "%s", closed[i].behind);
    }
    cr_expect(reaches("8.8.8.8"));
    cr_expect(reaches("2606:4700::1111"));
    // In the middle, too.
    cr_expect_not(reaches("172.20.1.1"));
    cr_expect_not(reaches("::1"));
    cr_expect_not(reaches("::ffff:8.8.8.8"));
}

Test(http_access, listed_networks_are_reached)
{
    begin();
    add_network("10.1.0.0/16");
    add_network("fd12::/16");
    add_network("127.0.0.1");
    open_access();
    http_access.own_count = 0;
    cr_expect(reaches("10.1.0.0"));
    cr_expect(reaches("10.1.255.255"));
    cr_expect_not(reaches("10.0.255.255"));
    cr_expect_not(reaches("10.2.0.0"));
    cr_expect(reaches("fd12:ffff::1"));
    cr_expect_not(reaches("fd11::1"));
    cr_expect(reaches("127.0.0.1"));
    cr_expect_not(reaches("127.0.0.2"));
    // Still the public ones.
    cr_expect(reaches("8.8.8.8"));
}

static const char *const metadata[] = {
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "100.100.100.200",
    "168.63.129.16",   "192.0.0.192",   "fd00:ec2::254",  "fd00:ec2::23", "fd20:ce::254",
};

Test(http_access, metadata_are_reached_only_if_listed_alone)
{
    begin();
    add_network("0.0.0.0/0");
    add_network("::/0");
    add_network("169.254.169.254/31");
    add_network("fd00:ec2::254/127");
    open_access();
    cr_expect(reaches("10.0.0.1"));
    cr_expect(reaches("fe80::1"));
    cr_expect(reaches("169.254.169.255"));
    for (size_t i = 0; i < COUNT(metadata); i++)
        cr_expect_not(reaches(metadata[i]), "%s", metadata[i]);
    // Nor in the spelling that makes an IPv4 address one of IPv6.
    cr_expect_not(reaches("::ffff:169.254.169.254"));
    cr_expect_not(reaches("::ffff:10.0.0.1"));
    for (size_t i = 0; i < COUNT(metadata); i++) {
        begin();
        add_network(metadata[i]);
        open_access();
        for (size_t j = 0; j < COUNT(metadata); j++)
            cr_expect_eq(reaches(metadata[j]), i == j, "%s, of %s", metadata[j], metadata[i]);
    }
    begin();
    add_network("::ffff:169.254.169.254");
    open_access();
    cr_expect_not(reaches("169.254.169.254"));
    cr_expect_not(reaches("::ffff:169.254.169.254"));
}

Test(http_access, own_addresses)
{
    begin();
    open_access();
    // The loopback address, at least, is found.
    cr_assert_gt(http_access.own_count, 0);
    bool loopback = false;
    for (uint32_t i = 0; i < http_access.own_count; i++)
        loopback |= http_access.own[i].version == 4 && http_access.own[i].bytes[0] == 127;
    cr_expect(loopback);
    cr_expect(reaches("8.8.8.8"));
    http_access.own[0] = address_of("8.8.8.8");
    http_access.own[1] = address_of("2606:4700::1");
    http_access.own_count = 2;
    cr_expect_not(reaches("8.8.8.8"));
    cr_expect_not(reaches("2606:4700::1"));
    cr_expect(reaches("8.8.8.9"));
    // The operator may mean this host.
    add_network("8.8.8.8");
    cr_expect(reaches("8.8.8.8"));
    cr_expect_not(reaches("2606:4700::1"));
}

// Networks of the grant, and none of the rest, make a difference: compared with a model of it.
Test(http_access, random_networks)
{
    struct random random = random_start(1);
    for (unsigned round = 0; round < 300; round++) {
        begin();
        open_access();
        http_access.own_count = 0;
        struct http_address asked[64];
        bool public_before[64];
        for (unsigned i = 0; i < COUNT(asked); i++) {
            asked[i] = (struct http_address){.version = i % 2 ? 4 : 6};
            random_fill(&random, asked[i].bytes, i % 2 ? 4 : 16);
            public_before[i] = http_access_reaches(&http_access, &asked[i]);
        }
        for (unsigned i = 0; i < 8; i++) {
            struct http_network *network = &grant.networks[grant.network_count++];
            *network = (struct http_network){.address = asked[random_below(&random, 64)]};
            network->bits = (uint32_t)random_below(&random, 33);
        }
        for (unsigned i = 0; i < COUNT(asked); i++) {
            bool listed = false;
            for (unsigned j = 0; j < grant.network_count; j++)
                listed |= http_network_holds(&grant.networks[j], &asked[i]);
            cr_assert_eq(http_access_reaches(&http_access, &asked[i]), public_before[i] || listed);
        }
        policy_memory_close(&http_access.memory);
    }
}

Test(http_access, names)
{
    begin();
    grant.name_count = 2;
    grant.names[0] = (struct http_name){"api.test", 1, {address_of("10.0.0.1")}};
    grant.names[1] = (struct http_name){"b.test", 1, {address_of("10.0.0.2")}};
    open_access();
    cr_expect_eq(http_access_name(&http_access, "b.test"), &grant.names[1]);
    cr_expect_null(http_access_name(&http_access, "b.tes"));
    cr_expect_null(http_access_name(&http_access, "x.b.test"));
}

Test(http_access, headers_of_the_operator)
{
    static const struct {
        const char *origin;
        const char *header;
        bool owned;
    } cases[] = {
        {"https://api.test", "Authorization", true},
        {"https://api.test", "aUTHORIZATION", true},
        {"https://api.test", "Authorizatio", false},
        {"https://api.test", "Authorization2", false},
        {"https://api.test:444", "Authorization", false},
        {"http://api.test:443", "Authorization", false},
        {"https://b.test", "Authorization", false},
    };
    struct error err = {0};
    begin();
    grant.secret_count = 1;
    grant.secrets[0] = (struct http_secret){
        .header = "Authorization", .value = "Bearer 12345678", .secret_at = 7, .secret_length = 8};
    cr_assert_eq(http_origin_parse("https://api.test", &grant.secrets[0].origin, NULL, &err), 0);
    open_access();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_origin origin;
        const struct http_header header = {cases[i].header, (uint32_t)strlen(cases[i].header), "",
                                           0};
        cr_assert_eq(http_origin_parse(cases[i].origin, &origin, NULL, &err), 0);
        cr_expect_eq(http_access_owns_header(&http_access, &origin, &header), cases[i].owned,
                     "case %zu", i);
    }
}

static bool opens(void)
{
    struct error err = {0};
    return http_access_open(&http_access, &grant, sizeof(grant), &err) == 0;
}

#define REFUSES(change)                                                                            \
    do {                                                                                           \
        begin();                                                                                   \
        fill();                                                                                    \
        change;                                                                                    \
        cr_expect_not(opens(), #change);                                                           \
    } while (0)

static void fill(void)
{
    add_rule("https://api.test", ONLY(GET), "\\A(?:/)\\z");
    add_network("10.0.0.0/8");
    grant.name_count = grant.nameserver_count = grant.secret_count = 1;
    grant.names[0] = (struct http_name){"api.test", 1, {address_of("10.0.0.1")}};
    grant.nameservers[0] = address_of("10.0.0.1");
    grant.secrets[0] = (struct http_secret){
        .origin = grant.rules[0].origin, .header = "X", .value = "12345678", .secret_length = 8};
    grant.proxy = address_of("10.0.0.1");
}

// What comes from the supervisor is checked as if it came from elsewhere.
Test(http_access, unsound_grants)
{
    struct error err = {0};
    begin();
    fill();
    cr_expect(opens());
    cr_expect_eq(http_access_open(&http_access, NULL, 0, &err), -1);
    cr_expect_eq(http_access_open(&http_access, &grant, sizeof(grant) - 1, &err), -1);
    REFUSES(grant.format[0] = 'G');
    REFUSES(grant.rule_count = HTTP_MAX_RULES + 1);
    REFUSES(grant.network_count = HTTP_MAX_NETWORKS + 1);
    REFUSES(grant.nameserver_count = HTTP_MAX_NAMESERVERS + 1);
    REFUSES(grant.name_count = HTTP_MAX_NAMES + 1);
    REFUSES(grant.secret_count = HTTP_MAX_SECRETS + 1);
    REFUSES(grant.has_certificate = 2);
    REFUSES(memset(grant.identity_oid, '1', sizeof(grant.identity_oid)));
    REFUSES(grant.proxy.version = 5);
    REFUSES(grant.proxy.port = 65536);
    REFUSES(grant.rules[0].origin.scheme = HTTP_SCHEMES);
    REFUSES(grant.rules[0].origin.port = 0);
    REFUSES(grant.rules[0].origin.port = 65536);
    REFUSES(grant.rules[0].origin.host[0] = '\0');
    REFUSES(grant.rules[0].origin.host[0] = 'A');
    REFUSES(memset(grant.rules[0].origin.host, 'a', HTTP_HOST_SIZE));
    REFUSES(memset(grant.rules[0].path, 'a', HTTP_PATTERN_SIZE));
    REFUSES(strcpy(grant.rules[0].path, "("));
    REFUSES(grant.networks[0].bits = 33);
    REFUSES(grant.networks[0].address.version = 0);
    REFUSES(grant.nameservers[0].version = 7);
    REFUSES(grant.names[0].address_count = 0);
    REFUSES(grant.names[0].address_count = HTTP_MAX_ADDRESSES + 1);
    REFUSES(grant.names[0].addresses[0].version = 0);
    REFUSES(memset(grant.names[0].host, 'a', HTTP_HOST_SIZE));
    REFUSES(grant.secrets[0].secret_length = 0);
    REFUSES(grant.secrets[0].secret_length = 9);
    REFUSES(grant.secrets[0].secret_length = UINT32_MAX);
    REFUSES(grant.secrets[0].secret_at = 1);
    REFUSES(grant.secrets[0].secret_at = UINT32_MAX);
    REFUSES(memset(grant.secrets[0].value, 'a', HTTP_VALUE_SIZE));
    REFUSES(memset(grant.secrets[0].header, 'a', HTTP_HEADER_NAME_SIZE));
}
