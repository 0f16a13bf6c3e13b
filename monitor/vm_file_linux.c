// SPDX-License-Identifier: Apache-2.0
// The Linux guest of a VM file.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "linux_layout.h"
#include "vm_file_internal.h"

static int read_kernel(const struct json_place *place, void *target, struct error *err)
{
    struct vm_description *vm = target;
    return vm_file_read_path(place, &vm->image, err);
}

static int read_initrd(const struct json_place *place, void *target, struct error *err)
{
    struct vm_description *vm = target;
    return vm_file_read_path(place, &vm->linux_guest.initrd, err);
}

static int read_command_line(const struct json_place *place, void *target, struct error *err)
{
    struct vm_description *vm = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (strlen(text) >= LINUX_COMMAND_LINE_MAX)
        return json_refuse(place, JSON_PART_VALUE, err, "longer than %llu characters",
                           LINUX_COMMAND_LINE_MAX - 1);
    if (strpbrk(text, "\n\r"))
        return json_refuse(place, JSON_PART_VALUE, err, "a command line is one line");
    vm->linux_guest.command_line = strdup(text);
    return vm->linux_guest.command_line
               ? 0
               : error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "command line");
}

static int read_clock(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"kvmclock", "none"};
    struct vm_description *vm = target;
    size_t index;
    if (json_read_name(place, names, 2, &index, err))
        return -1;
    vm->linux_guest.no_clock = index == 1;
    return 0;
}

int vm_file_read_linux(const struct json_place *place, struct vm_description *vm, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "kernel", .read = read_kernel, .required = true},
        {.key = "initrd", .read = read_initrd},
        {.key = "cmdline", .read = read_command_line},
        {.key = "clock", .read = read_clock},
        {"debug_serial", json_field_bool, false,
         offsetof(struct vm_description, linux_guest.debug_serial), 0, 0},
    };
    vm->linux_guest.given = true;
    return json_read_object(place, fields, sizeof(fields) / sizeof(fields[0]), vm, err);
}

int vm_linux_check(const struct vm_description *vm, struct error *err)
{
    if (vm->weights_count)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "a Linux guest has no weights: give them in its image or on a block port");
    if (vm->memory_bytes && vm->memory_bytes < VM_LINUX_MEMORY_MIN)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "memory_bytes: a Linux guest needs at least %llu MiB",
                         VM_LINUX_MEMORY_MIN >> 20);
    if (vm->poller_threads > 1)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "poller: the devices of a Linux guest have one thread");
    for (uint32_t i = 0; i < vm->argument_count; i++) {
        const char *argument = vm->arguments[i];
        if (!*argument || strpbrk(argument, " \t\n\r\"'"))
            return error_set(err, EXIT_STATUS_USAGE, 0,
                             "argument %u: what goes to a Linux guest's init on the command line "
                             "cannot be empty nor hold spaces or quotes",
                             i + 1);
    }
    return 0;
}
