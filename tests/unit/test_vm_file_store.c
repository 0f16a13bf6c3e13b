// SPDX-License-Identifier: Apache-2.0
// Stores in a VM file: what is granted by default, and what their program gets.
#include "port_abi.h"
#include "store_settings.h"
#include "vm_file_support.h"

#define STORE(rest) VM("\"ports\":[{\"kind\":\"store\"" rest "}]")

static struct vm_description read(const char *text)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(text, &vm, &err), 0, "%s", err.text);
    return vm;
}

static void expect_store(const char *text, uint64_t operations, bool writable)
{
    struct vm_description vm = read(text);
    const struct store_settings *store = vm.settings[0].bytes;
    cr_expect_eq(vm.ports[0].kind, PORT_KIND_STORE);
    cr_expect_eq(vm.ports[0].process, 1);
    cr_expect_eq(vm.ports[0].operations, operations, "%s", text);
    cr_assert_eq(vm.settings[0].length, sizeof(*store));
    cr_expect_eq(store->grant.writable, writable, "%s", text);
    cr_expect_str_eq(store->path, "c.store");
    vm_description_free(&vm);
}

#define PATH "\"settings\":{\"path\":\"c.store\"}"

Test(vm_file_store, writes_only_where_it_is_granted)
{
    const uint64_t reads = 1u << STORE_GET | 1u << STORE_LIST | 1u << STORE_SEARCH;
    expect_store(STORE("," PATH), reads, false);
    expect_store(STORE("," PATH ",\"operations\":[\"get\"]"), 1u << STORE_GET, false);
    expect_store(STORE("," PATH ",\"operations\":[]"), 0, false);
    expect_store(STORE("," PATH ",\"operations\":[\"put\"]"), 1u << STORE_PUT, true);
    expect_store(STORE(",\"operations\":[\"delete\",\"get\"]," PATH),
                 1u << STORE_DELETE | 1u << STORE_GET, true);
}

Test(vm_file_store, settings)
{
    struct vm_description vm = read(STORE("," PATH));
    const struct store_settings *store = vm.settings[0].bytes;
    cr_expect_eq(store->grant.quota_bytes, STORE_QUOTA_DEFAULT);
    cr_expect_eq(store->grant.max_objects, STORE_MAX_OBJECTS_DEFAULT);
    vm_description_free(&vm);
    vm =
        read(STORE(",\"settings\":{\"path\":\"/a/b\",\"quota_bytes\":1,\"max_objects\":16777216}"));
    store = vm.settings[0].bytes;
    cr_expect_eq(store->grant.quota_bytes, 1u);
    cr_expect_eq(store->grant.max_objects, STORE_MAX_OBJECTS_MAX);
    cr_expect_str_eq(store->path, "/a/b");
    vm_description_free(&vm);
}

Test(vm_file_store, refusals)
{
    static const struct refusal refusals[] = {
        {STORE(""), "t.json:2:10: /ports/0: a store needs settings"},
        {STORE(",\"settings\":{}"), "t.json:2:37: /ports/0/settings: missing key 'path'"},
        {STORE(",\"settings\":{\"path\":\"\"}"),
         "t.json:2:45: /ports/0/settings/path: the path is empty"},
        {STORE(",\"settings\":{\"path\":1}"),
         "t.json:2:45: /ports/0/settings/path: a string is expected, found an integer"},
        {STORE(",\"settings\":{\"path\":\"x\",\"max_objects\":16777217}"),
         "t.json:2:63: /ports/0/settings/max_objects: 16777217 is outside 1 to 16777216"},
        {STORE(",\"settings\":{\"path\":\"x\",\"quota_bytes\":0}"),
         "t.json:2:63: /ports/0/settings/quota_bytes: 0 is outside 1 to 1099511627776"},
        {STORE(",\"settings\":{\"path\":\"x\",\"write\":true}"),
         "t.json:2:49: /ports/0/settings/write: unknown key (known: path, quota_bytes, "
         "max_objects)"},
        {STORE("," PATH ",\"process\":false"),
         "t.json:2:66: /ports/0/process: the backend of a store is always a process of its own"},
    };
    check_refusals(refusals, COUNT(refusals));
}
