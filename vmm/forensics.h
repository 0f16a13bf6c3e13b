// SPDX-License-Identifier: Apache-2.0
// What the VMM leaves for a forensic image (forensic_area.h).
#ifndef VMM_FORENSICS_H
#define VMM_FORENSICS_H

#include "error.h"

struct vmm;
struct vcpu;

// Maps the area behind `fd` and writes down where the cell's memory is mapped. After cell_build,
// before lock-down. The descriptor stays with the caller. Returns 0 or -1.
int forensics_open(struct vmm *vmm, int fd, struct error *err);

// Leaves a vCPU's registers as KVM handed them over at its last exit. On the vCPU's own thread,
// which will not enter the guest any more; makes no system call.
void forensics_take_registers(const struct vcpu *vcpu);

#endif
