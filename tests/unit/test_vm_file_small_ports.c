// SPDX-License-Identifier: Apache-2.0
// Clock, entropy and log in a VM file: settings, defaults, what is refused.
#include <stdio.h>

#include "clock.h"
#include "log_file.h"
#include "port_abi.h"
#include "vm_file_support.h"

static struct vm_description read(const char *text)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(text, &vm, &err), 0, "%s", err.text);
    return vm;
}

#define SEED "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

Test(vm_file_small_ports, reads_settings)
{
    struct vm_description vm =
        read(VM("\"ports\":[{\"kind\":\"clock\",\"operations\":[\"now\"],\"settings\":"
                "{\"resolution_ms\":250,\"jitter_ms\":250,\"quantise_replies\":true}},"
                "{\"kind\":\"entropy\",\"settings\":{\"seed_hex\":\"" SEED "\"}},"
                "{\"kind\":\"log\",\"settings\":{\"path\":\"/var/log/x\",\"max_bytes\":65536}}]"));
    const struct vmm_clock_options *clock = &vm.ports[0].options.clock;
    cr_expect_eq(vm.ports[0].operations, 1u << CLOCK_PORT_NOW);
    cr_expect_eq(clock->resolution_ns, 250 * NS_PER_MS);
    cr_expect_eq(clock->jitter_ns, 250 * NS_PER_MS);
    cr_expect_eq(clock->quantises_replies, 1u);
    cr_expect_eq(vm.ports[1].options.entropy.seeded, 1u);
    cr_assert_eq(vm.settings[1].length, 32u);
    const uint8_t *seed = vm.settings[1].bytes;
    for (unsigned i = 0; i < 31; i++)
        cr_expect_eq(seed[i], i);
    cr_expect_eq(seed[31], 0xff);
    for (unsigned i = 0; i < 32; i++)
        cr_expect_eq(vm.ports[1].options.entropy.seed[i], 0, "the configuration shows the seed");
    const struct log_settings *log = vm.settings[2].bytes;
    cr_assert_eq(vm.settings[2].length, sizeof(*log));
    cr_expect_str_eq(log->path, "/var/log/x");
    cr_expect_eq(log->max_bytes, 65536u);
    vm_description_free(&vm);
}

// The same for a file without settings, with empty ones, and for the command line.
Test(vm_file_small_ports, defaults)
{
    static const char *const kinds[] = {"clock", "entropy", "log"};
    struct vm_description file =
        read(VM("\"ports\":[{\"kind\":\"clock\"},{\"kind\":\"entropy\"},{\"kind\":\"log\"}]"));
    struct vm_description empty = read(
        VM("\"ports\":[{\"kind\":\"clock\",\"settings\":{}},{\"kind\":\"entropy\",\"settings\":{}},"
           "{\"kind\":\"log\",\"settings\":{}}]"));
    struct vm_description line = {0};
    for (unsigned i = 0; i < 3; i++) {
        struct error err = {0};
        cr_assert_eq(vm_description_add_port(&line, kinds[i], NULL, &err), 0, "%s", err.text);
        cr_expect_eq(memcmp(&file.ports[i], &line.ports[i], sizeof(line.ports[i])), 0);
        cr_expect_eq(memcmp(&file.ports[i], &empty.ports[i], sizeof(line.ports[i])), 0);
        cr_expect_eq(file.ports[i].kind, (uint32_t)PORT_KIND_CLOCK + i);
        cr_expect_eq(file.ports[i].process, 0u);
    }
    cr_expect_eq(file.ports[0].operations, 1u << CLOCK_PORT_MONOTONIC, "no date unless named");
    cr_expect_eq(file.ports[0].options.clock.resolution_ns, NS_PER_S);
    cr_expect_eq(file.ports[0].max_reply_bytes, CLOCK_MAX_BYTES);
    cr_expect_geq(file.ports[0].tight_reply_bytes, sizeof(struct clock_reading));
    cr_expect_eq(file.ports[1].operations, 1u << ENTROPY_READ);
    cr_expect_eq(file.ports[1].max_reply_bytes, ENTROPY_MAX_BYTES);
    cr_expect_eq(file.ports[2].operations, 1u << LOG_WRITE);
    cr_expect_eq(file.ports[2].max_request_bytes, LOG_MAX_BYTES);
    cr_expect_eq(file.ports[2].limits.requests_per_s, 100u);
    cr_expect_eq(file.ports[2].limits.request_burst, 1000u);
    cr_expect_eq(file.ports[2].tight_limits.requests_per_s, 10u);
    cr_expect_eq(file.ports[2].tight_limits.request_burst, 100u);
    const struct log_settings *log = empty.settings[2].bytes;
    cr_expect_eq(log->max_bytes, LOG_FILE_BYTES_DEFAULT);
    cr_expect_str_eq(log->path, "");
    cr_expect_eq(LOG_MAX_BYTES, LOG_MESSAGE_MAX);
    vm_description_free(&file);
    vm_description_free(&empty);
    vm_description_free(&line);
}

// A rate of the file's own has one second's worth of burst, not the default one.
Test(vm_file_small_ports, rates_of_a_log)
{
    static const struct {
        const char *limits;
        uint64_t rate, burst;
    } cases[] = {
        {"{}", 100, 1000},
        {"{\"bytes_total\":5}", 100, 1000},
        {"{\"requests_per_s\":5}", 5, 0},
        {"{\"requests_per_s\":0}", 0, 0},
        {"{\"request_burst\":7}", 100, 7},
        {"{\"request_burst\":7,\"requests_per_s\":5}", 5, 7},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256];
        snprintf(text, sizeof(text), VM("\"ports\":[{\"kind\":\"log\",\"limits\":%s}]"),
                 cases[i].limits);
        struct vm_description vm = read(text);
        cr_expect_eq(vm.ports[0].limits.requests_per_s, cases[i].rate, "case %zu", i);
        cr_expect_eq(vm.ports[0].limits.request_burst, cases[i].burst, "case %zu", i);
        vm_description_free(&vm);
    }
}

Test(vm_file_small_ports, paths_start_at_the_file)
{
    struct vm_description vm = {0};
    struct error err = {0};
    static const char text[] =
        VM("\"ports\":[{\"kind\":\"log\",\"settings\":{\"path\":\"x/y.log\"}}]");
    cr_assert_eq(vm_file_parse("/etc/vms/a.json", text, strlen(text), &vm, &err), 0, "%s",
                 err.text);
    cr_expect_str_eq(((const struct log_settings *)vm.settings[0].bytes)->path, "/etc/vms/x/y.log");
    vm_description_free(&vm);
}

#define CLOCK(settings)   VM("\"ports\":[{\"kind\":\"clock\",\"settings\":" settings "}]")
#define ENTROPY(settings) VM("\"ports\":[{\"kind\":\"entropy\",\"settings\":" settings "}]")
#define LOG(settings)     VM("\"ports\":[{\"kind\":\"log\",\"settings\":" settings "}]")

Test(vm_file_small_ports, refuses)
{
    static const struct refusal refusals[] = {
        {CLOCK("{\"resolution_ms\":0}"),
         "t.json:2:54: /ports/0/settings/resolution_ms: 0 is outside 1 to 3600000"},
        {CLOCK("{\"resolution_ms\":3600001}"),
         "t.json:2:54: /ports/0/settings/resolution_ms: 3600001 is outside 1 to 3600000"},
        {CLOCK("{\"resolution_us\":1}"),
         "t.json:2:38: /ports/0/settings/resolution_us: unknown key, did you mean 'resolution_ms'? "
         "(known: resolution_ms, jitter_ms, quantise_replies)"},
        {CLOCK("{\"jitter_ms\":1001}"),
         "t.json:2:50: /ports/0/settings/jitter_ms: 1001 is more than the resolution, 1000"},
        {CLOCK("{\"jitter_ms\":11,\"resolution_ms\":10}"),
         "t.json:2:50: /ports/0/settings/jitter_ms: 11 is more than the resolution, 10"},
        {CLOCK("{\"quantise_replies\":1}"), "t.json:2:57: /ports/0/settings/quantise_replies: true "
                                            "or false is expected, found an integer"},
        {CLOCK("1"), "t.json:2:37: /ports/0/settings: an object is expected, found an integer"},
        {ENTROPY("{\"seed_hex\":\"\"}"),
         "t.json:2:51: /ports/0/settings/seed_hex: a seed is 64 lower-case hexadecimal digits"},
        {ENTROPY("{\"seed_hex\":\"" SEED "00\"}"),
         "t.json:2:51: /ports/0/settings/seed_hex: a seed is 64 lower-case hexadecimal digits"},
        {ENTROPY(
             "{\"seed_hex\":\"G00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff\"}"),
         "t.json:2:51: /ports/0/settings/seed_hex: a seed is 64 lower-case hexadecimal digits"},
        {ENTROPY("{\"seed\":1}"),
         "t.json:2:40: /ports/0/settings/seed: unknown key (known: seed_hex)"},
        {LOG("{\"path\":\"\"}"), "t.json:2:43: /ports/0/settings/path: the path is empty"},
        {LOG("{\"path\":1}"),
         "t.json:2:43: /ports/0/settings/path: a string is expected, found an integer"},
        {LOG("{\"max_bytes\":65535}"),
         "t.json:2:48: /ports/0/settings/max_bytes: 65535 is outside 65536 to 1099511627776"},
        {VM("\"ports\":[{\"kind\":\"clock\",\"operations\":[\"read\"]}]"),
         "t.json:2:40: /ports/0/operations/0: 'read' is not one of: now, monotonic"},
        {VM("\"ports\":[{\"kind\":\"clock\",\"process\":true}]"),
         "t.json:2:36: /ports/0/process: the backend of a clock cannot be a process of its own"},
        {VM("\"ports\":[{\"kind\":\"entropy\",\"max_reply_bytes\":4097}]"),
         "t.json:2:46: /ports/0/max_reply_bytes: 4097 is outside 1 to 4096"},
        {VM("\"ports\":[{\"kind\":\"log\",\"max_request_bytes\":4097}]"),
         "t.json:2:44: /ports/0/max_request_bytes: 4097 is outside 1 to 4096"},
    };
    check_refusals(refusals, COUNT(refusals));
}
