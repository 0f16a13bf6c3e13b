// SPDX-License-Identifier: Apache-2.0
// Errors as values: text, wrapping, and what happens to text that is too long.
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "error.h"
#include "support.h"

Test(error, set_fills_everything)
{
    struct error err;
    memset(&err, 0xa5, sizeof(err));
    cr_assert_eq(error_set(&err, EXIT_STATUS_BAD_FILE, 0, "file %s, line %d", "a", 3), -1);
    cr_expect_eq(err.code, 0);
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    cr_expect_str_eq(err.text, "file a, line 3");
}

Test(error, code_appends_its_description)
{
    struct error err;
    error_set(&err, EXIT_STATUS_RESOURCES, ENOMEM, "map");
    cr_expect_eq(err.code, ENOMEM);
    cr_expect_str_eq(err.text, "map: Cannot allocate memory");
}

Test(error, wrap_keeps_code_and_status)
{
    struct error err;
    error_set(&err, EXIT_STATUS_RESOURCES, ENOENT, "open");
    cr_assert_eq(error_wrap(&err, "port %d", 7), -1);
    cr_assert_eq(error_wrap(&err, "vm '%s'", "x"), -1);
    cr_expect_str_eq(err.text, "vm 'x': port 7: open: No such file or directory");
    cr_expect_eq(err.code, ENOENT);
    cr_expect_eq(err.status, EXIT_STATUS_RESOURCES);
}

Test(error, nobody_has_to_care)
{
    cr_expect_eq(error_set(NULL, EXIT_STATUS_INTERNAL, ENOMEM, "x"), -1);
    cr_expect_eq(error_wrap(NULL, "y"), -1);
}

// Every length around the capacity: always terminated, never longer, always a prefix of the whole.
Test(error, long_text_is_cut)
{
    struct {
        struct error err;
        char canary[16];
    } box;
    char part[2 * sizeof(box.err.text)];
    for (size_t length = sizeof(box.err.text) - 40; length < sizeof(part) - 1; length++) {
        memset(&box, 0x5a, sizeof(box));
        memset(part, 'x', length);
        part[length] = '\0';
        error_set(&box.err, EXIT_STATUS_INTERNAL, EIO, "%s", part);
        size_t used = strnlen(box.err.text, sizeof(box.err.text));
        cr_assert_lt(used, sizeof(box.err.text), "not terminated at %zu", length);
        cr_assert_eq(used, length + strlen(": Input/output error") < sizeof(box.err.text)
                               ? length + strlen(": Input/output error")
                               : sizeof(box.err.text) - 1);
        for (size_t i = 0; i < sizeof(box.canary); i++)
            cr_assert_eq(box.canary[i], 0x5a);
    }
}

Test(error, long_context_is_cut)
{
    struct {
        struct error err;
        char canary[16];
    } box;
    char context[2 * sizeof(box.err.text)];
    for (size_t length = 1; length < sizeof(context) - 1; length += 3) {
        memset(&box, 0x5a, sizeof(box));
        error_set(&box.err, EXIT_STATUS_INTERNAL, 0, "inner %0*d", 300, 7);
        memset(context, 'c', length);
        context[length] = '\0';
        error_wrap(&box.err, "%s", context);
        size_t used = strnlen(box.err.text, sizeof(box.err.text));
        cr_assert_lt(used, sizeof(box.err.text), "not terminated at %zu", length);
        size_t kept = length < used ? length : used;
        cr_assert_eq(memcmp(box.err.text, context, kept), 0, "context lost at %zu", length);
        if (length + 8 < sizeof(box.err.text))
            cr_assert_eq(memcmp(box.err.text + length, ": inner", 7), 0, "at %zu", length);
        for (size_t i = 0; i < sizeof(box.canary); i++)
            cr_assert_eq(box.canary[i], 0x5a);
    }
}
