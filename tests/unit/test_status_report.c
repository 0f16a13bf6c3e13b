// SPDX-License-Identifier: Apache-2.0
// A VM's state as text: valid JSON and well-formed metrics, however large the numbers are.
#include <criterion/criterion.h>
#include <ctype.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "queue_rule.h"
#include "status_report.h"
#include "support.h"

#define MOST_NAME "a23456789012345678901234567890123456789012345678901234567890123"

static struct supervisor s;
static struct vmm_status status;
static char text[CONTROL_ANSWER_MAX];

// Sixteen ports, everything as long as it can be.
static void fill_most(void)
{
    memset(&s, 0, sizeof(s));
    memset(&status, 0xff, sizeof(status));
    strcpy(s.vm.name, MOST_NAME);
    s.vm.vcpus = VMM_MAX_VCPUS;
    s.vm.port_count = VMM_MAX_PORTS;
    s.process.pid = 4194304;
    status.level = LEVEL_DECAPITATION;
    status.port_count = VMM_MAX_PORTS;
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        struct vmm_port_config *port = &s.vm.ports[i];
        snprintf(port->name, sizeof(port->name), "port-%02u-%.23s", i, MOST_NAME);
        cr_assert_eq(strlen(port->name), 31u);
        port->kind = VMM_PORT_LOOPBACK;
        port->operations = 14;
        port->process = 1;
        port->limits.requests_per_s = 1ull << 40;
        port->max_request_bytes = 1 << 20;
        s.backends[i].restarts = UINT32_MAX;
        status.ports[i].state = VMM_PORT_CLOSED_ANOMALY;
        status.ports[i].anomaly_rule = QUEUE_RULE_INDIRECT_LENGTH;
    }
}

static json_object *parse_json(void)
{
    enum json_tokener_error error;
    json_object *object = json_tokener_parse_verbose(text, &error);
    cr_assert_not_null(object, "%s: %.200s", json_tokener_error_desc(error), text);
    cr_assert(json_object_is_type(object, json_type_object));
    return object;
}

static uint64_t number(json_object *object, const char *key)
{
    json_object *member;
    cr_assert(json_object_object_get_ex(object, key, &member), "%s is missing", key);
    cr_assert(json_object_is_type(member, json_type_int), "%s", key);
    return json_object_get_uint64(member);
}

static const char *string(json_object *object, const char *key)
{
    json_object *member;
    cr_assert(json_object_object_get_ex(object, key, &member), "%s is missing", key);
    cr_assert(json_object_is_type(member, json_type_string), "%s", key);
    return json_object_get_string(member);
}

Test(status_report, json_of_the_largest_numbers)
{
    json_object *ports;
    fill_most();
    status_report_json(&s, &status, text, sizeof(text));
    cr_assert_lt(strlen(text) + 2, sizeof(text), "the answer does not fit");
    cr_expect_null(strchr(text, '\n'), "an answer is one line");
    json_object *object = parse_json();
    cr_expect_str_eq(string(object, "name"), MOST_NAME);
    cr_expect_str_eq(string(object, "level"), "decapitation");
    cr_expect_eq(number(object, "exits"), UINT64_MAX);
    cr_expect_eq(number(object, "vcpus"), VMM_MAX_VCPUS);
    cr_assert(json_object_object_get_ex(object, "ports", &ports));
    cr_assert_eq(json_object_array_length(ports), VMM_MAX_PORTS);
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        json_object *port = json_object_array_get_idx(ports, i);
        json_object *member;
        cr_expect_str_eq(string(port, "name"), s.vm.ports[i].name);
        cr_expect_str_eq(string(port, "kind"), "loopback");
        cr_expect_str_eq(string(port, "state"), "closed-anomaly");
        cr_expect_str_eq(string(port, "anomaly_rule"), "indirect-length");
        cr_expect_eq(number(port, "restarts"), UINT32_MAX);
        static const char *const wide[] = {"requests",  "completions", "denied", "bytes_in",
                                           "bytes_out", "p50_ns",      "p99_ns"};
        for (size_t k = 0; k < COUNT(wide); k++)
            cr_expect_eq(number(port, wide[k]), UINT64_MAX, "%s", wide[k]);
        static const char *const narrow[] = {"anomalies", "anomaly_descriptor", "in_flight",
                                             "queued"};
        for (size_t k = 0; k < COUNT(narrow); k++)
            cr_expect_eq(number(port, narrow[k]), UINT32_MAX, "%s", narrow[k]);
        cr_assert(json_object_object_get_ex(port, "operations", &member));
        cr_expect_eq(json_object_array_length(member), 3u);
        cr_assert(json_object_object_get_ex(port, "capacity_bits_per_s", &member));
        cr_expect_eq(json_object_get_uint64(member),
                     (1ull << 40) * (256 + (8u << 20)) + POLICY_REFUSALS_PER_S * 256);
    }
    json_object_put(object);
}

Test(status_report, json_of_little)
{
    json_object *ports, *member;
    memset(&s, 0, sizeof(s));
    memset(&status, 0, sizeof(status));
    strcpy(s.vm.name, "x");
    status_report_json(&s, &status, text, sizeof(text));
    json_object *object = parse_json();
    cr_expect_eq(number(object, "vcpus"), 1u, "one is the default");
    cr_assert(json_object_object_get_ex(object, "ports", &ports));
    cr_expect_eq(json_object_array_length(ports), 0u);
    json_object_put(object);
    // A port that nothing bounds, with nothing granted.
    s.vm.port_count = status.port_count = 1;
    s.vm.ports[0].kind = VMM_PORT_CONSOLE;
    strcpy(s.vm.ports[0].name, "c");
    status_report_json(&s, &status, text, sizeof(text));
    object = parse_json();
    cr_assert(json_object_object_get_ex(object, "ports", &ports));
    json_object *port = json_object_array_get_idx(ports, 0);
    cr_assert(json_object_object_get_ex(port, "capacity_bits_per_s", &member));
    cr_expect(json_object_is_type(member, json_type_null));
    cr_assert(json_object_object_get_ex(port, "operations", &member));
    cr_expect_eq(json_object_array_length(member), 0u);
    json_object_put(object);
}

// Numbers come from a VMM that may have fallen: whatever it says, the text stays text.
Test(status_report, whatever_the_vmm_says)
{
    struct random random = random_start(74);
    for (int round = 0; round < 2000; round++) {
        fill_most();
        random_fill(&random, &status, sizeof(status));
        s.vm.port_count = random_below(&random, VMM_MAX_PORTS + 1);
        status_report_json(&s, &status, text, sizeof(text));
        json_object *object = parse_json(), *ports;
        cr_assert(json_object_object_get_ex(object, "ports", &ports));
        cr_assert_leq(json_object_array_length(ports), s.vm.port_count);
        json_object_put(object);
    }
}

// One line of the text format 0.0.4: a comment, or NAME{LABEL="VALUE",...} NUMBER.
static void check_line(const char *line, size_t length)
{
    const char *at = line, *end = line + length;
    if (!strncmp(line, "# HELP guillotine_", 18) || !strncmp(line, "# TYPE guillotine_", 18))
        return;
    while (at < end && (isalnum((unsigned char)*at) || *at == '_'))
        at++;
    cr_assert(at > line && at < end && *at == '{', "%.*s", (int)length, line);
    do {
        at++;
        const char *label = at;
        while (at < end && (isalpha((unsigned char)*at) || *at == '_'))
            at++;
        cr_assert(at > label && at + 1 < end && at[0] == '=' && at[1] == '"', "%.*s", (int)length,
                  line);
        for (at += 2; at < end && *at != '"'; at++)
            cr_assert(isalnum((unsigned char)*at) || *at == '-' || *at == '.', "%.*s", (int)length,
                      line);
        cr_assert(at + 1 < end);
        at++;
    } while (*at == ',');
    cr_assert(at + 1 < end && at[0] == '}' && at[1] == ' ', "%.*s", (int)length, line);
    const char *digits = at + 2;
    for (at = digits; at < end && (isdigit((unsigned char)*at) || *at == '.'); at++) {
    }
    cr_assert(at == end && at > digits, "%.*s", (int)length, line);
}

static unsigned check_metrics(void)
{
    unsigned lines = 0;
    size_t length = strlen(text);
    cr_assert_gt(length, 0u);
    cr_assert_lt(length + 1, sizeof(text), "the answer does not fit");
    cr_assert_eq(text[length - 1], '\n', "the last line is cut");
    for (const char *line = text; *line; lines++) {
        const char *end = strchr(line, '\n');
        check_line(line, (size_t)(end - line));
        line = end + 1;
    }
    return lines;
}

Test(status_report, metrics_of_the_largest_numbers)
{
    fill_most();
    status_report_metrics(&s, &status, text, sizeof(text));
    unsigned lines = check_metrics();
    // Each port has a line of each metric.
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        char label[64];
        unsigned count = 0;
        snprintf(label, sizeof(label), "port=\"%s\"", s.vm.ports[i].name);
        for (const char *at = text; (at = strstr(at, label)); at++)
            count++;
        cr_expect_eq(count, 14u, "port %u: %u lines", i, count);
    }
    cr_expect_eq(lines, 3 * 3 + 12 * (2 + VMM_MAX_PORTS) + 2 + 2 * VMM_MAX_PORTS);
    cr_expect_not_null(strstr(text, "} 18446744073709551615\n"));
    cr_expect_not_null(strstr(text, "quantile=\"0.99\"} 18446744073.709551615\n"));
}

Test(status_report, metrics_of_little)
{
    memset(&s, 0, sizeof(s));
    memset(&status, 0, sizeof(status));
    strcpy(s.vm.name, "x");
    status_report_metrics(&s, &status, text, sizeof(text));
    check_metrics();
    s.vm.port_count = status.port_count = 1;
    strcpy(s.vm.ports[0].name, "c");
    status.ports[0].p50_ns = 1;
    status_report_metrics(&s, &status, text, sizeof(text));
    check_metrics();
    cr_expect_not_null(strstr(text, "guillotine_port_open{vm=\"x\",port=\"c\"} 1\n"));
    cr_expect_not_null(strstr(text, "quantile=\"0.5\"} 0.000000001\n"));
}

// Every metric has its help and its type in front of its first sample.
Test(status_report, metrics_are_declared)
{
    fill_most();
    status_report_metrics(&s, &status, text, sizeof(text));
    char declared[64] = "";
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (!strncmp(line, "# TYPE ", 7)) {
            cr_assert_eq(sscanf(line, "# TYPE %63s", declared), 1);
            continue;
        }
        if (line[0] == '#')
            continue;
        size_t name = strcspn(line, "{");
        cr_assert(name == strlen(declared) && !strncmp(line, declared, name), "%s", line);
    }
}
