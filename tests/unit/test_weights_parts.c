// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_status.h"
#include "weights_parts.h"

Test(weights_parts, names_of_parts_are_known)
{
    unsigned part = 0;
    cr_expect_eq(weights_parts_count("a-00001-of-00003.gguf", &part), 3);
    cr_expect_eq(part, 1);
    cr_expect_eq(weights_parts_count("/models/b-00001-of-00002.gguf-00012-of-00120.gguf", &part),
                 120);
    cr_expect_eq(part, 12);
}

Test(weights_parts, other_names_are_none)
{
    static const char *const names[] = {
        "",
        "demo.gguf",
        "-00001-of-00003.gguf",
        "a-00001-of-00001.gguf",
        "a-00000-of-00003.gguf",
        "a-00004-of-00003.gguf",
        "a-0001-of-00003.gguf",
        "a-00001-of-00003.GGUF",
        "a-00001-of-00003.gguf.sealed",
        "a-0000x-of-00003.gguf",
        "a-00001-of--0003.gguf",
        "a_00001-of-00003.gguf",
        "a-00001_of_00003.gguf",
    };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unsigned part = 0;
        cr_expect_eq(weights_parts_count(names[i], &part), 0, "%s", names[i]);
    }
}

static void add(struct vm_description *vm, const char *path)
{
    vm->weights[vm->weights_count++].path = strdup(path);
}

static void expect_files(struct vm_description *vm, const char *const *paths, unsigned count)
{
    struct error err;
    cr_assert_eq(weights_parts_complete(vm, &err), 0);
    cr_assert_eq(vm->weights_count, count);
    for (unsigned i = 0; i < count; i++)
        cr_expect_str_eq(vm->weights[i].path, paths[i]);
    vm_description_free(vm);
}

Test(weights_parts, the_first_part_brings_the_others)
{
    static const char *const paths[] = {"x.gguf", "m/a-00001-of-00003.gguf",
                                        "m/a-00002-of-00003.gguf", "m/a-00003-of-00003.gguf",
                                        "y.gguf"};
    struct vm_description vm = {0};
    add(&vm, "x.gguf");
    add(&vm, "m/a-00001-of-00003.gguf");
    vm.weights[1].copy = true;
    add(&vm, "y.gguf");
    struct vm_description again = vm;
    struct error err;
    cr_assert_eq(weights_parts_complete(&again, &err), 0);
    cr_expect_not(again.weights[0].copy);
    cr_expect(again.weights[2].copy && again.weights[3].copy);
    cr_expect_not(again.weights[4].copy);
    expect_files(&again, paths, 5); // and completing twice changes nothing
}

Test(weights_parts, what_is_listed_stays)
{
    static const char *const whole[] = {"a-00001-of-00002.gguf", "a-00002-of-00002.gguf"};
    static const char *const second[] = {"a-00002-of-00002.gguf"};
    struct vm_description vm = {0};
    add(&vm, whole[0]);
    add(&vm, whole[1]);
    expect_files(&vm, whole, 2);

    vm = (struct vm_description){0};
    add(&vm, second[0]);
    expect_files(&vm, second, 1);
}

Test(weights_parts, no_more_than_a_vm_can_have)
{
    struct vm_description vm = {0};
    struct error err;
    add(&vm, "a-00001-of-00016.gguf");
    cr_expect_eq(weights_parts_complete(&vm, &err), 0);
    cr_expect_eq(vm.weights_count, 16);
    cr_expect_str_eq(vm.weights[15].path, "a-00016-of-00016.gguf");
    vm_description_free(&vm);

    vm = (struct vm_description){0};
    add(&vm, "a-00001-of-99999.gguf");
    cr_expect_eq(weights_parts_complete(&vm, &err), -1);
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
    cr_expect_eq(vm.weights_count, 1);
    vm_description_free(&vm);
}
