# SPDX-License-Identifier: Apache-2.0
"""Keeps two VMs open that do nothing, so that KVM never patches the kernel's code while tests run.

The first VM, the first processor without a local APIC, and the first one whose APIC is off make KVM
rewrite instructions of the running kernel (static keys); so does the end of the last one. QEMU 7.2
with a thread per processor can keep the old translation of such an instruction for ever if another
processor executes it at that moment: the emulated host hangs in an endless loop of breakpoints.
With these VMs there are no first and last ones. Standard output is closed when they exist.
"""

import fcntl
import os
import signal
import sys

KVM_CREATE_VM = 0xAE01
KVM_CREATE_VCPU = 0xAE41
KVM_CREATE_IRQCHIP = 0xAE60

kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
held = []
for with_apic in (False, True):
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    if with_apic:
        fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
    held += [vm, fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)]
os.close(1)  # whoever waits for the end of our output goes on
signal.pause()
sys.exit(1)
