// SPDX-License-Identifier: Apache-2.0
// Bytes as text: one spelling each.
#include <criterion/criterion.h>
#include <string.h>

#include "hex.h"

Test(hex, both_ways)
{
    uint8_t bytes[256], back[256];
    char text[513];
    for (unsigned i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    hex_format(text, bytes, sizeof(bytes));
    cr_assert_eq(strlen(text), 512u);
    cr_assert(!strncmp(text, "000102", 6) && !strcmp(text + 506, "fdfeff"));
    cr_assert(hex_parse(text, back, sizeof(back)));
    cr_assert_arr_eq(bytes, back, sizeof(bytes));
}

Test(hex, refused)
{
    static const char *const bad[] = {"",     "0",    "012",  "01234", "0g12",
                                      "01 2", "AB12", "-123", "0x12",  "01\n2"};
    uint8_t bytes[2];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_not(hex_parse(bad[i], bytes, sizeof(bytes)), "%s", bad[i]);
    cr_expect(hex_parse("ab12", bytes, sizeof(bytes)));
    cr_expect(hex_parse("", bytes, 0));
}

Test(hex, uuids)
{
    static const char good[] = "01234567-89ab-cdef-0123-456789abcdef";
    static const char *const bad[] = {
        "",
        "0123456789abcdef0123456789abcdef",
        "01234567-89ab-cdef-0123-456789abcde",
        "01234567-89ab-cdef-0123-456789abcdef0",
        "01234567-89AB-cdef-0123-456789abcdef",
        "{1234567-89ab-cdef-0123-456789abcdef",
        "01234567-89ab-cdef-01234-56789abcdef",
        "01234567089ab-cdef-0123-456789abcdef",
    };
    uint8_t uuid[UUID_BYTES];
    char text[UUID_TEXT_SIZE];
    cr_assert(uuid_bytes_parse(good, uuid));
    cr_expect_eq(uuid[0], 0x01);
    cr_expect_eq(uuid[15], 0xef);
    uuid_bytes_format(text, uuid);
    cr_expect_str_eq(text, good);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_not(uuid_bytes_parse(bad[i], uuid), "%s", bad[i]);
}
