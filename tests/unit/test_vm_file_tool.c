// SPDX-License-Identifier: Apache-2.0
// Tool ports in a VM file: what their program gets, and what is refused.
#include <stdlib.h>

#include "port_abi.h"
#include "tool_settings.h"
#include "tool_view.h"
#include "vm_file_support.h"

#define TOOL(settings) VM("\"ports\":[{\"kind\":\"tool\",\"settings\":{" settings "}}]")
#define LEAST          "\"command\":[\"/bin/true\"],\"pins\":\"p.json\",\"tools\":[]"

static struct vm_description read(const char *text)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(text, &vm, &err), 0, "%s", err.text);
    return vm;
}

Test(vm_file_tool, defaults)
{
    struct vm_description vm = read(TOOL(LEAST));
    const struct tool_settings *tool = vm.settings[0].bytes;
    cr_expect_eq(vm.ports[0].kind, PORT_KIND_TOOL);
    cr_expect_eq(vm.ports[0].process, 1);
    cr_expect_eq(vm.ports[0].operations, 1u << TOOL_LIST | 1u << TOOL_CALL);
    cr_expect_str_eq(tool->pins, "p.json");
    cr_expect_eq(tool->grant.network, 0u);
    cr_expect_eq(tool->grant.start_ms, 30000u);
    cr_expect_eq(tool->grant.processes, 64u);
    cr_expect_eq(tool->grant.memory_bytes, 1ull << 30);
    vm_description_free(&vm);
}

// What the supervisor makes is what the port's program takes.
Test(vm_file_tool, settings)
{
    struct vm_description vm = read(
        TOOL("\"command\":[\"/bin/a\",\"-b\",\"\"],\"environment\":{\"A\":\"1=2\",\"B\":\"\"},"
             "\"read\":[\"/usr\"],\"write\":[\"/tmp\",\"/\"],\"directory\":\"/usr/"
             "..\",\"network\":true,\"pins\":\"/x/p\","
             "\"tools\":[{\"name\":\"t\"},{\"name\":\"u\",\"arguments\":{\"type\":\"object\"}}],"
             "\"start_ms\":5,\"processes\":9,\"memory_bytes\":33554432"));
    struct tool_grant_view view;
    struct error err = {0};
    size_t length;
    struct tool_grant *grant = tool_settings_pin(vm.settings[0].bytes, &length, &err);
    cr_assert(grant, "%s", err.text);
    cr_assert_eq(tool_view_open(&view, grant, length, &err), 0, "%s", err.text);
    cr_expect_str_eq(view.arguments[0], "/bin/a");
    cr_expect_str_eq(view.arguments[2], "");
    cr_expect_null(view.arguments[3]);
    cr_expect_str_eq(view.variables[0], "A=1=2");
    cr_expect_str_eq(view.variables[1], "B=");
    cr_expect_str_eq(view.paths[0], "/usr");
    cr_expect_str_eq(view.paths[1], "/tmp");
    cr_expect_str_eq(view.paths[2], "/");
    cr_expect_str_eq(view.directory, "/");
    cr_expect_str_eq(view.tools[0].name, "t");
    cr_expect_str_eq(view.tools[0].pin, "");
    cr_expect_str_eq(view.tools[0].schema, "");
    cr_expect_str_eq(view.tools[1].schema, "{\"type\":\"object\"}");
    cr_expect_eq(grant->network, 1u);
    cr_expect_eq(grant->start_ms, 5u);
    cr_expect_eq(grant->processes, 9u);
    cr_expect_eq(grant->memory_bytes, 33554432u);
    // Any byte less, and it is none.
    for (size_t less = 1; less < length; less++) {
        cr_expect_eq(tool_view_open(&view, grant, length - less, &err), -1);
        grant->text_bytes--;
        if (less < 40)
            cr_expect_eq(tool_view_open(&view, grant, length - less, &err), -1);
    }
    free(grant);
    vm_description_free(&vm);
}

Test(vm_file_tool, refusals)
{
    static const struct refusal refusals[] = {
        {VM("\"ports\":[{\"kind\":\"tool\"}]"), "t.json:2:10: /ports/0: a tool needs settings"},
        {TOOL(""), "t.json:2:36: /ports/0/settings: missing key 'pins'"},
        {TOOL("\"pins\":\"p\",\"tools\":[]"),
         "t.json:2:36: /ports/0/settings: either \"command\" or \"url\" is expected"},
        {TOOL("\"command\":[\"/bin/true\"],\"tools\":[]"),
         "t.json:2:36: /ports/0/settings: missing key 'pins'"},
        {TOOL("\"command\":[],\"pins\":\"p\",\"tools\":[]"),
         "t.json:2:47: /ports/0/settings/command: an empty command"},
        {TOOL("\"command\":[\"true\"],\"pins\":\"p\",\"tools\":[]"),
         "t.json:2:48: /ports/0/settings/command/0: the program's path has to be absolute, as it "
         "is seen in the sandbox"},
        {TOOL(LEAST ",\"read\":[\"/no-such-path\"]"),
         "t.json:2:96: /ports/0/settings/read/0: No such file or directory"},
        {TOOL(LEAST ",\"environment\":{\"A=B\":\"\"}"),
         "t.json:2:103: /ports/0/settings/environment/A=B: not the name of a variable, or more "
         "than 64"},
        {TOOL("\"command\":[\"/a\"],\"pins\":\"p\",\"tools\":[{\"name\":\"\"}]"),
         "t.json:2:82: /ports/0/settings/tools/0/name: a tool's name has 1 to 127 bytes"},
        {TOOL("\"command\":[\"/a\"],\"pins\":\"p\",\"tools\":[{\"name\":\"a\"},{\"name\":\"a\"}]"),
         "t.json:2:95: /ports/0/settings/tools/1/name: a tool of this name is granted already"},
        {TOOL("\"command\":[\"/a\"],\"pins\":\"p\",\"tools\":[{\"name\":\"a\",\"arguments\":{"
              "\"pattern\":1}}]"),
         "t.json:2:99: /ports/0/settings/tools/0/arguments/pattern: unknown key (known: type, "
         "properties, required, additionalProperties, enum, const, minimum, maximum, minLength, "
         "maxLength, items, minItems, maxItems, description, title)"},
        {TOOL(LEAST ",\"memory_bytes\":1"),
         "t.json:2:103: /ports/0/settings/memory_bytes: 1 is outside 16777216 to 1099511627776"},
        {TOOL(LEAST ",\"start_ms\":0"),
         "t.json:2:99: /ports/0/settings/start_ms: 0 is outside 1 to 600000"},
    };
    check_refusals(refusals, COUNT(refusals));
}
