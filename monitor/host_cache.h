// SPDX-License-Identifier: Apache-2.0
// Parts of the last-level cache that a model has alone (resctrl: Intel CAT, AMD L3 enforcement).
//
// The first half of the cache's ways belongs to models, a slice for each VM; everything else, the
// hypervisor cores among it, keeps the second half. More VMs than slices share the second half.
// Called with the lock of host_cores.h held by nobody: a group has one owner, the reservation.
#ifndef MONITOR_HOST_CACHE_H
#define MONITOR_HOST_CACHE_H

#include <sys/types.h>

#include "host_cores.h"

// VMs that can have a part of the cache at the same time.
#define HOST_CACHE_SLICES 2u

// Gives the vCPU threads of a VMM a part of their own. Returns its number of ways; 0: the host
// cannot, or has no part left.
unsigned host_cache_assign(const struct host_root *root, const struct host_reservation *reservation,
                           pid_t vmm);

// Gives it back. Everything else has the whole cache again when no VM has a part.
void host_cache_release(const struct host_root *root, const char *id);

#endif
