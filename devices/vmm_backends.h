// SPDX-License-Identifier: Apache-2.0
// The table of port backends, and the states of those that run in the VMM.
#ifndef DEVICES_VMM_BACKENDS_H
#define DEVICES_VMM_BACKENDS_H

#include "clock_port.h"
#include "console.h"
#include "entropy_port.h"
#include "message.h"
#include "vmm_protocol.h"

struct vmm_backends {
    struct console console;
    struct message messages[VMM_MAX_PORTS]; // of message ports, logs and the agent's port
    struct clock_port clock;
    struct entropy_port entropy[VMM_MAX_PORTS]; // of the ports of that kind
    int wake_supervisor_fd;                     // borrowed
};

// The backend of a port's kind, which must be one that may run where the configuration says. NULL
// and *err if there is none.
const struct port_backend *vmm_backend_find(const struct vmm_port_config *config,
                                            struct error *err);

// Makes the state of a backend in the VMM that was found for the port with that index. Wipes the
// seeds of the configuration that it took. `fds` are the port's descriptors. NULL and *err on
// failure.
void *vmm_backend_make(struct vmm_backends *backends, struct vmm_port_config *config, unsigned port,
                       const int *fds, struct error *err);

#endif
