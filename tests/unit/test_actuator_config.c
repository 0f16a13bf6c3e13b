// SPDX-License-Identifier: Apache-2.0
// The configuration of actuators: what is read, what is refused, and that damage never passes.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "actuator_config.h"
#include "actuator_event.h"
#include "actuator_ipmi.h"
#include "support.h"

#define WRAP(list) "{\"format\":\"guillotine-actuators/1\",\"actuators\":[" list "]}"
#define COMMAND                                                                                    \
    "{\"name\":\"a\",\"driver\":\"command\",\"class\":\"reversible\",\"target\":\"other\","        \
    "\"fire\":[\"/bin/true\",\"x\"],\"restore\":[\"/bin/true\"],\"read_back\":[\"/bin/true\"]}"
#define REDFISH                                                                                    \
    "{\"name\":\"b\",\"driver\":\"redfish\",\"class\":\"reversible\",\"target\":\"this-host\","    \
    "\"host\":\"10.0.0.1\",\"system\":\"/redfish/v1/Systems/1\",\"credentials\":\"cred\","         \
    "\"ca_file\":\"/ca.pem\",\"spki_sha256\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\","    \
    "\"auth\":\"basic\",\"restore_with\":\"PowerCycle\",\"timeout_ms\":2000,\"retries\":1,"        \
    "\"settle_ms\":1000}"
#define IPMI                                                                                       \
    "{\"name\":\"c\",\"driver\":\"ipmi\",\"class\":\"reversible\",\"target\":\"other\","           \
    "\"host\":\"bmc\",\"user\":\"root\",\"password_file\":\"pw\",\"cipher_suite\":17}"
#define LINK "{\"name\":\"d\",\"driver\":\"link\",\"class\":\"reversible\",\"interface\":\"eth0\"}"
#define SIMULATED                                                                                  \
    "{\"name\":\"e\",\"driver\":\"simulated\",\"class\":\"destructive\",\"state_file\":\"s\"}"

static struct actuator_config config;

static int parse(const char *text, struct error *err)
{
    return actuator_config_parse("/etc/g/actuators.json", text, strlen(text), &config, err);
}

Test(actuator_config, reads_every_driver)
{
    struct error err = {0};
    cr_assert_eq(parse(WRAP(COMMAND "," REDFISH "," IPMI "," LINK "," SIMULATED), &err), 0, "%s",
                 err.text);
    cr_assert_eq(config.count, 5);
    const struct actuator *command = actuator_config_named(&config, "a");
    cr_expect_str_eq(command->fire[1], "x");
    cr_expect_null(command->fire[2]);
    cr_expect_eq(command->timeout_ms, 10000);
    cr_expect_eq(command->settle_ms, 1000);
    const struct actuator *redfish = actuator_config_named(&config, "b");
    cr_expect_str_eq(redfish->credentials, "/etc/g/cred");
    cr_expect_str_eq(redfish->ca_file, "/ca.pem");
    cr_expect(redfish->this_host && redfish->pinned);
    cr_expect_eq(redfish->pin[31], 31);
    cr_expect_eq(redfish->port, 443);
    cr_expect_eq(redfish->auth, ACTUATOR_AUTH_BASIC);
    cr_expect_eq(redfish->power_on, ACTUATOR_POWER_CYCLE);
    cr_expect_eq(actuator_config_named(&config, "e")->class, ACTUATOR_DESTRUCTIVE);
    cr_expect_null(actuator_config_named(&config, "f"));
    // Four reversible ones: three with the defaults.
    cr_expect_eq(actuator_config_bound_ms(&config, ACTUATOR_CUT), 3 * 3 * 10200 + 2 * 2200);
    cr_expect_eq(actuator_config_bound_ms(&config, ACTUATOR_CUT_FOR_GOOD), 0);
    cr_expect_eq(actuator_config_bound_ms(&config, ACTUATOR_DESTROY), 3 * 10200);
    struct actuator_ipmi_arguments arguments;
    actuator_ipmi_arguments(actuator_config_named(&config, "c"), "off", &arguments);
    static const char *const expected[] = {
        "/usr/bin/ipmitool", "-I", "lanplus", "-H", "bmc", "-p", "623", "-U",      "root",  "-f",
        "/etc/g/pw",         "-N", "1",       "-R", "2",   "-C", "17",  "chassis", "power", "off"};
    for (size_t i = 0; i < COUNT(expected); i++)
        cr_expect_str_eq(arguments.list[i], expected[i]);
    cr_expect_null(arguments.list[COUNT(expected)]);
    actuator_config_free(&config);
}

Test(actuator_config, refuses)
{
    static const struct {
        const char *from; // in a valid text
        const char *to;
        const char *message;
    } cases[] = {
        {"guillotine-actuators/1", "guillotine-actuators/2", "is not known"},
        {"\"name\":\"a\"", "\"name\":\"b\"", "a second actuator named 'b'"},
        {"\"name\":\"a\"", "\"name\":\"../a\"", "is not a name"},
        {"\"name\":\"a\"", "\"nam\":\"a\"", "did you mean 'name'"},
        {"\"driver\":\"command\",", "", "missing key 'driver'"},
        {"\"driver\":\"command\"", "\"driver\":\"shell\"", "is not one of"},
        {"\"restore\":[\"/bin/true\"],", "", "needs a command 'restore'"},
        {"\"class\":\"reversible\",\"target\":\"other\",\"fire\"",
         "\"class\":\"irreversible\",\"target\":\"other\",\"fire\"",
         "only a reversible actuator has a command 'restore'"},
        {"\"fire\":[\"/bin/true\",\"x\"]", "\"fire\":[]", "a program is expected"},
        {"\"fire\":[\"/bin/true\",\"x\"]", "\"fire\":[\"true\"]", "an absolute path"},
        {"\"fire\":[\"/bin/true\",\"x\"]", "\"fire\":[\"/bin/true\",1]", "a string is expected"},
        {"\"fire\":[\"/bin/true\",\"x\"]", "\"fire\":\"/bin/true x\"", "an array is expected"},
        {"\"target\":\"this-host\",", "", "missing key 'target'"},
        {"\"host\":\"10.0.0.1\"", "\"host\":\"https://x\"", "a host name"},
        {"\"host\":\"10.0.0.1\"", "\"host\":\"user@x\"", "a host name"},
        {"\"host\":\"10.0.0.1\"", "\"host\":\"\"", "must not be empty"},
        {"\"host\":\"bmc\"", "\"host\":\"-oProxy\"", "a host name"},
        {"\"user\":\"root\"", "\"user\":\"-x\"", "a user name"},
        {"/redfish/v1/Systems/1", "/redfish/v1/../x", "the path of a system"},
        {"/redfish/v1/Systems/1", "/redfish/v1/a?b", "the path of a system"},
        {"/redfish/v1/Systems/1", "http://x/", "the path of a system"},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "AAEC", "SHA-256"},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
         "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIA==", "SHA-256"},
        {"\"settle_ms\":1000", "\"settle_ms\":1001", "more than half"},
        {"\"timeout_ms\":2000", "\"timeout_ms\":99", "outside 100 to 120000"},
        {"\"retries\":1", "\"retries\":11", "outside 0 to 10"},
        {"\"cipher_suite\":17", "\"cipher_suite\":0", "cipher suite 3 or 17"},
        {"\"interface\":\"eth0\"", "\"interface\":\"eth0/../x\"", "a network interface"},
        {"\"interface\":\"eth0\"", "\"interface\":\"interfacenameof16\"", "a network interface"},
        {"\"driver\":\"link\",\"class\":\"reversible\"",
         "\"driver\":\"link\",\"class\":\"destructive\"", "it is reversible"},
        {"\"state_file\":\"s\"", "\"state_file\":\"s\",\"host\":\"x\"", "unknown key"},
    };
    static const char good[] = WRAP(COMMAND "," REDFISH "," IPMI "," LINK "," SIMULATED);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[4096];
        struct error err = {0};
        const char *at = strstr(good, cases[i].from);
        cr_assert_not_null(at, "%s", cases[i].from);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, cases[i].to,
                 at + strlen(cases[i].from));
        cr_expect_eq(parse(text, &err), -1, "accepted: %s", cases[i].to);
        cr_expect_not_null(strstr(err.text, cases[i].message), "%s: %s", cases[i].to, err.text);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
        cr_expect_eq(config.count, 0);
    }
}

Test(actuator_config, redfish_needs_a_certificate_to_trust)
{
    struct error err = {0};
    cr_assert_eq(parse(WRAP("{\"name\":\"b\",\"driver\":\"redfish\",\"class\":\"reversible\","
                            "\"target\":\"other\",\"host\":\"h\",\"credentials\":\"c\","
                            "\"system\":\"/redfish/v1/Systems/1\"}"),
                       &err),
                 -1);
    cr_assert(strstr(err.text, "give ca_file or spki_sha256"), "%s", err.text);
}

// A damaged text is refused, or still says what an undamaged one could: every limit that the reader
// promises holds, whatever the bytes.
Test(actuator_config, damage_never_breaks_a_promise)
{
    static const char good[] = WRAP(COMMAND "," REDFISH "," IPMI "," LINK "," SIMULATED);
    struct random random = random_start(11);
    for (unsigned round = 0; round < 30000; round++) {
        char text[2 * sizeof(good)];
        struct error err = {0};
        size_t length = sizeof(good) - 1;
        memcpy(text, good, length);
        for (uint64_t n = 1 + random_below(&random, 3); n; n--) {
            size_t at = random_below(&random, length);
            if (random_chance(&random, 30)) {
                memmove(text + at, text + at + 1, length - at - 1);
                length--;
            } else if (random_chance(&random, 50)) {
                text[at] = (char)random_next(&random);
            } else {
                size_t from = random_below(&random, length);
                text[at] = text[from];
            }
        }
        if (actuator_config_parse("t", text, length, &config, &err)) {
            cr_assert_eq(err.status, EXIT_STATUS_BAD_FILE, "round %u: %s", round, err.text);
            continue;
        }
        cr_assert_leq(config.count, ACTUATOR_MAX);
        for (uint32_t i = 0; i < config.count; i++) {
            const struct actuator *actuator = &config.list[i];
            cr_assert(actuator->timeout_ms >= 100 && actuator->timeout_ms <= 120000);
            cr_assert(actuator->retries <= 10 && actuator->settle_ms <= actuator->timeout_ms / 2);
            cr_assert_eq(actuator_config_named(&config, actuator->name), actuator);
            if (actuator->kind == ACTUATOR_REDFISH)
                cr_assert(actuator->ca_file || actuator->pinned);
            if (actuator->kind == ACTUATOR_COMMAND)
                cr_assert(actuator->fire[0][0] == '/' && actuator->read_back[0][0] == '/');
        }
        actuator_config_free(&config);
    }
}

Test(actuator_event, survives_the_way_as_a_line)
{
    struct random random = random_start(12);
    for (unsigned round = 0; round < 20000; round++) {
        struct actuator_event event = {
            .kind = random_below(&random, ACTUATOR_EVENT_COUNT),
            .action = random_below(&random, ACTUATOR_ACTION_COUNT),
            .actuator = "name-1",
            .driver = random_below(&random, ACTUATOR_KIND_COUNT),
            .simulated = random_chance(&random, 50),
            .attempt = (uint32_t)random_next(&random),
            .state = random_below(&random, ACTUATOR_STATE_COUNT),
            .confirmed = random_chance(&random, 50),
        };
        struct actuator_event read;
        struct error err = {0};
        char line[ACTUATOR_LINE_MAX];
        size_t length = random_below(&random, sizeof(event.detail));
        for (size_t i = 0; i < length; i++)
            event.detail[i] = (char)(0x20 + random_below(&random, 0x5f));
        size_t bytes = actuator_event_format(&event, line);
        cr_assert(bytes < sizeof(line) && line[bytes - 1] == '\n');
        cr_assert_eq(memchr(line, '\n', bytes), line + bytes - 1);
        cr_assert_eq(actuator_event_parse(line, bytes - 1, &read, &err), 0, "%s", err.text);
        cr_assert_str_eq(read.detail, event.detail);
        cr_assert(read.kind == event.kind && read.action == event.action &&
                  read.driver == event.driver && read.attempt == event.attempt &&
                  read.state == event.state && read.confirmed == event.confirmed &&
                  read.simulated == event.simulated);
        // Damaged, it is refused or as printable as before.
        line[random_below(&random, bytes - 1)] = (char)random_next(&random);
        if (actuator_event_parse(line, bytes - 1, &read, &err) == 0) {
            for (const char *c = read.detail; *c; c++)
                cr_assert(*c >= 0x20 && *c < 0x7f);
            cr_assert_lt(strlen(read.actuator), ACTUATOR_NAME_SIZE);
        }
    }
}

Test(actuator_event, makes_a_hostile_detail_harmless)
{
    struct actuator_event event = {.detail = "\x1b[2J\"\n\\\xff"};
    struct actuator_event read;
    struct error err = {0};
    char line[ACTUATOR_LINE_MAX];
    memset(event.detail + 20, '"', sizeof(event.detail) - 21);
    size_t bytes = actuator_event_format(&event, line);
    cr_assert_eq(actuator_event_parse(line, bytes - 1, &read, &err), 0, "%s", err.text);
    cr_expect_str_eq(read.detail, "?[2J\"?\\?");
}
