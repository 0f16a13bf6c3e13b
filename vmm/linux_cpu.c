// SPDX-License-Identifier: Apache-2.0
// The processor that a Linux guest sees: CPUID, MSRs, entry state.
#include "linux_cpu.h"

#include <errno.h>
#include <string.h>

#include "cpu_tables.h"
#include "linux_layout.h"

#define BIT(n) (1u << (n))

#define CPUID_ENTRIES_MAX 256u

#define KVM_LEAF_FIRST 0x40000000u
#define KVM_LEAF_LAST  0x4fffffffu

// CLOCKSOURCE2 and CLOCKSOURCE_STABLE (Documentation/virt/kvm/x86/cpuid.rst).
#define KVMCLOCK_FEATURES (BIT(3) | BIT(24))

// What KVM supports and a Linux guest does not get: counters, monitoring, nested virtualization,
// enclaves, power management, debugging stores.
static const struct mask {
    uint32_t function;
    uint32_t index;
    uint32_t eax, ebx, ecx, edx; // bits taken away
} masks[] = {
    // DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, SDBG, PDCM, DCA
    {0x1, 0, 0, 0,
     BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) | BIT(15) | BIT(18),
     BIT(21) | BIT(22) | BIT(27) | BIT(29) | BIT(31)}, // DS, ACPI, SS, TM, PBE
    {0x7, 0, 0, BIT(2) | BIT(4) | BIT(11) | BIT(25),   // SGX, HLE, RTM, PT
     BIT(5) | BIT(30), BIT(5) | BIT(19)},              // WAITPKG, SGX_LC; UINTR, LBR
    {0x80000001, 0, 0, 0,
     // SVM, OSVW, IBS, SKINIT, WDT, LWP, NodeID, PerfCtrCore, PerfCtrNB, PerfTsc, PerfCtrLLC,
     // MWAITX
     BIT(2) | BIT(9) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(19) | BIT(23) | BIT(24) |
         BIT(27) | BIT(28) | BIT(29),
     0},
};

// Leaves that a guest does not get at all.
static const struct {
    uint32_t first;
    uint32_t last;
} absent[] = {
    {0x5, 0x6},   // MWAIT, thermal and power
    {0xa, 0xa},   // performance counters
    {0xf, 0x10},  // resource monitoring and allocation
    {0x12, 0x12}, // SGX
    {0x14, 0x14}, // processor trace
    {KVM_LEAF_FIRST, KVM_LEAF_LAST},
    {0x8000000a, 0x8000000a}, // SVM
    {0x8000001b, 0x8000001c}, // IBS, LWP
    {0x8000001f, 0x80000022}, // encryption, platform quality of service, counters
    {0x80860000, 0xffffffff},
};

static bool is_absent(uint32_t function)
{
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        if (function >= absent[i].first && function <= absent[i].last)
            return true;
    }
    return false;
}

static void adapt(struct kvm_cpuid_entry2 *entry, unsigned index, bool deadline)
{
    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        if (masks[i].function != entry->function || masks[i].index != entry->index)
            continue;
        entry->eax &= ~masks[i].eax;
        entry->ebx &= ~masks[i].ebx;
        entry->ecx &= ~masks[i].ecx;
        entry->edx &= ~masks[i].edx;
    }
    if (entry->function == 0x1) {
        entry->ebx = (entry->ebx & 0xffff) | index << 24 | 1u << 16;
        entry->ecx |= BIT(31) | (deadline ? BIT(24) : 0); // hypervisor, TSC deadline
        entry->edx &= ~BIT(28);                           // one thread in a package's core
    }
    if (entry->function == 0xb || entry->function == 0x1f)
        entry->edx = index;
    if (entry->function == 0x8000001e)
        entry->eax = index;
}

int linux_cpu_set_cpuid(const struct kvm_vm *vm, int vcpu_fd, unsigned index, bool kvmclock,
                        struct error *err)
{
    static struct { // vCPUs are made one after the other
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
    } list;
    const struct kvm_cpuid_entry2 clock[] = {
        // "KVMKVMKVM"
        {.function = KVM_LEAF_FIRST,
         .eax = KVM_LEAF_FIRST + 1,
         .ebx = 0x4b4d564b,
         .ecx = 0x564b4d56,
         .edx = 0x4d},
        {.function = KVM_LEAF_FIRST + 1, .eax = KVMCLOCK_FEATURES},
    };
    bool deadline =
        kvm_ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    list.head.nent = CPUID_ENTRIES_MAX - 2;
    if (kvm_ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, &list) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_GET_SUPPORTED_CPUID");
    unsigned kept = 0;
    for (unsigned i = 0; i < list.head.nent; i++) {
        if (is_absent(list.entries[i].function))
            continue;
        list.entries[kept] = list.entries[i];
        adapt(&list.entries[kept++], index, deadline);
    }
    for (unsigned i = 0; kvmclock && i < 2; i++)
        list.entries[kept++] = clock[i];
    list.head.nent = kept;
    if (kvm_ioctl(vcpu_fd, KVM_SET_CPUID2, &list) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_CPUID2");
    return 0;
}

// First and last of each run of MSRs. Those of the x2APIC are not subject to filters.
static const struct msr_run {
    uint32_t first;
    uint32_t last;
} allowed_msrs[] = {
    {0x10, 0x10},             // TSC
    {0x1b, 0x1b},             // APIC base
    {0x3a, 0x3b},             // feature control (locked), TSC adjust
    {0x48, 0x49},             // speculation control, prediction command
    {0x8b, 0x8b},             // microcode revision
    {0xfe, 0xfe},             // MTRR capabilities
    {0x10a, 0x10b},           // architectural capabilities, flush
    {0x174, 0x17b},           // sysenter, machine check
    {0x1a0, 0x1a0},           // miscellaneous enables
    {0x1d9, 0x1d9},           // debug control
    {0x200, 0x2ff},           // MTRRs, PAT
    {0x400, 0x47f},           // machine-check banks
    {0x6e0, 0x6e0},           // TSC deadline
    {0xda0, 0xda0},           // XSS
    {0xc0000080, 0xc0000084}, // EFER, syscall
    {0xc0000100, 0xc0000103}, // FS, GS, kernel GS, TSC_AUX
    {0xc0010010, 0xc0010015}, // SYSCFG, HWCR
    {0xc0010055, 0xc0010055}, // interrupts pending
    {0xc0010114, 0xc0010114}, // VM_CR
    {0xc001011f, 0xc001011f}, // virtualized speculation control
    {0xc0011029, 0xc0011029}, // DE_CFG
};

static const struct msr_run kvmclock_msrs = {0x4b564d00, 0x4b564d01};

// A range of a filter spans MSRs whose bits fit into this many bytes.
#define RANGE_BYTES 0x100u

// KVM takes 16 ranges, each with a bitmap: neighbours share one.
bool linux_cpu_filter_msrs(const struct kvm_vm *vm, bool kvmclock)
{
    static uint8_t bitmaps[KVM_MSR_FILTER_MAX_RANGES][RANGE_BYTES];
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
    const size_t count = sizeof(allowed_msrs) / sizeof(allowed_msrs[0]);
    unsigned ranges = 0;
    for (size_t i = 0; i < count + kvmclock; i++) {
        const struct msr_run *run = i < count ? &allowed_msrs[i] : &kvmclock_msrs;
        uint32_t base = run->first & ~(RANGE_BYTES * 8 - 1);
        unsigned at = 0;
        while (at < ranges && filter.ranges[at].base != base)
            at++;
        if (at == KVM_MSR_FILTER_MAX_RANGES || run->last - base >= RANGE_BYTES * 8)
            return false;
        if (at == ranges)
            filter.ranges[ranges++] = (struct kvm_msr_filter_range){
                .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .base = base,
                .nmsrs = RANGE_BYTES * 8,
                .bitmap = bitmaps[at],
            };
        for (uint32_t msr = run->first; msr <= run->last; msr++)
            bitmaps[at][(msr - base) / 8] |= (uint8_t)(1u << ((msr - base) % 8));
    }
    return kvm_ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter) == 0;
}

static struct kvm_segment flat_segment(unsigned selector, unsigned type, bool is_long)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = (uint16_t)selector,
        .type = (uint8_t)type,
        .present = 1,
        .db = !is_long,
        .s = 1,
        .l = is_long,
        .g = 1,
    };
}

// Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"; Documentation/arch/x86/pvh.rst.
// Selectors are those of the loader's GDT.
int linux_cpu_set_entry(int vcpu_fd, unsigned mode, uint64_t instruction, uint64_t argument,
                        struct error *err)
{
    bool is_long = mode == LINUX_ENTRY_LONG;
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = instruction, .rflags = 2};
    if (is_long)
        regs.rsi = argument;
    else
        regs.rbx = argument;
    if (kvm_ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_GET_SREGS");
    sregs.cs = flat_segment(0x10, 11, is_long);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(0x18, 3, false);
    sregs.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
    sregs.gdt = (struct kvm_dtable){.base = LINUX_GPA_GDT, .limit = 0x1f};
    sregs.idt = (struct kvm_dtable){.base = 0, .limit = 0};
    sregs.cr0 = is_long ? 0x80000011 : 0x11; // PG, ET, PE
    sregs.cr3 = is_long ? LINUX_GPA_PAGE_TABLES : 0;
    sregs.cr4 = is_long ? CR4_PAE : 0;
    sregs.efer = is_long ? EFER_LME | EFER_LMA : 0;
    if (kvm_ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_SREGS");
    if (kvm_ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_REGS");
    return 0;
}
