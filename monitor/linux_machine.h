// SPDX-License-Identifier: Apache-2.0
// The machine of a Linux guest, seen from its supervisor: which ports are behind which devices, the
// kernel's command line, and the memory as the loader fills it.
#ifndef MONITOR_LINUX_MACHINE_H
#define MONITOR_LINUX_MACHINE_H

#include "linux_launch.h"
#include "vm_file.h"
#include "vmm_protocol.h"

// Gives every port a device: console, message and log ports are channels of one console, entropy
// and block ports devices of their own, and the others are reached through one socket device.
int linux_machine_plan(struct vmm_config *config, struct error *err);

// Writes the command line: the VM's, with what its devices need if it does not say otherwise, and
// behind "--" the arguments for init. `size` bytes of room.
int linux_machine_command_line(const struct vm_description *vm, char *text, size_t size,
                               struct error *err);

// Has the loader fill the memory, and puts into `config` where the guest is entered. `initrd_fd` is
// -1 without one.
int linux_machine_load(struct vmm_config *config, const struct vm_description *vm,
                       struct linux_loader *loader, int memory_fd, int kernel_fd, int initrd_fd,
                       struct error *err);

#endif
