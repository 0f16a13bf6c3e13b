// SPDX-License-Identifier: Apache-2.0
// The machine of a Linux guest, seen from its supervisor.
#include "linux_machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "linux_layout.h"

// Device types of virtio (virtio 1.2, section 5).
#define TYPE_BLOCK   2u
#define TYPE_CONSOLE 3u
#define TYPE_ENTROPY 4u
#define TYPE_VSOCK   19u

// What is behind which device. A kind that is not here is behind the socket device.
static const struct {
    uint32_t kind; // enum vmm_port_kind
    uint32_t type;
    bool shared; // one device for all ports of the type
} places[] = {
    {VMM_PORT_CONSOLE, TYPE_CONSOLE, true}, {VMM_PORT_MESSAGE, TYPE_CONSOLE, true},
    {VMM_PORT_LOG, TYPE_CONSOLE, true},     {VMM_PORT_ENTROPY, TYPE_ENTROPY, false},
    {VMM_PORT_BLOCK, TYPE_BLOCK, false},
};

static int add_port(struct vmm_linux_config *guest, unsigned port, uint32_t type, bool shared,
                    struct error *err)
{
    unsigned index = 0;
    while (index < guest->device_count && !(shared && guest->devices[index].type == type))
        index++;
    if (index == VMM_MAX_DEVICES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "a Linux guest has at most %u devices",
                         VMM_MAX_DEVICES);
    struct vmm_device_config *device = &guest->devices[index];
    if (index == guest->device_count)
        *device = (struct vmm_device_config){.type = type};
    guest->device_count += index == guest->device_count;
    device->ports[device->port_count++] = (uint8_t)port;
    return 0;
}

// hvc0 is the first channel of the console.
static void put_console_first(const struct vmm_config *config, struct vmm_device_config *device)
{
    for (unsigned i = 0; i < device->port_count; i++) {
        if (config->ports[device->ports[i]].kind != VMM_PORT_CONSOLE)
            continue;
        uint8_t first = device->ports[i];
        device->ports[i] = device->ports[0];
        device->ports[0] = first;
    }
}

int linux_machine_plan(struct vmm_config *config, struct error *err)
{
    struct vmm_linux_config *guest = &config->linux_guest;
    const size_t count = sizeof(places) / sizeof(places[0]);
    for (unsigned i = 0; i < config->port_count; i++) {
        size_t row = 0;
        while (row < count && places[row].kind != config->ports[i].kind)
            row++;
        if (add_port(guest, i, row < count ? places[row].type : TYPE_VSOCK,
                     row == count || places[row].shared, err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < guest->device_count; i++) {
        if (guest->devices[i].type != TYPE_CONSOLE)
            continue;
        put_console_first(config, &guest->devices[i]);
        if (config->ports[guest->devices[i].ports[0]].kind != VMM_PORT_CONSOLE)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "port %s: channels of a Linux guest need a console port beside them",
                             config->ports[guest->devices[i].ports[0]].name);
    }
    return 0;
}

static bool has_console(const struct vm_description *vm)
{
    for (uint32_t i = 0; i < vm->port_count; i++) {
        if (vm->ports[i].kind == VMM_PORT_CONSOLE)
            return true;
    }
    return false;
}

static bool append(char *text, size_t size, const char *piece)
{
    size_t used = strlen(text);
    int n = snprintf(text + used, size - used, "%s%s", used ? " " : "", piece);
    return n >= 0 && (size_t)n < size - used;
}

// Whether one of the words of a command line begins like this.
static bool says(const char *text, const char *beginning)
{
    for (const char *at = text; (at = strstr(at, beginning)); at++) {
        if (at == text || at[-1] == ' ')
            return true;
    }
    return false;
}

int linux_machine_command_line(const struct vm_description *vm, char *text, size_t size,
                               struct error *err)
{
    const char *given = vm->linux_guest.command_line ? vm->linux_guest.command_line : "";
    text[0] = '\0';
    bool fits = true;
    if (has_console(vm) && !says(given, "console="))
        fits = append(text, size, "console=hvc0");
    // A panic is the end of the run, not of its output.
    if (fits && !says(given, "panic="))
        fits = append(text, size, "panic=-1");
    // Kernels take hardware-reduced ACPI for a sign of EFI, of which there is none.
    if (fits && !says(given, "reboot="))
        fits = append(text, size, "reboot=acpi");
    if (fits && *given)
        fits = append(text, size, given);
    if (fits && vm->argument_count)
        fits = append(text, size, "--");
    for (uint32_t i = 0; fits && i < vm->argument_count; i++)
        fits = append(text, size, vm->arguments[i]);
    return fits ? 0
                : error_set(err, EXIT_STATUS_USAGE, 0,
                            "command line and arguments of the guest are longer than %zu bytes",
                            size - 1);
}

int linux_machine_load(struct vmm_config *config, const struct vm_description *vm,
                       struct linux_loader *loader, int memory_fd, int kernel_fd, int initrd_fd,
                       struct error *err)
{
    char command_line[LINUX_COMMAND_LINE_MAX];
    struct linux_entry entry;
    struct linux_load load = {
        .format = LINUX_LOADER_FORMAT,
        .memory_bytes = config->memory_bytes,
        .vcpus = config->vcpus,
        .devices = config->linux_guest.device_count,
        .has_initrd = initrd_fd >= 0,
    };
    if (linux_machine_command_line(vm, command_line, sizeof(command_line), err) < 0)
        return -1;
    load.command_line_bytes = (uint32_t)strlen(command_line) + 1;
    if (getrandom(load.random_seed, sizeof(load.random_seed), 0) !=
        (ssize_t)sizeof(load.random_seed))
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "getrandom");
    int result =
        linux_loader_run(loader, &load, command_line, memory_fd, kernel_fd, initrd_fd, &entry, err);
    linux_loader_end(loader);
    explicit_bzero(load.random_seed, sizeof(load.random_seed));
    if (result < 0)
        return error_wrap(err, "kernel %s", vm->image);
    config->linux_guest.mode = entry.mode;
    config->linux_guest.instruction = entry.instruction;
    config->linux_guest.argument = entry.argument;
    config->linux_guest.kvmclock = !vm->linux_guest.no_clock;
    config->linux_guest.debug_serial = vm->linux_guest.debug_serial;
    return 0;
}
