// SPDX-License-Identifier: Apache-2.0
// Orders of the administrators about a VM that does not run.
//
// Its state file takes the place of a supervisor: it is locked for the time of the order, so that
// no launch comes in between, and checked, recorded and written by the same rules.
#ifndef MONITOR_VM_AT_REST_H
#define MONITOR_VM_AT_REST_H

#include <stdbool.h>
#include <stddef.h>

#include "level.h"
#include "order_file.h"

struct vm_at_rest_actuators {
    const char *config; // from actuator_config_find
    bool allow_host_cut;
};

// Describes a registered VM, by name or UUID, as its supervisor would answer "quorum" on the
// control socket. A VM that runs, an unknown one, or a name that several VMs have is an error.
int vm_at_rest_describe(const char *state_dir, const char *vm, char *text, size_t size,
                        struct error *err);

// Checks a signed order against the key set and the state of the VM that it names, records it in
// STATE/audit/orders.audit, and carries it out, actuators included. *level is the level in force
// afterwards. A refusal is an error with the reason.
int vm_at_rest_order(const char *state_dir, const struct vm_at_rest_actuators *actuators,
                     const struct signed_order *order, enum level *level, struct error *err);

// The highest level of all VMs that are registered, running or not; Standard if there are none.
// *name, of VM_NAME_SIZE bytes, is of one of them at that level.
int vm_at_rest_highest(const char *state_dir, enum level *level, char *name, struct error *err);

#endif
