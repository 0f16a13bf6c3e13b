// SPDX-License-Identifier: Apache-2.0
// What the VMM leaves for a forensic image.
#include "forensics.h"

#include <errno.h>
#include <sys/mman.h>

#include "forensic_area.h"
#include "vmm.h"

// A Linux guest's memory is shown as its processor sees it without paging.
#define PAGE_ALL (PAGE_WRITE | PAGE_EXECUTE | PAGE_USER)

_Static_assert(FORENSIC_MAX_MAPPINGS >= FRAME_MAP_MAX, "every mapping has a place");
_Static_assert(FORENSIC_MAX_VCPUS >= VMM_MAX_VCPUS, "every vCPU has a place");

int forensics_open(struct vmm *vmm, int fd, struct error *err)
{
    struct forensic_area *area =
        mmap(NULL, FORENSIC_AREA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (area == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map forensic area");
    vmm->forensics = area;
    if (vmm->config.guest == VMM_GUEST_LINUX) {
        const struct linux_guest *guest = &vmm->linux_guest;
        area->mappings[area->mapping_count++] =
            (struct forensic_mapping){.length = guest->low_bytes, .rights = PAGE_ALL};
        if (guest->high_bytes)
            area->mappings[area->mapping_count++] =
                (struct forensic_mapping){.address = LINUX_HIGH_BASE,
                                          .offset = guest->low_bytes,
                                          .length = guest->high_bytes,
                                          .rights = PAGE_ALL};
        return 0;
    }
    for (unsigned i = 0; i < vmm->cell.map.count; i++) {
        const struct frame_mapping *mapping = &vmm->cell.map.mappings[i];
        uint64_t offset;
        // Doorbells and weights are no guest memory of this memfd.
        if (!cell_backing_offset(&vmm->cell, mapping->physical_base, mapping->length, &offset))
            continue;
        area->mappings[area->mapping_count++] = (struct forensic_mapping){
            .address = mapping->virtual_base.value,
            .offset = offset,
            .length = mapping->length,
            .rights = mapping->rights,
        };
    }
    return 0;
}

void forensics_take_registers(const struct vcpu *vcpu)
{
    struct forensic_vcpu *target = &vcpu->vmm->forensics->vcpus[vcpu->index];
    const struct kvm_regs *regs = &vcpu->run->s.regs.regs;
    const struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;
    const uint64_t general[FORENSIC_GENERAL_COUNT] = {
        [FORENSIC_RAX] = regs->rax, [FORENSIC_RBX] = regs->rbx, [FORENSIC_RCX] = regs->rcx,
        [FORENSIC_RDX] = regs->rdx, [FORENSIC_RSI] = regs->rsi, [FORENSIC_RDI] = regs->rdi,
        [FORENSIC_RSP] = regs->rsp, [FORENSIC_RBP] = regs->rbp, [FORENSIC_R8] = regs->r8,
        [FORENSIC_R9] = regs->r9,   [FORENSIC_R10] = regs->r10, [FORENSIC_R11] = regs->r11,
        [FORENSIC_R12] = regs->r12, [FORENSIC_R13] = regs->r13, [FORENSIC_R14] = regs->r14,
        [FORENSIC_R15] = regs->r15, [FORENSIC_RIP] = regs->rip, [FORENSIC_RFLAGS] = regs->rflags,
    };
    for (unsigned i = 0; i < FORENSIC_GENERAL_COUNT; i++)
        target->general[i] = general[i];
    target->cr0 = sregs->cr0;
    target->cr2 = sregs->cr2;
    target->cr3 = sregs->cr3;
    target->cr4 = sregs->cr4;
    target->efer = sregs->efer;
    target->fs_base = sregs->fs.base;
    target->gs_base = sregs->gs.base;
    target->cs = sregs->cs.selector;
    target->ss = sregs->ss.selector;
    target->ds = sregs->ds.selector;
    target->es = sregs->es.selector;
    target->fs = sregs->fs.selector;
    target->gs = sregs->gs.selector;
    // A vCPU that never entered has the zeros of a fresh kvm_run.
    atomic_store(&target->known, vcpu->vmm->config.guest == VMM_GUEST_LINUX
                                     ? sregs->cr0 != 0
                                     : sregs->cr3 == vcpu->cr3);
}
