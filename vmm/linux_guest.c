// SPDX-License-Identifier: Apache-2.0
// A Linux guest: memory that its loader filled, in-kernel interrupt controllers, virtio devices.
#include "linux_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "backing.h"
#include "forensic_area.h"
#include "linux_cpu.h"
#include "vmm.h"

// Where KVM may put what VMX processors need to run real mode: between RAM and the IOAPIC, which no
// guest is told of.
#define KVM_IDENTITY_MAP 0xfeffc000ull
#define KVM_TSS          0xfeffd000ull

#define MSR_MISC_ENABLE       0x1a0u
#define MISC_FAST_STRINGS     1u
#define MSR_MTRR_DEFAULT_TYPE 0x2ffu
#define MTRR_WRITE_BACK       0x806u // enabled, and everything is write-back

static void wake_poller(void *context)
{
    struct vmm *vmm = context;
    uint64_t one = 1;
    ssize_t ignored = write(vmm->pollers[0].wake_fd, &one, sizeof(one));
    (void)ignored;
}

static bool run_ends(void *context)
{
    struct vmm *vmm = context;
    return atomic_load(&vmm->stop);
}

static int map_memory(struct vmm *vmm, int memory_fd, struct error *err)
{
    struct linux_guest *guest = &vmm->linux_guest;
    uint64_t bytes = vmm->config.memory_bytes;
    struct stat status;
    if (fstat(memory_fd, &status) < 0 || (uint64_t)status.st_size != bytes ||
        bytes % GUEST_LARGE_PAGE_SIZE || !bytes)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the loader left memory of another size");
    if (fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "seal guest memory");
    guest->low_bytes = bytes < LINUX_LOW_END ? bytes : LINUX_LOW_END;
    guest->high_bytes = bytes - guest->low_bytes;
    guest->low = backing_map(memory_fd, 0, guest->low_bytes, vmm->config.memory_flags, err);
    if (!guest->low || guest_memory_add(&guest->memory, (struct gpa){0}, guest->low_bytes,
                                        guest->low, GUEST_READ | GUEST_WRITE, err) < 0)
        return -1;
    if (!guest->high_bytes)
        return 0;
    guest->high =
        backing_map(memory_fd, guest->low_bytes, guest->high_bytes, vmm->config.memory_flags, err);
    return !guest->high
               ? -1
               : guest_memory_add(&guest->memory, (struct gpa){LINUX_HIGH_BASE}, guest->high_bytes,
                                  guest->high, GUEST_READ | GUEST_WRITE, err);
}

static bool entry_is_sound(const struct vmm *vmm)
{
    const struct vmm_linux_config *config = &vmm->config.linux_guest;
    return (config->mode == LINUX_ENTRY_LONG || config->mode == LINUX_ENTRY_PVH) &&
           config->instruction < vmm->linux_guest.low_bytes &&
           config->argument < vmm->linux_guest.low_bytes &&
           config->device_count <= VMM_MAX_DEVICES && vmm->config.poller_count == 1;
}

int linux_guest_build(struct vmm *vmm, int memory_fd, struct error *err)
{
    struct linux_guest *guest = &vmm->linux_guest;
    const struct virtio_host host = {wake_poller, run_ends, vmm};
    if (map_memory(vmm, memory_fd, err) < 0)
        return -1;
    if (!entry_is_sound(vmm))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "configuration of the guest out of range");
    for (unsigned i = 0; i < vmm->config.linux_guest.device_count; i++) {
        guest->interrupts[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (guest->interrupts[i] < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "eventfd");
    }
    return linux_devices_make(&guest->devices, &vmm->config, &guest->memory, guest->interrupts,
                              &clock_host, &host, err);
}

static int add_controllers(struct kvm_vm *vm, struct error *err)
{
    uint64_t identity = KVM_IDENTITY_MAP;
    if (kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
        kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, (void *)KVM_TSS) < 0 ||
        kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "interrupt controllers");
    return 0;
}

static int add_devices(struct vmm *vmm, struct error *err)
{
    struct linux_guest *guest = &vmm->linux_guest;
    for (unsigned i = 0; i < vmm->config.linux_guest.device_count; i++) {
        const struct kvm_irqfd interrupt = {
            .fd = (uint32_t)guest->interrupts[i],
            .gsi = LINUX_FIRST_INTERRUPT + i,
        };
        struct gpa notify = {LINUX_GPA_DEVICES + i * LINUX_DEVICE_BYTES + VIRTIO_QUEUE_NOTIFY};
        if (kvm_ioctl(vmm->kvm.fd, KVM_IRQFD, &interrupt) < 0)
            return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_IRQFD");
        if (kvm_add_doorbell(&vmm->kvm, notify, vmm->pollers[0].doorbell_fd, err) < 0)
            return -1;
    }
    return linux_devices_start(&guest->devices, &vmm->pollers[0].poller, err);
}

int linux_guest_add_to_vm(struct vmm *vmm, struct error *err)
{
    struct linux_guest *guest = &vmm->linux_guest;
    struct kvm_vm *vm = &vmm->kvm;
    // The VM that was made in advance is a cell's: its vCPU came before the controllers could. It
    // stays as it is, without memory: KVM takes milliseconds to end one.
    vmm->vcpus[0].fd = -1;
    if (kvm_vm_create(vm, vm->kvm_fd, err) < 0 || add_controllers(vm, err) < 0 ||
        kvm_add_slot(vm, (struct gpa){0}, guest->low_bytes, guest->low, 0, err) < 0 ||
        (guest->high && kvm_add_slot(vm, (struct gpa){LINUX_HIGH_BASE}, guest->high_bytes,
                                     guest->high, 0, err) < 0))
        return -1;
    if (!linux_cpu_filter_msrs(vm, vmm->config.linux_guest.kvmclock))
        atomic_fetch_or(&vmm->missing_layers, VMM_LAYER_MSR_FILTER);
    return add_devices(vmm, err);
}

// What firmware would have set.
static int set_msrs(int vcpu_fd, struct error *err)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[2];
    } msrs = {
        .head.nmsrs = 2,
        .entries = {{.index = MSR_MISC_ENABLE, .data = MISC_FAST_STRINGS},
                    {.index = MSR_MTRR_DEFAULT_TYPE, .data = MTRR_WRITE_BACK}},
    };
    if (kvm_ioctl(vcpu_fd, KVM_SET_MSRS, &msrs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_MSRS");
    return 0;
}

// Without a paravirtual clock nobody tells the kernel the TSC's rate, and there is no timer to
// measure it by: the command line does, in front of everything else.
static void tell_tsc_rate(const struct vcpu *vcpu)
{
    char *line = (char *)vcpu->vmm->linux_guest.low + LINUX_GPA_COMMAND_LINE;
    char first[48];
    int khz = kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, NULL);
    size_t length = strnlen(line, LINUX_COMMAND_LINE_MAX);
    int n = snprintf(first, sizeof(first), "tsc_early_khz=%d ", khz);
    if (khz <= 0 || n < 0 || length + (size_t)n >= LINUX_COMMAND_LINE_MAX)
        return;
    memmove(line + n, line, length + 1);
    memcpy(line, first, (size_t)n);
}

int linux_guest_prepare_vcpu(struct vcpu *vcpu, struct error *err)
{
    const struct vmm_linux_config *config = &vcpu->vmm->config.linux_guest;
    if (linux_cpu_set_cpuid(&vcpu->vmm->kvm, vcpu->fd, vcpu->index, config->kvmclock, err) < 0 ||
        set_msrs(vcpu->fd, err) < 0)
        return -1;
    vcpu->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    if (!vcpu->index && !config->kvmclock)
        tell_tsc_rate(vcpu);
    return vcpu->index ? 0
                       : linux_cpu_set_entry(vcpu->fd, config->mode, config->instruction,
                                             config->argument, err);
}

// Hardware-reduced ACPI: the reset register and sleep control (ACPI 6.4, 4.8.3).
static enum linux_exit serve_power(struct kvm_run *run, struct vmm_end *end)
{
    uint64_t offset = run->mmio.phys_addr - LINUX_GPA_POWER;
    if (!run->mmio.is_write) {
        memset(run->mmio.data, 0, sizeof(run->mmio.data));
        return LINUX_EXIT_HANDLED;
    }
    if (offset == LINUX_POWER_RESET && run->mmio.data[0] == LINUX_RESET_VALUE) {
        end->kind = VMM_END_REBOOT;
        return LINUX_EXIT_ENDS;
    }
    if (offset == LINUX_POWER_SLEEP && run->mmio.data[0] == LINUX_SLEEP_S5_VALUE) {
        end->kind = VMM_END_EXIT;
        return LINUX_EXIT_ENDS;
    }
    return LINUX_EXIT_HANDLED;
}

static enum linux_exit serve_memory(struct vcpu *vcpu, struct vmm_end *end)
{
    struct kvm_run *run = vcpu->run;
    uint64_t address = run->mmio.phys_addr;
    if (address >= LINUX_GPA_POWER && address < LINUX_GPA_POWER + GUEST_PAGE_SIZE)
        return serve_power(run, end);
    return linux_devices_access(&vcpu->vmm->linux_guest.devices, address, run->mmio.is_write,
                                run->mmio.data, run->mmio.len)
               ? LINUX_EXIT_HANDLED
               : LINUX_EXIT_UNKNOWN;
}

static enum linux_exit serve_io(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint64_t room = vcpu->vmm->kvm.run_size;
    uint64_t bytes = (uint64_t)run->io.size * run->io.count;
    if (run->io.data_offset > room || bytes > room - run->io.data_offset)
        return LINUX_EXIT_UNKNOWN;
    linux_devices_io(&vcpu->vmm->linux_guest.devices, run->io.port,
                     run->io.direction == KVM_EXIT_IO_OUT, (uint8_t *)run + run->io.data_offset,
                     run->io.size, run->io.count);
    return LINUX_EXIT_HANDLED;
}

enum linux_exit linux_guest_handle_exit(struct vcpu *vcpu, struct vmm_end *end)
{
    *end = (struct vmm_end){.vcpu = vcpu->index, .vector = UINT32_MAX};
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_MMIO:
        return serve_memory(vcpu, end);
    case KVM_EXIT_IO:
        return serve_io(vcpu);
    default:
        return LINUX_EXIT_UNKNOWN;
    }
}
