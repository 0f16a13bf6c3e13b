// SPDX-License-Identifier: Apache-2.0
// Starts guillotine-vmm and hands it its descriptors and configuration.
#include "vmm_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd_message.h"
#include "paths.h"
#include "placement.h"
#include "spawn.h"

int kvm_device_open(struct error *err)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return error_set(err, EXIT_STATUS_NO_KVM, 0,
                         "/dev/kvm: not there: load the module kvm_intel or kvm_amd, or switch on "
                         "virtualization in the firmware; in a container, pass the device in");
    case EACCES:
    case EPERM:
        return error_set(err, EXIT_STATUS_NO_KVM, 0,
                         "/dev/kvm: permission denied: add this user to the group kvm "
                         "(usermod -aG kvm USER) and log in again");
    default:
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "/dev/kvm");
    }
}

static int spawn(struct vmm_process *process, int kvm_fd, int channel, struct error *err)
{
    char path[PATH_MAX];
    if (paths_sibling("guillotine-vmm", path, err) < 0)
        return -1;
    // No terminal for the VMM: whatever takes it over finds nothing to write to. Only sanitizers,
    // which never run in production, report there.
    const struct spawn_request request = {
        .path = path,
        .name = "guillotine-vmm",
        .fds = {[VMM_CHANNEL_FD - 3] = channel, [VMM_KVM_FD - 3] = kvm_fd},
        .fd_count = 2,
#ifdef __SANITIZE_ADDRESS__
        .keep_stderr = 1,
#endif
    };
    process->pid = spawn_program(&request, &process->pidfd, err);
    return process->pid < 0 ? -1 : 0;
}

static void forget(struct vmm_process *process)
{
    *process = (struct vmm_process){
        .pid = -1,
        .pidfd = -1,
        .channel = -1,
        .wake_vmm = -1,
        .wake_supervisor = -1,
        .audit_ring = -1,
        .console_out = -1,
        .console_in = -1,
        .memory = -1,
        .level_supervisor_fd = -1,
        .level_vmm_fd = -1,
    };
}

int vmm_process_start(struct vmm_process *process, int kvm_fd, struct error *err)
{
    int pair[2];
    forget(process);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "socketpair");
    process->channel = pair[0];
    // A VMM that does not read must never hold its supervisor up.
    if (fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "channel");
    cleanup_fd int remote = fcntl(pair[1], F_DUPFD_CLOEXEC, 16);
    cleanup_fd int kvm = fcntl(kvm_fd, F_DUPFD_CLOEXEC, 16);
    close(pair[1]);
    if (remote < 0 || kvm < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "duplicate descriptors");
    return spawn(process, kvm, remote, err);
}

// A page that one side writes and the other can only read: once `writable` is mapped, F_SEAL_
// FUTURE_WRITE keeps everybody else from mapping it writable.
static int make_level_page(const char *name, int *fd, bool own, void *page, struct error *err)
{
    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0 || ftruncate(*fd, LEVEL_PAGE_SIZE) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "level page");
    void *mapped =
        mmap(NULL, LEVEL_PAGE_SIZE, own ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, *fd, 0);
    if (mapped == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map level page");
    *(void **)page = mapped;
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | (own ? F_SEAL_FUTURE_WRITE | F_SEAL_SEAL : 0);
    if (fcntl(*fd, F_ADD_SEALS, seals) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "seal level page");
    return 0;
}

int vmm_process_prepare(struct vmm_process *process, struct error *err)
{
    process->wake_vmm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    process->wake_supervisor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    process->memory = memfd_create("guillotine-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (process->wake_vmm < 0 || process->wake_supervisor < 0 || process->memory < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "eventfd or memfd");
    process->audit_ring = shared_ring_create("guillotine-audit", VMM_AUDIT_RING_BYTES, err);
    if (process->audit_ring < 0)
        return -1;
    process->console_out = shared_ring_create("guillotine-out", VMM_CONSOLE_RING_BYTES, err);
    if (process->console_out < 0)
        return -1;
    process->console_in = shared_ring_create("guillotine-in", VMM_CONSOLE_RING_BYTES, err);
    if (process->console_in < 0)
        return -1;
    if (make_level_page("guillotine-level", &process->level_supervisor_fd, true,
                        &process->level_own, err) < 0)
        return -1;
    return make_level_page("guillotine-level-vmm", &process->level_vmm_fd, false,
                           &process->level_vmm, err);
}

// Opens a file that the guest is made of. Only regular files: a FIFO would block, a device lie.
static int open_input(const char *what, const char *path, uint64_t *bytes, struct error *err)
{
    struct stat status;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s %s", what, path);
    if (S_ISDIR(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s %s is a directory, not a file", what,
                         path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s %s is not a regular file", what, path);
    if (status.st_size == 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s %s is empty", what, path);
    *bytes = (uint64_t)status.st_size;
    return steal_fd(&fd);
}

static int check_memory(uint64_t bytes, struct error *err)
{
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sysinfo");
    uint64_t total = (uint64_t)info.totalram * info.mem_unit;
    if (bytes > total)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "memory: %llu MiB asked for, the host has %llu MiB: use --memory",
                         (unsigned long long)(bytes >> 20), (unsigned long long)(total >> 20));
    return 0;
}

// Memory that a cell gets if nobody says how much: lazily backed, so generous costs nothing.
#define DEFAULT_MEMORY_BYTES (128ull << 20)

static int fill_config(struct vmm_config *config, const struct vm_description *vm,
                       const uint64_t *weights_bytes, struct error *err)
{
    uint64_t all_weights = 0;
    config->vcpus = vm->vcpus ? vm->vcpus : 1;
    config->require = vm->require;
    config->port_count = vm->port_count;
    memcpy(config->ports, vm->ports, sizeof(config->ports));
    config->weights_count = vm->weights_count;
    for (unsigned i = 0; i < vm->weights_count; i++) {
        config->weights[i].bytes = weights_bytes[i];
        config->weights[i].copy = vm->weights[i].copy;
        all_weights += weights_bytes[i];
    }
    config->memory_bytes =
        vm->memory_bytes ? vm->memory_bytes : DEFAULT_MEMORY_BYTES + all_weights / 4;
    config->doorbell_interval_ns =
        (vm->doorbell_interval_given ? vm->doorbell_interval_us : 50) * 1000;
    config->idle_spin_ns = (vm->idle_spin_given ? vm->idle_spin_us : 1000) * 1000;
    if (check_memory(config->memory_bytes, err) < 0)
        return -1;
    return placement_choose(vm, config, err);
}

static int put_arguments(struct vmm_config *config, char *text, const struct vm_description *vm,
                         struct error *err)
{
    size_t used = 0;
    for (unsigned i = 0; i < vm->argument_count; i++) {
        size_t length = strlen(vm->arguments[i]) + 1;
        if (length > VMM_ARGUMENTS_MAX - used)
            return error_set(err, EXIT_STATUS_USAGE, 0, "arguments: more than %u bytes",
                             VMM_ARGUMENTS_MAX);
        memcpy(text + used, vm->arguments[i], length);
        used += length;
    }
    config->argument_count = vm->argument_count;
    config->arguments_bytes = (uint32_t)used;
    return 0;
}

static int send_config(const struct vmm_process *process, const struct vm_description *vm,
                       const int *inputs, const uint64_t *weights_bytes, struct error *err)
{
    static union {
        struct vmm_config config;
        char bytes[VMM_MESSAGE_MAX];
    } buffer;
    struct vmm_config *config = &buffer.config;
    int fds[FD_MESSAGE_MAX_FDS];

    memset(config, 0, sizeof(*config));
    if (put_arguments(config, buffer.bytes + sizeof(*config), vm, err) < 0 ||
        fill_config(config, vm, weights_bytes, err) < 0)
        return -1;
    fds[VMM_FD_IMAGE] = inputs[0];
    fds[VMM_FD_MEMORY] = process->memory;
    fds[VMM_FD_LEVEL_SUPERVISOR] = process->level_supervisor_fd;
    fds[VMM_FD_LEVEL_VMM] = process->level_vmm_fd;
    fds[VMM_FD_AUDIT_RING] = process->audit_ring;
    fds[VMM_FD_CONSOLE_OUT] = process->console_out;
    fds[VMM_FD_CONSOLE_IN] = process->console_in;
    fds[VMM_FD_WAKE_VMM] = process->wake_vmm;
    fds[VMM_FD_WAKE_SUPERVISOR] = process->wake_supervisor;
    for (unsigned i = 0; i < vm->weights_count; i++)
        fds[VMM_FD_WEIGHTS + i] = inputs[1 + i];
    size_t length = sizeof(*config) + config->arguments_bytes;
    vmm_message_init(&config->message, VMM_MESSAGE_CONFIG, (uint32_t)length);
    return fd_message_send(process->channel, config, length, fds,
                           (size_t)VMM_FD_WEIGHTS + vm->weights_count, err);
}

int vmm_process_configure(const struct vmm_process *process, const struct vm_description *vm,
                          struct error *err)
{
    int inputs[1 + VMM_MAX_WEIGHTS] = {0};
    uint64_t sizes[1 + VMM_MAX_WEIGHTS] = {0};
    unsigned opened = 0;
    int result = 0;
    while (result == 0 && opened < 1 + vm->weights_count) {
        inputs[opened] =
            opened == 0 ? open_input("image", vm->image, &sizes[0], err)
                        : open_input("weights", vm->weights[opened - 1].path, &sizes[opened], err);
        if (inputs[opened] < 0)
            result = -1;
        else
            opened++;
    }
    if (result == 0)
        result = send_config(process, vm, inputs, sizes + 1, err);
    while (opened)
        close(inputs[--opened]);
    return result;
}

int vmm_process_end(struct vmm_process *process)
{
    int status = -1;
    if (process->pid > 0) {
        kill(process->pid, SIGKILL); // ours until it is reaped: the number cannot be reused
        while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    int *fds[] = {&process->pidfd,           &process->channel,    &process->wake_vmm,
                  &process->wake_supervisor, &process->audit_ring, &process->console_out,
                  &process->console_in,      &process->memory,     &process->level_supervisor_fd,
                  &process->level_vmm_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
    }
    if (process->level_own)
        munmap(process->level_own, LEVEL_PAGE_SIZE);
    if (process->level_vmm)
        munmap((void *)(uintptr_t)process->level_vmm, LEVEL_PAGE_SIZE);
    forget(process);
    return status;
}
