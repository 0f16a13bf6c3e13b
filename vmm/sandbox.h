// SPDX-License-Identifier: Apache-2.0
// Lock-down of the VMM process, in layers; each one that the host denies is reported by its bit.
#ifndef VMM_SANDBOX_H
#define VMM_SANDBOX_H

#include <stdint.h>

#include "error.h"
#include "seccomp_rules.h"

// Enters an empty file system, drops all capabilities and the user identity,
// forbids new privileges and core dumps. Must run before any thread is created. *missing gets the
// VMM_LAYER_* bits (vmm_protocol.h) that the host denied. Fails only where going on would leave
// less than the process had before.
int sandbox_enter(uint32_t *missing, struct error *err);

// Installs the system-call filter of a thread kind on the calling thread, for good.
int sandbox_filter(enum seccomp_thread thread, struct error *err);

#endif
