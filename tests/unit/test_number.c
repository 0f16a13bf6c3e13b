// SPDX-License-Identifier: Apache-2.0
// Numbers, sizes and CPU lists as people write them, and what is refused.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "number.h"
#include "support.h"

Test(number, parses_whole_numbers)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0}, {"7", 7}, {"007", 7}, {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < COUNT(good); i++) {
        uint64_t value = 99;
        struct error err;
        cr_expect_eq(number_parse(good[i].text, 0, UINT64_MAX, &value, &err), 0, "%s",
                     good[i].text);
        cr_expect_eq(value, good[i].value);
    }
}

Test(number, refuses_everything_else)
{
    static const char *const bad[] = {
        "",
        " ",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "0x10",
        "1e3",
        "1.0",
        "one",
        "1,0",
        "1_0",
        "-0",
        "\t1",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "1-2",
        "\xd9\xa1" /* Arabic digit one */,
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t value = 99;
        struct error err = {0};
        cr_expect_eq(number_parse(bad[i], 0, UINT64_MAX, &value, &err), -1, "'%s'", bad[i]);
        cr_expect_eq(value, 99u);
        cr_expect_eq(err.status, EXIT_STATUS_USAGE);
        cr_expect_neq(err.text[0], '\0');
    }
}

Test(number, keeps_its_bounds)
{
    struct error err;
    uint64_t value;
    cr_expect_eq(number_parse("4", 5, 9, &value, &err), -1);
    cr_expect_eq(number_parse("5", 5, 9, &value, &err), 0);
    cr_expect_eq(number_parse("9", 5, 9, &value, &err), 0);
    cr_expect_eq(number_parse("10", 5, 9, &value, &err), -1);
    cr_expect_str_eq(err.text, "10 is outside 5 to 9");
}

Test(number, sizes)
{
    static const struct {
        const char *text;
        int result;
        uint64_t bytes;
    } cases[] = {
        {"0", 0, 0},
        {"64MiB", 0, 64ull << 20},
        {"1KiB", 0, 1024},
        {"3GiB", 0, 3ull << 30},
        {"9223372036854775807", 0, INT64_MAX},
        {"9007199254740991KiB", 0, 9007199254740991ull << 10},
        {"8589934591GiB", 0, 8589934591ull << 30},
        {"9223372036854775808", -1, 0},
        {"9007199254740992KiB", -1, 0},
        {"8796093022208MiB", -1, 0},
        {"8589934592GiB", -1, 0},
        {"18446744073709551615GiB", -1, 0},
        {"18446744073709551616", -1, 0},
        {"", -1, 0},
        {"MiB", -1, 0},
        {"1MB", -1, 0},
        {"1mib", -1, 0},
        {"1 MiB", -1, 0},
        {"1MiB ", -1, 0},
        {"1.5GiB", -1, 0},
        {"-1MiB", -1, 0},
        {" 1MiB", -1, 0},
        {"0x1MiB", -1, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t bytes = 0;
        struct error err = {0};
        cr_expect_eq(number_parse_size(cases[i].text, &bytes, &err), cases[i].result, "'%s'",
                     cases[i].text);
        cr_expect_eq(bytes, cases[i].bytes, "'%s': %" PRIu64, cases[i].text, bytes);
        if (cases[i].result)
            cr_expect_eq(err.status, EXIT_STATUS_USAGE);
    }
}

Test(number, cpu_lists)
{
    struct cpu_list list;
    struct error err;
    cr_assert_eq(cpu_list_parse("0-3,8", &list, &err), 0);
    cr_expect_eq(cpu_list_count(&list), 5u);
    cr_expect(cpu_list_has(&list, 0) && cpu_list_has(&list, 3) && cpu_list_has(&list, 8));
    cr_expect_not(cpu_list_has(&list, 4) || cpu_list_has(&list, 7) || cpu_list_has(&list, 9));
    cr_expect_not(cpu_list_has(&list, CPU_LIST_MAX) || cpu_list_has(&list, UINT32_MAX));
    cr_expect_eq(cpu_list_nth(&list, 0), 0);
    cr_expect_eq(cpu_list_nth(&list, 4), 8);
    cr_expect_eq(cpu_list_nth(&list, 5), -1);
    cr_assert_eq(cpu_list_parse("1023,1022,5-5,5", &list, &err), 0);
    cr_expect_eq(cpu_list_count(&list), 3u);
    cr_expect_eq(cpu_list_nth(&list, 2), 1023);
    cr_assert_eq(cpu_list_parse("0-1023", &list, &err), 0);
    cr_expect_eq(cpu_list_count(&list), 1024u);
}

Test(number, cpu_lists_refused)
{
    static const char *const bad[] = {
        "",
        ",",
        "1,",
        ",1",
        "1,,2",
        "-1",
        "1-",
        "1--2",
        "3-1",
        "1024",
        "0-1024",
        "1024-1025",
        "a",
        "1a",
        "1-2a",
        "1 2",
        " 1",
        "1 ",
        "1, 2",
        "0x1",
        "1-2-3",
        "99999999999999999999",
        "0-99999999999999999999",
        "18446744073709551616",
        "18446744073709551615-1",
        "+1",
        "1-+2",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct cpu_list list;
        struct error err = {0};
        cr_expect_eq(cpu_list_parse(bad[i], &list, &err), -1, "'%s'", bad[i]);
        cr_expect_eq(err.status, EXIT_STATUS_USAGE);
    }
}

// Format and parse are inverse, whatever the set.
Test(number, cpu_list_round_trip)
{
    struct random random = random_start(3);
    for (int round = 0; round < 3000; round++) {
        struct cpu_list list = {0};
        struct cpu_list back;
        struct error err;
        char text[8192];
        unsigned ranges = 1 + random_below(&random, 40);
        unsigned expected[CPU_LIST_MAX] = {0};
        while (ranges--) {
            unsigned first = random_below(&random, CPU_LIST_MAX);
            unsigned length = 1 + random_below(&random, 20);
            for (unsigned cpu = first; cpu < first + length && cpu < CPU_LIST_MAX; cpu++) {
                cpu_list_add(&list, cpu);
                expected[cpu] = 1;
            }
        }
        unsigned count = 0;
        for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
            cr_assert_eq(cpu_list_has(&list, cpu), expected[cpu]);
            if (expected[cpu])
                cr_assert_eq(cpu_list_nth(&list, count++), (int)cpu);
        }
        cr_assert_eq(cpu_list_count(&list), count);
        cpu_list_format(&list, text, sizeof(text));
        cr_assert_eq(cpu_list_parse(text, &back, &err), 0, "'%s'", text);
        cr_assert_eq(memcmp(&list, &back, sizeof(list)), 0, "'%s'", text);
    }
}

Test(number, cpu_list_format_is_cut)
{
    struct cpu_list list;
    struct error err;
    cr_assert_eq(cpu_list_parse("0-3,8,100-200,1023", &list, &err), 0);
    for (size_t size = 1; size < 32; size++) {
        char text[40];
        memset(text, 'Z', sizeof(text));
        cpu_list_format(&list, text, size);
        cr_expect_lt(strnlen(text, sizeof(text)), size);
        cr_expect_eq(text[size], 'Z');
        cr_expect_eq(strncmp("0-3,8,100-200,1023", text, strlen(text)), 0);
    }
    struct cpu_list empty = {0};
    char text[4] = "zzz";
    cpu_list_format(&empty, text, sizeof(text));
    cr_expect_str_eq(text, "");
    cr_expect_eq(cpu_list_nth(&empty, 0), -1);
}
