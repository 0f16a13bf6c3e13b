// SPDX-License-Identifier: Apache-2.0
// A Linux guest: memory that its loader filled, in-kernel interrupt controllers, virtio devices.
#ifndef VMM_LINUX_GUEST_H
#define VMM_LINUX_GUEST_H

#include "kvm.h"
#include "linux_devices.h"

struct vcpu;
struct vmm;
struct vmm_end;

struct linux_guest {
    struct guest_memory memory; // RAM: what devices may touch
    uint8_t *low;               // from guest-physical 0
    uint8_t *high;              // from LINUX_HIGH_BASE; NULL: none
    uint64_t low_bytes;
    uint64_t high_bytes;
    int interrupts[VMM_MAX_DEVICES]; // eventfds behind the IOAPIC's pins
    struct linux_devices devices;
};

// Maps the memory behind `memory_fd`, which the loader sized and filled, and makes the devices.
int linux_guest_build(struct vmm *vmm, int memory_fd, struct error *err);

// Makes the VM anew with interrupt controllers, which must be there before the first vCPU; gives it
// its memory, interrupts, doorbells and MSR filter.
int linux_guest_add_to_vm(struct vmm *vmm, struct error *err);

// CPUID and the state in which the boot protocol wants vCPU 0; the others wait for it.
int linux_guest_prepare_vcpu(struct vcpu *vcpu, struct error *err);

enum linux_exit {
    LINUX_EXIT_HANDLED,
    LINUX_EXIT_ENDS,    // `end` says how
    LINUX_EXIT_UNKNOWN, // a violation
};

// Serves an exit of a vCPU, on its thread.
enum linux_exit linux_guest_handle_exit(struct vcpu *vcpu, struct vmm_end *end);

#endif
