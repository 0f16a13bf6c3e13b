// SPDX-License-Identifier: Apache-2.0
// "memory" of a VM file: pages, locking, NUMA node.
#include <stddef.h>
#include <string.h>

#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const huge_pages_names[] = {
    [VM_HUGE_PAGES_AUTO] = "auto",
    [VM_HUGE_PAGES_NONE] = "none",
    [VM_HUGE_PAGES_TRANSPARENT] = "transparent",
    [VM_HUGE_PAGES_RESERVED] = "reserved",
};

int vm_huge_pages_parse(const char *text, enum vm_huge_pages *pages, struct error *err)
{
    char excerpt[JSON_EXCERPT_SIZE];
    for (size_t i = 0; i < COUNT(huge_pages_names); i++) {
        if (!strcmp(text, huge_pages_names[i])) {
            *pages = (enum vm_huge_pages)i;
            return 0;
        }
    }
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "'%s' is not one of: auto, none, transparent, reserved",
                     json_excerpt(excerpt, text));
}

static int read_huge_pages(const struct json_place *place, void *target, struct error *err)
{
    struct vm_description *vm = target;
    size_t index;
    if (json_read_name(place, huge_pages_names, COUNT(huge_pages_names), &index, err))
        return -1;
    vm->huge_pages = (enum vm_huge_pages)index;
    return 0;
}

static int read_node(const struct json_place *place, void *target, struct error *err)
{
    struct vm_description *vm = target;
    vm->numa_node_given = true;
    return json_field_u32(place, target, err);
}

int vm_file_read_memory(const struct json_place *place, struct vm_description *vm,
                        struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "huge_pages", .read = read_huge_pages},
        {"locked", json_field_bool, false, offsetof(struct vm_description, lock_memory), 0, 0},
        {"numa_node", read_node, false, offsetof(struct vm_description, numa_node), 0, 1023},
    };
    return json_read_object(place, fields, COUNT(fields), vm, err);
}
