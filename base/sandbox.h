// SPDX-License-Identifier: Apache-2.0
// Lock-down of a process, in layers; each one that the host denies is reported by its bit.
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Layers that sandbox_enter could not get from the host.
enum sandbox_layer {
    SANDBOX_LAYER_MOUNT_VIEW = 1u << 0,   // empty file system
    SANDBOX_LAYER_CAPABILITIES = 1u << 2, // dropped and bounded
    SANDBOX_LAYER_IDENTITY = 1u << 4,     // a user id without rights on the host
};

// Enters an empty file system, drops all capabilities and the user identity, forbids new
// privileges and core dumps, and ties the process's life to its parent's. Without privileges it
// must run before any thread is created. *missing gets the bits of enum sandbox_layer that the
// host denied. Fails only where going on would leave less than the process had before.
int sandbox_enter(uint32_t *missing, struct error *err);

// Same for a process that makes files in a folder of `uid` and `gid`: it becomes that user instead
// of one without rights, and reaches only what it has open.
int sandbox_enter_as(uint32_t uid, uint32_t gid, uint32_t *missing, struct error *err);

// Installs a system-call filter, as seccomp_compile made it, on the calling thread, for good.
int sandbox_install(const struct sock_filter *filter, size_t count, struct error *err);

#endif
