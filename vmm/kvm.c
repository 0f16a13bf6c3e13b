// SPDX-License-Identifier: Apache-2.0
// Thin, checked wrappers around the KVM API.
#include "kvm.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int kvm_vm_create(struct kvm_vm *vm, int kvm_fd, struct error *err)
{
    vm->kvm_fd = kvm_fd;
    int version = kvm_ioctl(kvm_fd, KVM_GET_API_VERSION, NULL);
    if (version != KVM_API_VERSION)
        return error_set(err, EXIT_STATUS_NO_KVM, 0, "/dev/kvm speaks API version %d, not %d",
                         version, KVM_API_VERSION);
    int size = kvm_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (size < (int)sizeof(struct kvm_run))
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_GET_VCPU_MMAP_SIZE");
    vm->run_size = (size_t)size;
    vm->fd = kvm_ioctl(kvm_fd, KVM_CREATE_VM, NULL);
    if (vm->fd < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_CREATE_VM");
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
    return kvm_ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter) == 0;
}

// Exits that stop a guest from stalling the host, where the processor has them.
static void enable_stall_exits(struct kvm_vm *vm)
{
    struct kvm_enable_cap bus_lock = {
        .cap = KVM_CAP_X86_BUS_LOCK_EXIT,
        .args[0] = KVM_BUS_LOCK_DETECTION_EXIT,
    };
    int modes = kvm_ioctl(vm->fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_BUS_LOCK_EXIT);
    if (modes > 0 && (modes & KVM_BUS_LOCK_DETECTION_EXIT))
        kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &bus_lock);
#ifdef KVM_CAP_X86_NOTIFY_VMEXIT
    struct kvm_enable_cap notify = {
        .cap = KVM_CAP_X86_NOTIFY_VMEXIT,
        .args[0] = (1ull << 17) << 32 | KVM_X86_NOTIFY_VMEXIT_ENABLED | KVM_X86_NOTIFY_VMEXIT_USER,
    };
    if (kvm_ioctl(vm->fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_NOTIFY_VMEXIT) > 0)
        kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &notify);
#endif
}

void kvm_vm_configure(struct kvm_vm *vm)
{
    vm->msr_filtered = deny_msrs(vm);
    enable_stall_exits(vm);
    cpuid_profile_read(&vm->profile);
    const struct kvm_cpuid_entry2 *sizes = cpuid_profile_leaf(&vm->profile, 0x80000008, 0);
    vm->gpa_bits = sizes ? sizes->eax & 0xff : 36;
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
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
    if (kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno,
                         "KVM_SET_USER_MEMORY_REGION: %llu bytes at 0x%llx",
                         (unsigned long long)length, (unsigned long long)base.value);
    vm->slots++;
    return 0;
}

int kvm_add_doorbell(struct kvm_vm *vm, struct gpa address, int event_fd, struct error *err)
{
    struct kvm_ioeventfd event = {.addr = address.value, .len = 4, .fd = event_fd};
    if (kvm_ioctl(vm->fd, KVM_IOEVENTFD, &event) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_IOEVENTFD");
    return 0;
}

int kvm_vcpu_create(struct kvm_vm *vm, unsigned index, struct kvm_run **run, struct error *err)
{
    int fd = kvm_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)index);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "KVM_CREATE_VCPU %u", index);
    void *shared = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "map vCPU %u", index);
        close(fd);
        return -1;
    }
    if (kvm_ioctl(fd, KVM_SET_CPUID2, &vm->profile) < 0) {
        error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_CPUID2");
        munmap(shared, vm->run_size);
        close(fd);
        return -1;
    }
    *run = shared;
    return fd;
}
