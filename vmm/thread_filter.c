// SPDX-License-Identifier: Apache-2.0
// The system-call filter of each kind of thread of the VMM.
#include "thread_filter.h"

#include "sandbox.h"
#include "seccomp_filters.h"
#include "vmm_protocol.h"

// main.c adds what sandbox_enter reports to what it reports itself.
_Static_assert((int)SANDBOX_LAYER_MOUNT_VIEW == (int)VMM_LAYER_MOUNT_VIEW, "one set of bits");
_Static_assert((int)SANDBOX_LAYER_CAPABILITIES == (int)VMM_LAYER_CAPABILITIES, "one set of bits");
_Static_assert((int)SANDBOX_LAYER_IDENTITY == (int)VMM_LAYER_IDENTITY, "one set of bits");

#define INSTALL(filter, err) sandbox_install(filter, sizeof(filter) / sizeof((filter)[0]), err)

int thread_filter_install(enum seccomp_thread thread, struct error *err)
{
    switch (thread) {
    case SECCOMP_VCPU:
        return INSTALL(seccomp_filter_vcpu, err);
    case SECCOMP_POLLER:
        return INSTALL(seccomp_filter_poller, err);
    case SECCOMP_CONTROL:
        return INSTALL(seccomp_filter_control, err);
    case SECCOMP_WATCHDOG:
        return INSTALL(seccomp_filter_watchdog, err);
    }
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "sandbox: unknown thread kind");
}
