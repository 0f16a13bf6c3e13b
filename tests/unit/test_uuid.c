// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <string.h>

#include "uuid.h"

Test(uuid, made_ones_are_version_4_and_round_trip)
{
    struct uuid last = {{0}};
    for (unsigned i = 0; i < 1000; i++) {
        struct uuid uuid;
        struct uuid read;
        char text[UUID_TEXT_SIZE];
        cr_assert_eq(uuid_make(&uuid, NULL), 0);
        uuid_format(&uuid, text);
        cr_assert_eq(strlen(text), 36);
        cr_assert_eq(text[14], '4');
        cr_assert(strchr("89ab", text[19]));
        cr_assert(uuid_parse(text, &read));
        cr_assert(uuid_equal(&uuid, &read));
        cr_assert_not(uuid_equal(&uuid, &last));
        last = uuid;
    }
}

Test(uuid, what_is_none_is_refused)
{
    static const char *const bad[] = {
        "",
        "0",
        "3e2b1f5c-8f1d-4d7c-9b7a-2d1a5b6c7d8",
        "3e2b1f5c-8f1d-4d7c-9b7a-2d1a5b6c7d8ee",
        "3e2b1f5c-8f1d-1d7c-9b7a-2d1a5b6c7d8e",
        "3e2b1f5c-8f1d-4d7c-cb7a-2d1a5b6c7d8e",
        "3e2b1f5c08f1d-4d7c-9b7a-2d1a5b6c7d8e",
        "3e2b1f5g-8f1d-4d7c-9b7a-2d1a5b6c7d8e",
        "{3e2b1f5c-8f1d-4d7c-9b7a-2d1a5b6c7d8",
    };
    struct uuid uuid;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(uuid_parse(bad[i], &uuid), "%s", bad[i]);
    cr_assert(uuid_parse("3E2B1F5C-8f1d-4d7c-9b7a-2d1a5b6c7d8e", &uuid));
}
