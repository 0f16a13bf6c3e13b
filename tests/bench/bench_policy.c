// SPDX-License-Identifier: Apache-2.0
// bench policy: what one decision costs by 10, 100 and 1,000 rules, with one port and with sixteen.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "clock.h"
#include "policy_document.h"
#include "policy_engine.h"

#define BATCHES   301u
#define DECISIONS 2000u // of each batch
#define PORTS     16u

// Rules as for an allow-list: an exact text, sizes, some with a prefix, and a limit.
static void append_rules(char **at, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const char *test = i % 10 == 9 ? "prefix" : "equals";
        *at += sprintf(*at,
                       "%s{\"name\":\"rule-%u\",\"operations\":[\"write\"],"
                       "\"request_bytes\":{\"max\":1000},\"where\":{\"payload\":{\"%s\":"
                       "\"host-%u.example.org\"}},\"outcome\":\"allow\","
                       "\"limits\":{\"requests_per_s\":1000000000}}",
                       i ? "," : "", i, test, i);
    }
}

static struct policy_document make_policy(unsigned rules, unsigned ports)
{
    struct policy_document document = {0};
    struct error err;
    char *text = malloc(4096 + (size_t)rules * ports * 256);
    char *at = text;
    if (!text)
        bench_die("no memory");
    at += sprintf(at, "{\"format\":\"%s\",\"ports\":{", POLICY_DOCUMENT_FORMAT);
    for (unsigned port = 0; port < ports; port++) {
        at += sprintf(at, "%s\"port-%u\":{\"kind\":\"console\",\"rules\":[", port ? "," : "", port);
        append_rules(&at, rules);
        at += sprintf(at, "]}");
    }
    at += sprintf(at, "}}");
    if (policy_document_parse("bench", text, (size_t)(at - text), &document, &err) < 0)
        bench_die("%s", err.text);
    free(text);
    return document;
}

// Requests meet every rule equally often: half of the rules are passed over on average.
static double measure(unsigned rules, unsigned ports, struct samples *samples)
{
    struct policy_document document = make_policy(rules, ports);
    struct policy_engine *engines[PORTS];
    static char payloads[1000][40];
    struct error err;
    struct policy_memory memory;
    if (policy_memory_open(&memory, &err) < 0)
        bench_die("%s", err.text);
    for (unsigned i = 0; i < ports; i++) {
        char name[16];
        snprintf(name, sizeof(name), "port-%u", i);
        engines[i] = policy_engine_create(&document.arrays, name, &clock_host, &memory, &err);
        if (!engines[i])
            bench_die("%s", err.text);
    }
    for (unsigned i = 0; i < rules; i++)
        snprintf(payloads[i], sizeof(payloads[i]), "host-%u.example.org", i);
    unsigned asked = 0;
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        uint64_t start = bench_now_ns();
        for (unsigned i = 0; i < DECISIONS; i++) {
            const char *payload = payloads[asked++ * 7919u % rules];
            const struct policy_view view = {1, 0, (uint32_t)strlen(payload),
                                             (const uint8_t *)payload};
            uint32_t taken = 0;
            const struct policy_result result =
                policy_engine_decide(engines[asked % ports], &view, false, start, &taken);
            if (result.finding != POLICY_FINDING_RULE)
                bench_die("a request that a rule allows was not");
        }
        samples_add(samples, (double)(bench_now_ns() - start) / DECISIONS);
    }
    policy_memory_close(&memory);
    policy_document_free(&document);
    return samples_quantile(samples, 0.5);
}

void bench_policy(struct bench *bench)
{
    static const struct {
        const char *name;
        unsigned rules;
        unsigned ports;
    } rows[] = {
        {"decision_p50_ns_10", 10, 1},
        {"decision_p50_ns_100", 100, 1},
        {"decision_p50_ns_1000", 1000, 1},
        {"decision_p50_ns_100_of_16_ports", 100, PORTS},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct samples samples = {0};
        bench_progress(bench, "%u rules for each of %u ports", rows[i].rules, rows[i].ports);
        double p50 = measure(rows[i].rules, rows[i].ports, &samples);
        bench_metric(bench, rows[i].name, p50, "ns", "lower", samples.count);
        samples_free(&samples);
    }
}
