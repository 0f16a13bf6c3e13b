// SPDX-License-Identifier: Apache-2.0
// Thin, checked wrappers around the KVM API.
#include "kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// Entries that KVM is asked for: more than any processor has.
#define CPUID_MAX_ENTRIES 256

int kvm_vm_create(struct kvm_vm *vm, int kvm_fd, struct error *err)
{
    *vm = (struct kvm_vm){.kvm_fd = kvm_fd, .fd = -1};
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return error_set(err, EXIT_STATUS_NO_KVM, 0, "/dev/kvm speaks API version %d, not %d",
                         version, KVM_API_VERSION);
    vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (vm->fd < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_CREATE_VM");
    int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run))
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_GET_VCPU_MMAP_SIZE");
    vm->run_size = (size_t)size;
    return 0;
}

// Features that a cell must not be offered, whatever the host has.
static const struct {
    uint32_t function;
    uint32_t ecx;
    uint32_t edx;
} hidden_features[] = {
    // MONITOR, VMX, SMX, x2APIC, TSC deadline; hypervisor bit.
    {0x1, 1u << 3 | 1u << 5 | 1u << 6 | 1u << 21 | 1u << 24 | 1u << 31, 0},
    // SVM.
    {0x80000001, 1u << 2, 0},
};

static void filter_cpuid(struct kvm_cpuid2 *cpuid)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 entry = cpuid->entries[i];
        // Paravirtual leaves: cells have no clock and no hypercalls. SVM details.
        if ((entry.function >= 0x40000000 && entry.function < 0x50000000) ||
            entry.function == 0x8000000a)
            continue;
        for (size_t k = 0; k < sizeof(hidden_features) / sizeof(hidden_features[0]); k++) {
            if (hidden_features[k].function == entry.function) {
                entry.ecx &= ~hidden_features[k].ecx;
                entry.edx &= ~hidden_features[k].edx;
            }
        }
        cpuid->entries[kept++] = entry;
    }
    cpuid->nent = kept;
}

static int read_cpuid(struct kvm_vm *vm, struct error *err)
{
    vm->cpuid =
        calloc(1, sizeof(*vm->cpuid) + CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    if (!vm->cpuid)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "out of memory");
    vm->cpuid->nent = CPUID_MAX_ENTRIES;
    if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, vm->cpuid) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_GET_SUPPORTED_CPUID");
    filter_cpuid(vm->cpuid);
    const struct kvm_cpuid_entry2 *sizes = kvm_cpuid_leaf(vm, 0x80000008, 0);
    vm->gpa_bits = sizes ? sizes->eax & 0xff : 36;
    return 0;
}

// One range with an all-zero bitmap and default deny: KVM refuses default deny without any range.
static int deny_msrs(struct kvm_vm *vm)
{
    uint8_t none = 0;
    struct kvm_msr_filter filter = {
        .flags = KVM_MSR_FILTER_DEFAULT_DENY,
        .ranges[0] =
            {
                .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .base = 0,
                .nmsrs = 8,
                .bitmap = &none,
            },
    };
    return ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter) == 0;
}

// Exits that stop a guest from stalling the host, where the processor has them.
static void enable_stall_exits(struct kvm_vm *vm)
{
    struct kvm_enable_cap bus_lock = {
        .cap = KVM_CAP_X86_BUS_LOCK_EXIT,
        .args[0] = KVM_BUS_LOCK_DETECTION_EXIT,
    };
    int modes = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT);
    if (modes > 0 && (modes & KVM_BUS_LOCK_DETECTION_EXIT))
        ioctl(vm->fd, KVM_ENABLE_CAP, &bus_lock);
#ifdef KVM_CAP_X86_NOTIFY_VMEXIT
    struct kvm_enable_cap notify = {
        .cap = KVM_CAP_X86_NOTIFY_VMEXIT,
        .args[0] = (1ull << 17) << 32 | KVM_X86_NOTIFY_VMEXIT_ENABLED | KVM_X86_NOTIFY_VMEXIT_USER,
    };
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_NOTIFY_VMEXIT) > 0)
        ioctl(vm->fd, KVM_ENABLE_CAP, &notify);
#endif
}

int kvm_vm_configure(struct kvm_vm *vm, struct error *err)
{
    vm->msr_filtered = deny_msrs(vm);
    enable_stall_exits(vm);
    return read_cpuid(vm, err);
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
    free(vm->cpuid);
    if (vm->fd >= 0)
        close(vm->fd);
    *vm = (struct kvm_vm){.kvm_fd = -1, .fd = -1};
}

int kvm_add_slot(struct kvm_vm *vm, struct gpa base, uint64_t length, void *host, int readonly,
                 struct error *err)
{
    struct kvm_userspace_memory_region region = {
        .slot = vm->slots,
        .flags = readonly ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = base.value,
        .memory_size = length,
        .userspace_addr = (uint64_t)(uintptr_t)host,
    };
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno,
                         "KVM_SET_USER_MEMORY_REGION: %llu bytes at 0x%llx",
                         (unsigned long long)length, (unsigned long long)base.value);
    vm->slots++;
    return 0;
}

int kvm_add_doorbell(struct kvm_vm *vm, struct gpa address, int event_fd, struct error *err)
{
    struct kvm_ioeventfd event = {.addr = address.value, .len = 4, .fd = event_fd};
    if (ioctl(vm->fd, KVM_IOEVENTFD, &event) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_IOEVENTFD");
    return 0;
}

int kvm_vcpu_create(struct kvm_vm *vm, unsigned index, struct kvm_run **run, struct error *err)
{
    int fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "KVM_CREATE_VCPU %u", index);
    void *shared = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "map vCPU %u", index);
        close(fd);
        return -1;
    }
    if (ioctl(fd, KVM_SET_CPUID2, vm->cpuid) < 0) {
        error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_CPUID2");
        munmap(shared, vm->run_size);
        close(fd);
        return -1;
    }
    *run = shared;
    return fd;
}

const struct kvm_cpuid_entry2 *kvm_cpuid_leaf(const struct kvm_vm *vm, uint32_t function,
                                              uint32_t index)
{
    for (unsigned i = 0; i < vm->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &vm->cpuid->entries[i];
        if (entry->function == function &&
            (!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || entry->index == index))
            return entry;
    }
    return NULL;
}
