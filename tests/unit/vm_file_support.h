// SPDX-License-Identifier: Apache-2.0
// What the tests of the VM file share: reading a text, and refusals with their exact messages.
#ifndef TESTS_UNIT_VM_FILE_SUPPORT_H
#define TESTS_UNIT_VM_FILE_SUPPORT_H

#include <criterion/criterion.h>
#include <string.h>

#include "support.h"
#include "vm_file.h"

static inline int parse(const char *text, struct vm_description *vm, struct error *err)
{
    return vm_file_parse("t.json", text, strlen(text), vm, err);
}

struct refusal {
    const char *text;
    const char *message;
};

static inline void check_refusals(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct vm_description vm = {0};
        static const struct vm_description nothing;
        struct error err = {0};
        cr_expect_eq(parse(refusals[i].text, &vm, &err), -1, "accepted: %s", refusals[i].text);
        cr_expect_str_eq(err.text, refusals[i].message);
        cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
        cr_expect_eq(memcmp(&vm, &nothing, sizeof(vm)), 0);
    }
}

// Everything behind the two required keys; columns below count from there.
#define VM(rest) "{\"format\":\"guillotine-vm/1\",\"image\":\"a\",\n" rest "}"

#endif
