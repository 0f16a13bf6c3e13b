// SPDX-License-Identifier: Apache-2.0
// The ports of a VM file: every key, what follows from the others, what is refused.
#include <stdio.h>

#include "port_abi.h"
#include "vm_file_support.h"

static struct vm_description read(const char *text)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(text, &vm, &err), 0, "%s", err.text);
    return vm;
}

Test(vm_file_ports, reads_every_key)
{
    struct vm_description vm = read(VM(
        "\"ports\":[{\"kind\":\"loopback\",\"name\":\"tool\",\"mode\":\"doorbell\","
        "\"operations\":[\"generate\",\"echo\"],\"queue_size\":256,\"queues\":3,"
        "\"features\":[\"event-index\"],\"max_request_bytes\":1000,\"max_reply_bytes\":1048576,"
        "\"in_flight\":7,\"process\":true,\"probation\":true,\"timeout_ms\":1234,"
        "\"restart\":{\"max\":9,\"delay_ms\":50},"
        "\"limits\":{\"requests_per_s\":1,\"request_burst\":2,\"bytes_per_s\":3,\"byte_burst\":4,"
        "\"requests_total\":5,\"bytes_total\":6,\"reply_bytes_per_s\":7,\"reply_byte_burst\":8,"
        "\"reply_bytes_total\":9,\"capacity_bits_per_s\":10}}]"));
    cr_assert_eq(vm.port_count, 1);
    const struct vmm_port_config *port = &vm.ports[0];
    cr_expect_str_eq(port->name, "tool");
    cr_expect_eq(port->kind, VMM_PORT_LOOPBACK);
    cr_expect_eq(port->mode, VMM_PORT_DOORBELL);
    cr_expect_eq(port->operations, 1u << LOOPBACK_GENERATE | 1u << LOOPBACK_ECHO);
    cr_expect_eq(port->queue_size, 256);
    cr_expect_eq(port->queue_count, 3);
    cr_expect_eq(port->features, PORT_FEATURE_EVENT_INDEX);
    cr_expect_eq(port->max_request_bytes, 1000);
    cr_expect_eq(port->max_reply_bytes, 1u << 20);
    cr_expect_eq(port->in_flight, 7);
    cr_expect_eq(port->process, 1);
    cr_expect_eq(port->closed_at_probation, 0);
    cr_expect_eq(port->timeout_ms, 1234);
    cr_expect_eq(vm.restarts[0].max, 9);
    cr_expect_eq(vm.restarts[0].delay_ms, 50);
    const struct limits_config limits = {.requests_per_s = 1,
                                         .request_burst = 2,
                                         .bytes_per_s = 3,
                                         .byte_burst = 4,
                                         .requests_total = 5,
                                         .bytes_total = 6,
                                         .reply_bytes_per_s = 7,
                                         .reply_byte_burst = 8,
                                         .reply_bytes_total = 9,
                                         .capacity_bits_per_s = 10};
    cr_expect_eq(memcmp(&port->limits, &limits, sizeof(limits)), 0);
    vm_description_free(&vm);
}

// What is not said is the same for a file and for the command line.
Test(vm_file_ports, defaults)
{
    static const struct {
        const char *kind;
        uint32_t number, bytes, in_flight;
        uint64_t operations;
    } cases[] = {
        {"console", PORT_KIND_CONSOLE, CONSOLE_MAX_REQUEST, 64, 6},
        {"loopback", PORT_KIND_LOOPBACK, 65536, 64, 14},
        {"message", PORT_KIND_MESSAGE, 65536, 64, 6},
    };
    struct vm_description file =
        read(VM("\"ports\":[{\"kind\":\"console\"},{\"kind\":\"loopback\"},"
                "{\"kind\":\"message\"}]"));
    struct vm_description line = {0};
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct error err = {0};
        const struct vmm_port_config *port = &file.ports[i];
        cr_assert_eq(vm_description_add_port(&line, cases[i].kind, NULL, &err), 0, "%s", err.text);
        cr_expect_eq(memcmp(port, &line.ports[i], sizeof(*port)), 0, "%s", cases[i].kind);
        cr_expect_eq(memcmp(&file.restarts[i], &line.restarts[i], sizeof(file.restarts[i])), 0);
        cr_expect_str_eq(port->name, cases[i].kind);
        cr_expect_eq(port->kind, cases[i].number);
        cr_expect_eq(port->mode, VMM_PORT_ADAPTIVE);
        cr_expect_eq(port->operations, cases[i].operations);
        cr_expect_eq(port->queue_size, 64);
        cr_expect_eq(port->queue_count, 1);
        cr_expect_eq(port->features, PORT_FEATURE_INDIRECT);
        cr_expect_eq(port->max_request_bytes, cases[i].bytes);
        cr_expect_eq(port->max_reply_bytes, cases[i].bytes);
        cr_expect_eq(port->in_flight, cases[i].in_flight);
        cr_expect_eq(port->process, 0);
        cr_expect_eq(port->closed_at_probation, 1, "closed unless the file says otherwise");
        cr_expect_eq(port->timeout_ms, 10000);
        cr_expect_eq(file.restarts[i].max, 3);
        cr_expect_eq(file.restarts[i].delay_ms, 100);
    }
    vm_description_free(&file);
    vm_description_free(&line);
}

// How many requests a port takes at once follows from the size of its buffers, wherever in the
// object the sizes stand.
Test(vm_file_ports, in_flight_follows_from_the_sizes)
{
    static const struct {
        uint32_t request, reply, in_flight;
    } cases[] = {
        {1, 1, 64},      {65536, 65536, 64},   {131072, 131072, 32}, {1 << 20, 1 << 20, 4},
        {1 << 20, 1, 7}, {300000, 400000, 11}, {65536, 65537, 63},   {1 << 20, (1 << 20) - 1, 4}};
    for (unsigned i = 0; i < COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text),
                 VM("\"ports\":[{\"max_reply_bytes\":%u,\"kind\":\"message\","
                    "\"max_request_bytes\":%u}]"),
                 cases[i].reply, cases[i].request);
        struct vm_description vm = read(text);
        cr_expect_eq(vm.ports[0].max_request_bytes, cases[i].request);
        cr_expect_eq(vm.ports[0].max_reply_bytes, cases[i].reply);
        cr_expect_eq(vm.ports[0].in_flight, cases[i].in_flight, "%u + %u: %u", cases[i].request,
                     cases[i].reply, vm.ports[0].in_flight);
        vm_description_free(&vm);
    }
}

Test(vm_file_ports, lists_may_be_empty_or_whole)
{
    struct vm_description vm =
        read(VM("\"ports\":[{\"kind\":\"loopback\",\"features\":[],\"operations\":[],\"limits\":{},"
                "\"restart\":{},\"process\":false},{\"kind\":\"message\","
                "\"features\":[\"event-index\",\"indirect\"],\"restart\":{\"max\":0}}]"));
    cr_expect_eq(vm.ports[0].features, 0);
    cr_expect_eq(vm.ports[0].operations, 0);
    cr_expect_eq(vm.restarts[0].max, 3);
    cr_expect_eq(vm.ports[1].features, PORT_FEATURE_INDIRECT | PORT_FEATURE_EVENT_INDEX);
    cr_expect_eq(vm.restarts[1].max, 0);
    cr_expect_eq(vm.restarts[1].delay_ms, 100);
    vm_description_free(&vm);
}

Test(vm_file_ports, names_of_kinds_and_operations)
{
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_CONSOLE), "console");
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_LOOPBACK), "loopback");
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_MESSAGE), "message");
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_CLOCK), "clock");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_CLOCK, CLOCK_PORT_NOW), "now");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_CLOCK, CLOCK_PORT_MONOTONIC), "monotonic");
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_ENTROPY), "entropy");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_ENTROPY, ENTROPY_READ), "read");
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_LOG), "log");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_LOG, LOG_WRITE), "write");
    cr_expect_str_eq(vm_port_kind_name(PORT_KIND_BLOCK), "block");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_BLOCK, BLOCK_WRITE_ZEROES), "write-zeroes");
    static const uint32_t unknown[] = {0, 99, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        cr_expect_null(vm_port_kind_name(unknown[i]));
        cr_expect_null(vm_port_operation_name(unknown[i], 1));
        cr_expect_null(vm_port_operation_name(PORT_KIND_CONSOLE, unknown[i]));
    }
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_CONSOLE, CONSOLE_WRITE), "write");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_CONSOLE, CONSOLE_READ), "read");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_LOOPBACK, LOOPBACK_ECHO), "echo");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_LOOPBACK, LOOPBACK_DISCARD), "discard");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_LOOPBACK, LOOPBACK_GENERATE), "generate");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_MESSAGE, MESSAGE_SEND), "send");
    cr_expect_str_eq(vm_port_operation_name(PORT_KIND_MESSAGE, MESSAGE_RECEIVE), "receive");
    cr_expect_null(vm_port_operation_name(PORT_KIND_CONSOLE, 3));
}

// Everything in the first port behind its kind.
#define PORT(rest) VM("\"ports\":[{\"kind\":\"console\"," rest "}]")
#define PORT_KEYS                                                                                  \
    "(known: kind, name, mode, operations, queue_size, queues, features, max_request_bytes, "      \
    "max_reply_bytes, in_flight, process, timeout_ms, restart, settings, limits, audit, "          \
    "probation)"

Test(vm_file_ports, refuses_bad_ports)
{
    static const struct refusal refusals[] = {
        {VM("\"ports\":{}"), "t.json:2:9: /ports: an array is expected, found an object"},
        {VM("\"ports\":[{}]"), "t.json:2:10: /ports/0: missing key 'kind'"},
        {VM("\"ports\":[{\"name\":\"console\"}]"), "t.json:2:10: /ports/0: missing key 'kind'"},
        {VM("\"ports\":[{\"kind\":\"socket\"}]"),
         "t.json:2:18: /ports/0/kind: 'socket' is not one of: console, loopback, message, "
         "clock, entropy, log, store, http, tool, serve, block"},
        {PORT("\"rate\":1"), "t.json:2:28: /ports/0/rate: unknown key " PORT_KEYS},
        {PORT("\"name\":\"a b\""),
         "t.json:2:35: /ports/0/name: 'a b' is not a name: 1 to 31 of a-z, 0-9 and '-', not "
         "starting with '-'"},
        {PORT("\"name\":\"a2345678901234567890123456789012\""),
         "t.json:2:35: /ports/0/name: 'a2345678901234567890123456789012' is not a name: 1 to 31 "
         "of a-z, 0-9 and '-', not starting with '-'"},
        {PORT("\"mode\":\"polled\""),
         "t.json:2:35: /ports/0/mode: 'polled' is not one of: adaptive, busy, doorbell"},
        {PORT("\"operations\":\"read\""),
         "t.json:2:41: /ports/0/operations: an array is expected, found a string"},
        {PORT("\"operations\":[\"read\",\"erase\"]"),
         "t.json:2:49: /ports/0/operations/1: 'erase' is not one of: write, read"},
        {PORT("\"operations\":[\"read\",\"read\"]"),
         "t.json:2:49: /ports/0/operations/1: 'read' is listed twice"},
        {PORT("\"queue_size\":0"), "t.json:2:41: /ports/0/queue_size: 0 is outside 1 to 1024"},
        {PORT("\"queue_size\":1025"),
         "t.json:2:41: /ports/0/queue_size: 1025 is outside 1 to 1024"},
        {PORT("\"queue_size\":96"), "t.json:2:41: /ports/0/queue_size: 96 is not a power of two"},
        {PORT("\"max_request_bytes\":0"),
         "t.json:2:48: /ports/0/max_request_bytes: 0 is outside 1 to 4096"},
        {PORT("\"max_request_bytes\":4097"),
         "t.json:2:48: /ports/0/max_request_bytes: 4097 is outside 1 to 4096"},
        {PORT("\"max_reply_bytes\":0"),
         "t.json:2:46: /ports/0/max_reply_bytes: 0 is outside 1 to 4096"},
        {PORT("\"max_reply_bytes\":4097"),
         "t.json:2:46: /ports/0/max_reply_bytes: 4097 is outside 1 to 4096"},
        {PORT("\"queues\":0"), "t.json:2:37: /ports/0/queues: 0 is outside 1 to 16"},
        {PORT("\"queues\":17"), "t.json:2:37: /ports/0/queues: 17 is outside 1 to 16"},
        {PORT("\"features\":1"),
         "t.json:2:39: /ports/0/features: an array is expected, found an integer"},
        {PORT("\"features\":[\"packed\"]"),
         "t.json:2:40: /ports/0/features/0: 'packed' is not one of: indirect, event-index"},
        {PORT("\"features\":[\"event-index\",\"event-index\"]"),
         "t.json:2:54: /ports/0/features/1: 'event-index' is listed twice"},
        {PORT("\"in_flight\":0"), "t.json:2:40: /ports/0/in_flight: 0 is outside 1 to 64"},
        {PORT("\"in_flight\":65"), "t.json:2:40: /ports/0/in_flight: 65 is outside 1 to 64"},
        {PORT("\"process\":1"),
         "t.json:2:38: /ports/0/process: true or false is expected, found an integer"},
        {PORT("\"process\":true"),
         "t.json:2:38: /ports/0/process: the backend of a console cannot be a process of its own"},
        {VM("\"ports\":[{\"kind\":\"message\",\"process\":true}]"),
         "t.json:2:38: /ports/0/process: the backend of a message cannot be a process of its own"},
        {PORT("\"probation\":\"open\""),
         "t.json:2:40: /ports/0/probation: true, false or an object of limits is expected"},
        {PORT("\"timeout_ms\":0"), "t.json:2:41: /ports/0/timeout_ms: 0 is outside 1 to 3600000"},
        {PORT("\"timeout_ms\":3600001"),
         "t.json:2:41: /ports/0/timeout_ms: 3600001 is outside 1 to 3600000"},
        {PORT("\"restart\":3"),
         "t.json:2:38: /ports/0/restart: an object is expected, found an integer"},
        {PORT("\"restart\":{\"max\":1001}"),
         "t.json:2:45: /ports/0/restart/max: 1001 is outside 0 to 1000"},
        {PORT("\"restart\":{\"delay_ms\":60001}"),
         "t.json:2:50: /ports/0/restart/delay_ms: 60001 is outside 0 to 60000"},
        {PORT("\"restart\":{\"delay\":1}"),
         "t.json:2:39: /ports/0/restart/delay: unknown key (known: max, delay_ms)"},
        {PORT("\"limits\":{\"capacity_bits_per_s\":-1}"),
         "t.json:2:60: /ports/0/limits/capacity_bits_per_s: -1 is outside 0 to 1099511627776"},
        {PORT("\"limits\":{\"requests_per_s\":1099511627777}"),
         "t.json:2:55: /ports/0/limits/requests_per_s: 1099511627777 is outside 0 to "
         "1099511627776"},
        {PORT("\"limits\":{\"byte_burst\":-1}"),
         "t.json:2:51: /ports/0/limits/byte_burst: -1 is outside 0 to 1099511627776"},
        {PORT("\"limits\":{\"byte_per_s\":1}"),
         "t.json:2:38: /ports/0/limits/byte_per_s: unknown key, did you mean 'bytes_per_s'? "
         "(known: requests_per_s, request_burst, bytes_per_s, byte_burst, requests_total, "
         "bytes_total, reply_bytes_per_s, reply_byte_burst, reply_bytes_total, "
         "capacity_bits_per_s)"},
        {VM("\"ports\":[{\"kind\":\"console\"},{\"name\":\"console\",\"kind\":\"console\"}]"),
         "t.json:2:37: /ports/1/name: another port is named 'console'"},
        {VM("\"ports\":[{\"kind\":\"console\"},{\"kind\":\"console\"}]"),
         "t.json:2:29: /ports/1: another port is named 'console'"},
    };
    check_refusals(refusals, COUNT(refusals));
}

// Everything in a port with limits, behind them.
#define LIMITED(rest)                                                                              \
    VM("\"ports\":[{\"kind\":\"loopback\",\"limits\":{\"requests_per_s\":100,"                     \
       "\"bytes_per_s\":5,\"byte_burst\":1000,\"requests_total\":50}," rest "}]")

Test(vm_file_ports, probation)
{
    struct vm_description vm = read(LIMITED("\"probation\":true"));
    const struct vmm_port_config *port = &vm.ports[0];
    cr_expect_eq(port->closed_at_probation, 0);
    cr_expect_eq(port->tight_request_bytes, 32768);
    cr_expect_eq(port->tight_reply_bytes, 32768);
    cr_expect_eq(port->tight_limits.requests_per_s, 10);
    cr_expect_eq(port->tight_limits.request_burst, 0, "one second's worth");
    cr_expect_eq(port->tight_limits.bytes_per_s, 1, "a limit stays one");
    cr_expect_eq(port->tight_limits.byte_burst, 100);
    cr_expect_eq(port->tight_limits.requests_total, 50);
    cr_expect_eq(port->tight_limits.reply_bytes_per_s, 0, "a tenth of no limit is none");
    vm_description_free(&vm);

    vm = read(LIMITED("\"max_request_bytes\":1,\"probation\":{\"max_reply_bytes\":65536,"
                      "\"requests_per_s\":100,\"request_burst\":99,\"reply_byte_burst\":7,"
                      "\"requests_total\":1,\"capacity_bits_per_s\":1000}"));
    port = &vm.ports[0];
    cr_expect_eq(port->closed_at_probation, 0);
    cr_expect_eq(port->tight_request_bytes, 1);
    cr_expect_eq(port->tight_reply_bytes, 65536);
    cr_expect_eq(port->tight_limits.requests_per_s, 100);
    cr_expect_eq(port->tight_limits.request_burst, 99);
    cr_expect_eq(port->tight_limits.bytes_per_s, 1);
    cr_expect_eq(port->tight_limits.requests_total, 1);
    cr_expect_eq(port->tight_limits.capacity_bits_per_s, 1000);
    cr_expect_eq(port->limits.requests_per_s, 100);
    vm_description_free(&vm);

    vm = read(LIMITED("\"probation\":{}"));
    cr_expect_eq(vm.ports[0].closed_at_probation, 0, "an object opens");
    cr_expect_eq(vm.ports[0].tight_limits.requests_per_s, 10);
    vm_description_free(&vm);

    vm = read(LIMITED("\"probation\":false"));
    cr_expect_eq(vm.ports[0].closed_at_probation, 1);
    vm_description_free(&vm);
}

Test(vm_file_ports, audit)
{
    static const char *const modes[] = {"metadata", "digest", "full"};
    for (unsigned i = 0; i < COUNT(modes); i++) {
        char text[256];
        snprintf(text, sizeof(text), VM("\"ports\":[{\"kind\":\"console\",\"audit\":\"%s\"}]"),
                 modes[i]);
        struct vm_description vm = read(text);
        cr_expect_eq(vm.ports[0].audit, i);
        vm_description_free(&vm);
    }
}

Test(vm_file_ports, refuses_what_is_looser_at_probation)
{
    static const struct refusal refusals[] = {
        {PORT("\"audit\":\"all\""),
         "t.json:2:36: /ports/0/audit: 'all' is not one of: metadata, digest, full"},
        {LIMITED("\"probation\":{\"requests_per_s\":101}"),
         "t.json:2:145: /ports/0/probation/requests_per_s: looser than 100, which holds at "
         "Standard"},
        {LIMITED("\"probation\":{\"requests_per_s\":0}"),
         "t.json:2:145: /ports/0/probation/requests_per_s: looser than 100, which holds at "
         "Standard"},
        {LIMITED("\"probation\":{\"request_burst\":101}"),
         "t.json:2:144: /ports/0/probation/request_burst: looser than 100, which holds at "
         "Standard"},
        {LIMITED("\"probation\":{\"byte_burst\":1001}"),
         "t.json:2:141: /ports/0/probation/byte_burst: looser than 1000, which holds at Standard"},
        {LIMITED("\"probation\":{\"requests_total\":51}"),
         "t.json:2:145: /ports/0/probation/requests_total: looser than 50, which holds at "
         "Standard"},
        {LIMITED("\"probation\":{\"max_request_bytes\":65537}"),
         "t.json:2:148: /ports/0/probation/max_request_bytes: looser than 65536, which holds at "
         "Standard"},
        {LIMITED("\"probation\":{\"max_reply_bytes\":65537}"),
         "t.json:2:146: /ports/0/probation/max_reply_bytes: looser than 65536, which holds at "
         "Standard"},
        {LIMITED("\"probation\":{\"max_reply_bytes\":0}"),
         "t.json:2:146: /ports/0/probation/max_reply_bytes: 0 is outside 1 to 1048576"},
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(vm_file_ports, adds_ports_as_the_command_line_does)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(vm_description_add_port(&vm, "console", NULL, &err), 0, "%s", err.text);
    cr_assert_eq(vm_description_add_port(&vm, "console", "second", &err), 0, "%s", err.text);
    cr_expect_str_eq(vm.ports[0].name, "console");
    cr_expect_str_eq(vm.ports[1].name, "second");
    cr_expect_eq(vm.ports[1].kind, 1);
    cr_expect_eq(vm.ports[1].operations, 6);
    cr_expect_eq(vm.ports[1].queue_size, 64);
    cr_expect_eq(vm.ports[1].max_request_bytes, 4096);

    cr_expect_eq(vm_description_add_port(&vm, "console", "second", &err), -1);
    cr_expect_str_eq(err.text, "another port is named 'second'");
    cr_expect_eq(err.status, EXIT_STATUS_USAGE);
    cr_expect_eq(vm_description_add_port(&vm, "console", "", &err), -1);
    cr_expect_eq(vm_description_add_port(&vm, "gpu\n", NULL, &err), -1);
    cr_expect_str_eq(err.text,
                     "port kind 'gpu\\x0a' is not known (known: console, loopback, message, "
                     "clock, entropy, log, store, http, tool, serve, block)");
    for (char name[] = "a"; vm.port_count < VMM_MAX_PORTS; name[0]++)
        cr_assert_eq(vm_description_add_port(&vm, "console", name, &err), 0, "%s", err.text);
    cr_expect_eq(vm_description_add_port(&vm, "console", "z", &err), -1);
    cr_expect_str_eq(err.text, "more than 16 ports");
    vm_description_free(&vm);
}
