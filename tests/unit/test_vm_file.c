// SPDX-License-Identifier: Apache-2.0
// VM files: what they say, what is refused, and where the error is said to be.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "vm_file_support.h"

// Every key, one per line.
static const char full[] =
    "{\n"
    "  \"format\": \"guillotine-vm/1\",\n"
    "  \"name\": \"demo\",\n"
    "  \"image\": \"llm.elf\",\n"
    "  \"arguments\": [\"--prompt\", \"x \\u00e4\", \"\"],\n"
    "  \"vcpus\": 2,\n"
    "  \"memory_bytes\": 134217728,\n"
    "  \"weights\": [{\"file\": \"m.gguf\", \"copy\": true}, {\"file\": \"/w/n.gguf\", \"sealed\": "
    "true}],\n"
    "  \"placement\": {\"model_cores\": \"0,2-3\", \"hypervisor_cores\": \"1\"},\n"
    "  \"poller\": {\"doorbell_interval_us\": 50, \"idle_spin_us\": 0, \"threads\": 2},\n"
    "  \"ports\": [\n"
    "    {\"name\": \"out\", \"kind\": \"console\", \"mode\": \"busy\", \"operations\": "
    "[\"write\"],\n"
    "     \"queue_size\": 128, \"max_request_bytes\": 512,\n"
    "     \"limits\": {\"requests_per_s\": 1, \"request_burst\": 2, \"bytes_per_s\": 3,\n"
    "                \"byte_burst\": 4, \"requests_total\": 5, \"bytes_total\": 1099511627776}},\n"
    "    {\"kind\": \"console\"},\n"
    "    {\"name\": \"none\", \"operations\": [], \"mode\": \"doorbell\", \"kind\": \"console\"}\n"
    "  ],\n"
    "  \"audit\": {\"file\": \"x.audit\", \"records_per_s\": 6, \"record_burst\": 7},\n"
    "  \"forensics\": true,\n"
    "  \"require\": \"strict\",\n"
    "  \"heartbeat\": {\"period_ms\": 100, \"operator_period_ms\": 604800000},\n"
    "  \"on_failure\": \"reboot\"\n"
    "}\n";

static void check_full_ports(const struct vm_description *vm)
{
    const struct vmm_port_config *port = &vm->ports[0];
    cr_assert_eq(vm->port_count, 3);
    cr_expect_str_eq(port->name, "out");
    cr_expect_eq(port->kind, 1);
    cr_expect_eq(port->mode, VMM_PORT_BUSY);
    cr_expect_eq(port->operations, 1u << 1);
    cr_expect_eq(port->queue_size, 128);
    cr_expect_eq(port->max_request_bytes, 512);
    cr_expect_eq(port->limits.requests_per_s, 1);
    cr_expect_eq(port->limits.request_burst, 2);
    cr_expect_eq(port->limits.bytes_per_s, 3);
    cr_expect_eq(port->limits.byte_burst, 4);
    cr_expect_eq(port->limits.requests_total, 5);
    cr_expect_eq(port->limits.bytes_total, 1ull << 40);

    port = &vm->ports[1];
    cr_expect_str_eq(port->name, "console");
    cr_expect_eq(port->kind, 1);
    cr_expect_eq(port->mode, VMM_PORT_ADAPTIVE);
    cr_expect_eq(port->operations, 1u << 1 | 1u << 2);
    cr_expect_eq(port->queue_size, 64);
    cr_expect_eq(port->max_request_bytes, 4096);
    cr_expect_eq(port->limits.bytes_total, 0);

    port = &vm->ports[2];
    cr_expect_str_eq(port->name, "none");
    cr_expect_eq(port->mode, VMM_PORT_DOORBELL);
    cr_expect_eq(port->operations, 0);
}

Test(vm_file, reads_every_key)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(full, &vm, &err), 0, "%s", err.text);
    cr_expect_str_eq(vm.name, "demo");
    cr_expect_str_eq(vm.image, "llm.elf");
    cr_assert_eq(vm.argument_count, 3);
    cr_expect_str_eq(vm.arguments[0], "--prompt");
    cr_expect_str_eq(vm.arguments[1], "x \xc3\xa4");
    cr_expect_str_eq(vm.arguments[2], "");
    cr_expect_eq(vm.vcpus, 2);
    cr_expect_eq(vm.memory_bytes, 134217728);
    cr_assert_eq(vm.weights_count, 2);
    cr_expect_str_eq(vm.weights[0].path, "m.gguf");
    cr_expect(vm.weights[0].copy);
    cr_expect_not(vm.weights[0].sealed);
    cr_expect(vm.weights[1].sealed);
    cr_expect(vm.forensics_given);
    cr_expect(vm.forensics);
    cr_expect_str_eq(vm.weights[1].path, "/w/n.gguf");
    cr_expect_not(vm.weights[1].copy);
    cr_expect(vm.model_cores_given);
    cr_expect(vm.hypervisor_cores_given);
    cr_expect_eq(vm.model_cores.bits[0], 0xd);
    cr_expect_eq(vm.hypervisor_cores.bits[0], 0x2);
    cr_expect(vm.doorbell_interval_given);
    cr_expect_eq(vm.doorbell_interval_us, 50);
    cr_expect(vm.idle_spin_given);
    cr_expect_eq(vm.idle_spin_us, 0);
    check_full_ports(&vm);
    cr_expect_eq(vm.poller_threads, 2);
    cr_expect_str_eq(vm.audit_path, "x.audit");
    cr_expect_eq(vm.audit_records_per_s, 6);
    cr_expect_eq(vm.audit_burst, 7);
    cr_expect(vm.require_given);
    cr_expect_eq(vm.require, VMM_REQUIRE_STRICT);
    cr_expect_eq(vm.heartbeat_period_ms, 100);
    cr_expect_eq(vm.heartbeat_operator_period_ms, 604800000);
    cr_expect_eq(vm.on_failure, VM_ON_FAILURE_REBOOT);
    vm_description_free(&vm);
    cr_expect_null(vm.image);
    cr_expect_eq(vm.argument_count, 0);
}

Test(vm_file, only_format_and_image_are_required)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse("{\"image\":\"a\",\"format\":\"guillotine-vm/1\"}", &vm, &err), 0, "%s",
                 err.text);
    cr_expect_str_eq(vm.image, "a");
    free(vm.image);
    vm.image = NULL;
    static const struct vm_description nothing;
    cr_expect_eq(memcmp(&vm, &nothing, sizeof(vm)), 0);
}

Test(vm_file, empty_objects_and_lists_are_fine)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse("{\"format\":\"guillotine-vm/1\",\"image\":\"a\",\"arguments\":[],"
                       "\"weights\":[],\"placement\":{},\"poller\":{},\"ports\":[],"
                       "\"audit\":{}}",
                       &vm, &err),
                 0, "%s", err.text);
    cr_expect_not(vm.model_cores_given);
    cr_expect_not(vm.idle_spin_given);
    cr_expect_null(vm.audit_path);
    vm_description_free(&vm);
}

Test(vm_file, relative_paths_start_at_the_folder_of_the_file)
{
    static const char text[] =
        "{\"format\":\"guillotine-vm/1\",\"image\":\"../llm.elf\",\"weights\":[{\"file\":\"m\"},"
        "{\"file\":\"/m\"}],\"audit\":{\"file\":\"log/a.audit\"}}";
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(vm_file_parse("/etc/vms/t.json", text, sizeof(text) - 1, &vm, &err), 0);
    cr_expect_str_eq(vm.image, "/etc/vms/../llm.elf");
    cr_expect_str_eq(vm.weights[0].path, "/etc/vms/m");
    cr_expect_str_eq(vm.weights[1].path, "/m");
    cr_expect_str_eq(vm.audit_path, "/etc/vms/log/a.audit");
    vm_description_free(&vm);
    cr_assert_eq(vm_file_parse("/t.json", text, sizeof(text) - 1, &vm, &err), 0);
    cr_expect_str_eq(vm.image, "/../llm.elf");
    vm_description_free(&vm);
}

#define ROOT_KEYS                                                                                  \
    "(known: format, name, uuid, image, linux, arguments, vcpus, memory_bytes, memory, weights, "  \
    "placement, poller, ports, policy, detectors, audit, forensics, require, heartbeat, "          \
    "on_failure)"

Test(vm_file, refuses_what_is_no_vm_file)
{
    static const struct refusal refusals[] = {
        {"", "t.json:1:1: a value is expected, found the end of the text"},
        {"[]", "t.json:1:1: an object is expected, found an array"},
        {"null", "t.json:1:1: an object is expected, found null"},
        {"{}", "t.json:1:1: missing key 'format': a VM file says 'guillotine-vm/1'"},
        {"{\"x\":1}", "t.json:1:1: missing key 'format': a VM file says 'guillotine-vm/1'"},
        {"{\"format\":\"guillotine-vm/1\"}",
         "t.json:1:1: missing key 'image', or 'linux' for a Linux guest"},
        {"{\"format\":1}", "t.json:1:11: /format: a string is expected, found an integer"},
        {"{\"format\":\"guillotine-vm/2\",\"cells\":[]}",
         "t.json:1:11: /format: format 'guillotine-vm/2' is newer: this version reads "
         "guillotine-vm/1"},
        {"{\"format\":\"guillotine-vm/10\"}",
         "t.json:1:11: /format: format 'guillotine-vm/10' is newer: this version reads "
         "guillotine-vm/1"},
        {"{\"format\":\"guillotine-vm/0\"}",
         "t.json:1:11: /format: format 'guillotine-vm/0' is not known: this version reads "
         "guillotine-vm/1"},
        {"{\"format\":\"guillotine-vm/1.1\"}",
         "t.json:1:11: /format: format 'guillotine-vm/1.1' is not known: this version reads "
         "guillotine-vm/1"},
        {"{\"format\":\"guillotine-\\u001b[2J\"}",
         "t.json:1:11: /format: format 'guillotine-\\x1b[2J' is not known: this version reads "
         "guillotine-vm/1"},
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(vm_file, refuses_bad_members)
{
    static const struct refusal refusals[] = {
        {VM("\"imgae\":\"b\""),
         "t.json:2:1: /imgae: unknown key, did you mean 'image'? " ROOT_KEYS},
        {VM("\"uuid\":\"11111111-2222-1333-8444-555555555555\""),
         "t.json:2:8: /uuid: '11111111-2222-1333-8444-555555555555' is not a version 4 UUID"},
        {VM("\"zzz\":1"), "t.json:2:1: /zzz: unknown key " ROOT_KEYS},
        {VM("\"image\":\"b\""), "t.json:2:1: /image: duplicate key"},
        {VM("\"vcpus\":1,\n\"ports\":[{\"kind\":\"console\",\"limits\":{\"bytes_total\":1,"
            "\"bytes_total\":1}}]"),
         "t.json:3:54: /ports/0/limits/bytes_total: duplicate key"},
        {"{\"format\":\"guillotine-vm/1\",\"image\":\"\"}",
         "t.json:1:37: /image: the path is empty"},
        {"{\"format\":\"guillotine-vm/1\",\"image\":\"a\\u0000b\"}",
         "t.json:1:37: /image: this text must not contain U+0000"},
        {VM("\"name\":\"\""), "t.json:2:8: /name: '' is not a name: 1 to 63 of a-z, 0-9 and '-', "
                              "not starting with '-'"},
        {VM("\"name\":\"-a\""), "t.json:2:8: /name: '-a' is not a name: 1 to 63 of a-z, 0-9 and "
                                "'-', not starting with '-'"},
        {VM("\"name\":\"Demo\""), "t.json:2:8: /name: 'Demo' is not a name: 1 to 63 of a-z, 0-9 "
                                  "and '-', not starting with '-'"},
        {VM("\"name\":null"), "t.json:2:8: /name: a string is expected, found null"},
        {VM("\"arguments\":\"x\""),
         "t.json:2:13: /arguments: an array is expected, found a string"},
        {VM("\"arguments\":[\"x\",1]"),
         "t.json:2:18: /arguments/1: a string is expected, found an integer"},
        {VM("\"arguments\":[\"\\u0000\"]"),
         "t.json:2:14: /arguments/0: this text must not contain U+0000"},
        {VM("\"vcpus\":0"), "t.json:2:9: /vcpus: 0 is outside 1 to 16"},
        {VM("\"vcpus\":17"), "t.json:2:9: /vcpus: 17 is outside 1 to 16"},
        {VM("\"vcpus\":4294967297"), "t.json:2:9: /vcpus: 4294967297 is outside 1 to 16"},
        {VM("\"vcpus\":-1"), "t.json:2:9: /vcpus: -1 is outside 1 to 16"},
        {VM("\"vcpus\":1.5"),
         "t.json:2:9: /vcpus: a number is an integer, without fraction or exponent"},
        {VM("\"memory_bytes\":1048575"),
         "t.json:2:16: /memory_bytes: 1048575 is outside 1048576 to 1099511627776"},
        {VM("\"memory_bytes\":1099511627777"),
         "t.json:2:16: /memory_bytes: 1099511627777 is outside 1048576 to 1099511627776"},
        {VM("\"memory_bytes\":18446744073709551616"),
         "t.json:2:16: /memory_bytes: the number does not fit into 64 bits"},
        {VM("\"memory_bytes\":\"1GiB\""),
         "t.json:2:16: /memory_bytes: an integer is expected, found a string"},
        {VM("\"require\":\"Strict\""),
         "t.json:2:11: /require: 'Strict' is not one of: none, basic, strict"},
        {VM("\"audit\":\"x.audit\""), "t.json:2:9: /audit: an object is expected, found a string"},
        {VM("\"audit\":{\"records_per_s\":-1}"),
         "t.json:2:26: /audit/records_per_s: -1 is outside 0 to 1099511627776"},
        {VM("\"audit\":{\"record_burst\":1099511627777}"),
         "t.json:2:25: /audit/record_burst: 1099511627777 is outside 0 to 1099511627776"},
        {VM("\"heartbeat\":{\"period_ms\":99}"),
         "t.json:2:26: /heartbeat/period_ms: 99 is outside 100 to 60000"},
        {VM("\"heartbeat\":{\"period_ms\":60001}"),
         "t.json:2:26: /heartbeat/period_ms: 60001 is outside 100 to 60000"},
        {VM("\"heartbeat\":{\"operator_period_ms\":0}"),
         "t.json:2:35: /heartbeat/operator_period_ms: 0 is outside 100 to 604800000"},
        {VM("\"heartbeat\":1000"),
         "t.json:2:13: /heartbeat: an object is expected, found an integer"},
        {VM("\"on_failure\":\"restart\""),
         "t.json:2:14: /on_failure: 'restart' is not one of: stop, reboot"},
        {VM("\"audit\":{\"records\":1}"),
         "t.json:2:10: /audit/records: unknown key (known: file, records_per_s, witness, "
         "rotate_bytes, budget_bytes, record_burst)"},
        {VM("\"audit\":{\"file\":\"x.log\"}"),
         "t.json:2:17: /audit/file: an audit log's name ends in .audit"},
        {VM("\"audit\":{\"file\":\"x/.audit\"}"),
         "t.json:2:17: /audit/file: an audit log's name ends in .audit"},
        {VM("\"audit\":{\"file\":\".audit\"}"),
         "t.json:2:17: /audit/file: an audit log's name ends in .audit"},
        {VM("\"weights\":[\"m\"]"),
         "t.json:2:12: /weights/0: an object is expected, found a string"},
        {VM("\"weights\":[{\"file\":\"m\"},{}]"), "t.json:2:25: /weights/1: missing key 'file'"},
        {VM("\"weights\":[{\"file\":\"m\",\"copy\":1}]"),
         "t.json:2:31: /weights/0/copy: true or false is expected, found an integer"},
        {VM("\"weights\":[{\"file\":\"m\",\"copied\":true}]"),
         "t.json:2:24: /weights/0/copied: unknown key (known: file, copy, sealed)"},
    };
    check_refusals(refusals, COUNT(refusals));
}

Test(vm_file, refuses_bad_placement_and_poller)
{
    static const struct refusal refusals[] = {
        {VM("\"placement\":{\"model_cores\":0}"),
         "t.json:2:28: /placement/model_cores: a string is expected, found an integer"},
        {VM("\"placement\":{\"model_cores\":\"\"}"),
         "t.json:2:28: /placement/model_cores: '' is not a CPU list such as 0-3,8"},
        {VM("\"placement\":{\"model_cores\":\"1,\\u001b\"}"),
         "t.json:2:28: /placement/model_cores: '1,\\x1b' is not a CPU list such as 0-3,8"},
        {VM("\"placement\":{\"model_cores\":\"1024\"}"),
         "t.json:2:28: /placement/model_cores: CPU list '1024': range 1024-1024"},
        {VM("\"placement\":{\"hypervisor_cores\":\"3-1\"}"),
         "t.json:2:33: /placement/hypervisor_cores: CPU list '3-1': range 3-1"},
        {VM("\"placement\":{\"hypervisor_cores\":\"1,3-5\",\"model_cores\":\"0-4\"}"),
         "t.json:2:33: /placement/hypervisor_cores: cores 1,3-4 are in model_cores too"},
        {VM("\"placement\":{\"cores\":\"1\"}"),
         "t.json:2:14: /placement/cores: unknown key (known: mode, model_cores, hypervisor_cores)"},
        {VM("\"poller\":{\"idle_spin_us\":-1}"),
         "t.json:2:26: /poller/idle_spin_us: -1 is outside 0 to 1000000"},
        {VM("\"poller\":{\"doorbell_interval_us\":1000001}"),
         "t.json:2:34: /poller/doorbell_interval_us: 1000001 is outside 0 to 1000000"},
        {VM("\"poller\":{\"idle_spin_ms\":1}"),
         "t.json:2:11: /poller/idle_spin_ms: unknown key, did you mean 'idle_spin_us'? "
         "(known: doorbell_interval_us, threads, idle_spin_us)"},
        {VM("\"poller\":{\"threads\":0}"), "t.json:2:21: /poller/threads: 0 is outside 1 to 4"},
        {VM("\"poller\":{\"threads\":5}"), "t.json:2:21: /poller/threads: 5 is outside 1 to 4"},
    };
    check_refusals(refusals, COUNT(refusals));
}

// VM with a list of `count` elements, which %u numbers.
static char *with_list(const char *key, const char *element, unsigned count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    cr_assert_not_null(stream);
    fprintf(stream, "{\"format\":\"guillotine-vm/1\",\"image\":\"a\",\"%s\":[", key);
    for (unsigned i = 0; i < count; i++) {
        const char *number = strchr(element, '#');
        fprintf(stream, "%s%.*s", i ? "," : "", (int)(number - element), element);
        fprintf(stream, "%u%s", i, number + 1);
    }
    fprintf(stream, "]}");
    fclose(stream);
    return text;
}

Test(vm_file, lists_have_limits)
{
    static const struct {
        const char *key;
        const char *element;
        unsigned most;
        const char *message;
    } cases[] = {
        {"arguments", "\"#\"", 1024, "/arguments: 1025 elements, at most 1024 are possible"},
        {"weights", "{\"file\":\"#\"}", 16, "/weights: 17 elements, at most 16 are possible"},
        {"ports", "{\"kind\":\"console\",\"name\":\"p#\"}", 16,
         "/ports: 17 elements, at most 16 are possible"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct vm_description vm = {0};
        struct error err = {0};
        cleanup_free char *most = with_list(cases[i].key, cases[i].element, cases[i].most);
        cr_expect_eq(parse(most, &vm, &err), 0, "%s", err.text);
        vm_description_free(&vm);
        cleanup_free char *more = with_list(cases[i].key, cases[i].element, cases[i].most + 1);
        cr_expect_eq(parse(more, &vm, &err), -1);
        cr_expect(strstr(err.text, cases[i].message), "%s", err.text);
    }
}

Test(vm_file, arguments_fit_into_the_launch_message)
{
    char argument[4096]; // 16 of them with their ends are VMM_ARGUMENTS_MAX
    memset(argument, 'x', sizeof(argument) - 1);
    argument[sizeof(argument) - 1] = '\0';
    struct vm_description vm = {0};
    struct error err = {0};
    for (unsigned i = 0; i < VMM_ARGUMENTS_MAX / sizeof(argument); i++)
        cr_assert_eq(vm_description_add_argument(&vm, argument, &err), 0, "%s", err.text);
    cr_expect_eq(vm_description_add_argument(&vm, "", &err), -1);
    cr_expect_str_eq(err.text, "the arguments are longer than 65536 bytes");
    cr_expect_eq(err.status, EXIT_STATUS_USAGE);
    vm_description_free(&vm);

    static char text[VMM_ARGUMENTS_MAX + 1024];
    char *at = stpcpy(text, VM("\"arguments\":[\"\",\""));
    at[-1] = 'x'; // in place of the brace that VM closes with
    memset(at, 'x', VMM_ARGUMENTS_MAX);
    memcpy(at + VMM_ARGUMENTS_MAX, "\"]}", 4);
    cr_expect_eq(parse(text, &vm, &err), -1);
    cr_expect_str_eq(err.text,
                     "t.json:2:17: /arguments/1: the arguments are longer than 65536 bytes");
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
}

Test(vm_file, names_match_the_pattern)
{
    static const char longest[] = "a23456789012345678901234567890123456789012345678901234567890123";
    static const char too_long[] =
        "a234567890123456789012345678901234567890123456789012345678901234";
    static const char *const good[] = {"a", "0", "a-", "a--b", "0-9", longest};
    static const char *const bad[] = {"",    "-",   "-a",       "A",     "a_b",
                                      "a.b", "a b", "\xc3\xa4", too_long};
    for (size_t i = 0; i < COUNT(good); i++)
        cr_expect(vm_name_is_valid(good[i]), "%s", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect_not(vm_name_is_valid(bad[i]), "%s", bad[i]);
}

Test(vm_file, parses_require)
{
    enum vmm_require require = VMM_REQUIRE_NONE;
    struct error err = {0};
    cr_expect_eq(vm_require_parse("basic", &require, &err), 0);
    cr_expect_eq(require, VMM_REQUIRE_BASIC);
    cr_expect_eq(vm_require_parse("strict", &require, &err), 0);
    cr_expect_eq(require, VMM_REQUIRE_STRICT);
    cr_expect_eq(vm_require_parse("none", &require, &err), 0);
    cr_expect_eq(require, VMM_REQUIRE_NONE);
    cr_expect_eq(vm_require_parse("", &require, &err), -1);
    cr_expect_str_eq(err.text, "'' is not one of: none, basic, strict");
    cr_expect_eq(err.status, EXIT_STATUS_USAGE);
}

Test(vm_file, loads_files)
{
    char folder[] = "/tmp/test_vm_file.XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    char path[64];
    char expected[128];
    struct vm_description vm = {0};
    struct error err = {0};

    snprintf(path, sizeof(path), "%s/vm.json", folder);
    cr_expect_eq(vm_file_load(path, &vm, &err), -1);
    snprintf(expected, sizeof(expected), "%s: cannot open the VM file: %s", path, strerror(ENOENT));
    cr_expect_str_eq(err.text, expected);
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);

    cr_expect_eq(vm_file_load(folder, &vm, &err), -1);
    snprintf(expected, sizeof(expected), "%s: is a directory, not a VM file", folder);
    cr_expect_str_eq(err.text, expected);
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);

    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(vm_file_load(path, &vm, &err), -1);
    snprintf(expected, sizeof(expected), "%s: is not a regular file", path);
    cr_expect_str_eq(err.text, expected);
    unlink(path);

    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(full, file);
    fclose(file);
    cr_expect_eq(vm_file_load(path, &vm, &err), 0, "%s", err.text);
    snprintf(expected, sizeof(expected), "%s/llm.elf", folder);
    cr_expect_str_eq(vm.image, expected);
    vm_description_free(&vm);

    cr_assert_eq(truncate(path, VM_FILE_MAX_BYTES + 1), 0);
    cr_expect_eq(vm_file_load(path, &vm, &err), -1);
    snprintf(expected, sizeof(expected), "%s: larger than 1048576 bytes", path);
    cr_expect_str_eq(err.text, expected);
    unlink(path);
    rmdir(folder);
}

Test(vm_file, every_truncation_is_an_error)
{
    size_t whole = strlen(full) - 1; // without the last newline
    for (size_t length = 0; length < whole; length++) {
        // An exact allocation lets the sanitizers see a read beyond the end.
        cleanup_free char *text = malloc(length ? length : 1);
        cr_assert_not_null(text);
        memcpy(text, full, length);
        struct vm_description vm = {0};
        struct error err = {0};
        cr_assert_eq(vm_file_parse("t.json", text, length, &vm, &err), -1, "%zu bytes", length);
        cr_assert_eq(err.status, EXIT_STATUS_BAD_FILE);
        cr_assert_eq(strncmp(err.text, "t.json:", 7), 0, "%s", err.text);
    }
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

Test(vm_file, random_changes_never_crash)
{
    uint64_t state = 0x6775696c6c6f74;
    unsigned accepted = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof(full)];
        memcpy(text, full, sizeof(full));
        for (uint64_t changes = 1 + next_random(&state) % 3; changes; changes--)
            text[next_random(&state) % (sizeof(full) - 1)] ^= (char)(1u << next_random(&state) % 8);
        struct vm_description vm = {0};
        struct error err = {0};
        if (!vm_file_parse("t.json", text, sizeof(full) - 1, &vm, &err))
            accepted++;
        else
            cr_assert_eq(strncmp(err.text, "t.json:", 7), 0, "%s", err.text);
        vm_description_free(&vm);
    }
    cr_expect_gt(accepted, 100);
}

Test(vm_file, linux_guest)
{
    static const char text[] =
        "{\"format\":\"guillotine-vm/1\",\"linux\":{\"kernel\":\"vmlinuz\",\"initrd\":\"/i\","
        "\"cmdline\":\"quiet\",\"clock\":\"none\",\"debug_serial\":true}}";
    struct vm_description vm = {0};
    struct error err;
    cr_assert_eq(vm_file_parse("/vms/t.json", text, sizeof(text) - 1, &vm, &err), 0, "%s",
                 err.text);
    cr_expect(vm.linux_guest.given && vm.linux_guest.no_clock && vm.linux_guest.debug_serial);
    cr_expect_str_eq(vm.image, "/vms/vmlinuz");
    cr_expect_str_eq(vm.linux_guest.initrd, "/i");
    cr_expect_str_eq(vm.linux_guest.command_line, "quiet");
    vm_description_free(&vm);
}

Test(vm_file, refuses_bad_linux_guests)
{
#define VM_OF(rest) "{\"format\":\"guillotine-vm/1\"," rest "}"
    static const struct refusal refusals[] = {
        {VM_OF("\"linux\":{}"), "t.json:1:37: /linux: missing key 'kernel'"},
        {VM_OF("\"image\":\"i\",\"linux\":{\"kernel\":\"k\"}"),
         "t.json:1:49: /linux: a VM has an image or a Linux kernel, not both"},
        {VM_OF("\"linux\":{\"kernel\":\"k\",\"cmdline\":\"a\\nb\"}"),
         "t.json:1:61: /linux/cmdline: a command line is one line"},
        {VM_OF("\"linux\":{\"kernel\":\"k\"},\"memory_bytes\":2097152"),
         "t.json:1:1: memory_bytes: a Linux guest needs at least 64 MiB"},
        {VM_OF("\"linux\":{\"kernel\":\"k\"},\"weights\":[{\"file\":\"w\"}]"),
         "t.json:1:1: a Linux guest has no weights: give them in its image or on a block port"},
        {VM_OF("\"linux\":{\"kernel\":\"k\"},\"arguments\":[\"a b\"]"),
         "t.json:1:1: argument 1: what goes to a Linux guest's init on the command line cannot be "
         "empty nor hold spaces or quotes"},
    };
#undef VM_OF
    check_refusals(refusals, COUNT(refusals));
}
