// SPDX-License-Identifier: Apache-2.0
// What a VMM leaves for the forensic image: where its guest memory is mapped, and the registers of
// vCPUs that stopped. One memfd, written by the VMM, read by the supervisor after the VMM's end.
//
// All of it is a claim of a process that the model may have taken over: it is bounded and copied,
// and nothing else is decided by it. A VMM that was killed leaves zeros: not known.
#ifndef POLICY_FORENSIC_AREA_H
#define POLICY_FORENSIC_AREA_H

#include <stdint.h>

#define FORENSIC_MAX_MAPPINGS 128u
#define FORENSIC_MAX_VCPUS    16u

// Pages of the guest's address space, and where they lie in the guest memory's memfd.
struct forensic_mapping {
    uint64_t address; // guest-virtual
    uint64_t offset;  // in the memfd
    uint64_t length;
    uint32_t rights; // 1: writable, 2: executable, 4: of the model
    uint32_t pad;
};

enum forensic_general {
    FORENSIC_RAX,
    FORENSIC_RBX,
    FORENSIC_RCX,
    FORENSIC_RDX,
    FORENSIC_RSI,
    FORENSIC_RDI,
    FORENSIC_RSP,
    FORENSIC_RBP,
    FORENSIC_R8,
    FORENSIC_R9,
    FORENSIC_R10,
    FORENSIC_R11,
    FORENSIC_R12,
    FORENSIC_R13,
    FORENSIC_R14,
    FORENSIC_R15,
    FORENSIC_RIP,
    FORENSIC_RFLAGS,
    FORENSIC_GENERAL_COUNT,
};

struct forensic_vcpu {
    _Atomic uint32_t known; // 1: the rest is filled
    uint32_t pad;
    uint64_t general[FORENSIC_GENERAL_COUNT];
    uint64_t cr0;
    uint64_t cr2;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    uint64_t fs_base;
    uint64_t gs_base;
    uint16_t cs;
    uint16_t ss;
    uint16_t ds;
    uint16_t es;
    uint16_t fs;
    uint16_t gs;
    uint32_t pad2;
};

struct forensic_area {
    uint32_t mapping_count;
    uint32_t pad;
    struct forensic_mapping mappings[FORENSIC_MAX_MAPPINGS];
    struct forensic_vcpu vcpus[FORENSIC_MAX_VCPUS];
};

// Bytes of the memfd: whole pages.
#define FORENSIC_AREA_BYTES ((sizeof(struct forensic_area) + 4095) & ~4095ull)

#endif
