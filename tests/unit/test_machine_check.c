// SPDX-License-Identifier: Apache-2.0
// Counts of memory errors from a directory that stands for /sys.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine_check.h"

static char root[] = "/tmp/guillotine-test-XXXXXX";
static struct machine_check check;

static void setup(void)
{
    cr_assert_not_null(mkdtemp(root));
}

static void teardown(void)
{
    char command[128];
    machine_check_close(&check);
    snprintf(command, sizeof(command), "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(machine_check, .init = setup, .fini = teardown);

static void put(unsigned controller, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "mkdir -p %s/devices/system/edac/mc/mc%u", root, controller);
    cr_assert_eq(system(path), 0);
    snprintf(path, sizeof(path), "%s/devices/system/edac/mc/mc%u/%s", root, controller, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

Test(machine_check, a_host_that_counts_nothing_has_no_errors)
{
    cr_assert(machine_check_open(&check, root));
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_NONE);
    machine_check_close(&check);
    cr_assert_not(machine_check_open(&check, "/nonexistent"));
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_NONE);
}

Test(machine_check, only_new_uncorrected_errors_count)
{
    put(0, "ue_count", "3\n");
    put(0, "ce_count", "10\n");
    put(2, "ue_count", "0\n"); // a gap in the numbers
    cr_assert(machine_check_open(&check, root));
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_NONE, "old errors are not new");
    put(0, "ce_count", "11\n");
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_NONE);
    cr_assert_eq(check.corrected, 11);
    put(2, "ue_count", "1\n");
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_UNCORRECTED);
    cr_assert_eq(check.uncorrected, 4);
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_NONE, "each is found once");
}

Test(machine_check, a_count_that_cannot_be_read_any_more_is_doubt)
{
    put(0, "ue_count", "0\n");
    cr_assert(machine_check_open(&check, root));
    put(0, "ue_count", "no number\n");
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_UNREADABLE);
    put(0, "ue_count", "");
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_NONE, "said once");
}

Test(machine_check, a_count_that_was_reset_is_doubt)
{
    put(0, "ue_count", "5\n");
    cr_assert(machine_check_open(&check, root));
    put(0, "ue_count", "0\n");
    cr_assert_eq(machine_check_look(&check), MACHINE_CHECK_UNCORRECTED);
}
