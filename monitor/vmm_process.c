// SPDX-License-Identifier: Apache-2.0
// Starts guillotine-vmm and hands it its descriptors and configuration.
#include "vmm_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend_protocol.h"
#include "cleanup.h"
#include "clock.h"
#include "fd_message.h"
#include "forensic_area.h"
#include "heartbeat.h"
#include "host_cores.h"
#include "linux_machine.h"
#include "paths.h"
#include "placement.h"
#include "port_seeds.h"
#include "spawn.h"
#include "weights_input.h"

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
        .wake_supervisor = -1,
        .memory = -1,
        .forensics = -1,
        .policy = -1,
        .initrd = -1,
        .loader = {.pid = -1, .pidfd = -1, .channel = -1},
        .level_supervisor_fd = -1,
        .level_vmm_fd = -1,
    };
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++)
        process->wake_vmm[i] = process->audit_rings[i] = -1;
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++)
        process->ports[i][0] = process->ports[i][1] = -1;
    for (unsigned i = 0; i < VMM_MAX_WEIGHTS; i++)
        process->sealed[i].fd = -1;
    for (unsigned i = 0; i < 1 + VMM_MAX_WEIGHTS; i++)
        process->inputs[i] = -1;
}

int vmm_process_start(struct vmm_process *process, int kvm_fd, struct error *err)
{
    forget(process);
    cleanup_fd int remote = -1;
    if (spawn_channel(&process->channel, &remote, err) < 0)
        return -1;
    cleanup_fd int kvm = fcntl(kvm_fd, F_DUPFD_CLOEXEC, 16);
    if (kvm < 0)
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

// Memory that a cell gets if nobody says how much: lazily backed, so generous costs nothing.
#define DEFAULT_MEMORY_BYTES (128ull << 20)

// For the keeper of a VM that has just ended: 3 s.
#define SETTLE_TRIES    1500u
#define SETTLE_PAUSE_US 2000

static int fill_config(struct vmm_process *process, const struct vm_description *vm,
                       struct error *err)
{
    struct vmm_config *config = &process->config;
    config->vcpus = vm->vcpus ? vm->vcpus : 1;
    config->require = vm->require;
    config->port_count = vm->port_count;
    memcpy(config->ports, vm->ports, sizeof(config->ports));
    config->guest = vm->linux_guest.given ? VMM_GUEST_LINUX : VMM_GUEST_CELL;
    if (vm->linux_guest.given && linux_machine_plan(config, err) < 0)
        return -1;
    config->weights_count = vm->weights_count;
    config->audit_records_per_s = vm->audit_records_per_s;
    config->audit_burst = vm->audit_burst;
    config->doorbell_interval_ns =
        (vm->doorbell_interval_given ? vm->doorbell_interval_us : 50) * 1000;
    config->heartbeat_period_ns =
        (vm->heartbeat_period_ms ? vm->heartbeat_period_ms : HEARTBEAT_PERIOD_DEFAULT_MS) *
        NS_PER_MS;
    config->idle_spin_ns = (vm->idle_spin_given ? vm->idle_spin_us : 1000) * 1000;
    struct host_root root;
    if (host_root_open(&root, NULL, err) < 0)
        return -1;
    // A keeper that is still at work leaves this process fewer CPUs than there will be in a moment.
    for (unsigned i = 0; i < SETTLE_TRIES && host_cores_are_settling(&root); i++)
        usleep(SETTLE_PAUSE_US);
    // So does one that was killed, until somebody clears up behind it.
    struct host_cores_report report;
    if (geteuid() == 0 && host_cores_are_stale(&root))
        host_cores_settle(&root, &report, NULL);
    int placed = placement_choose(&root, vm, config, &process->placement, err);
    if (placed == 0 && geteuid() == 0)
        host_cores_lend(&root, process->pid);
    host_root_close(&root);
    if (placed < 0)
        return -1;
    bool looks = vm->detectors_given && detector_settings_want_payloads(&vm->detectors);
    for (unsigned i = 0; i < config->port_count; i++) {
        config->ports[i].poller = i % config->poller_count;
        config->ports[i].holds = vm->policy_given;
        // What a detector looks at has to be in the ring; the log keeps its SHA-256 at least.
        if (looks && config->ports[i].audit == VMM_AUDIT_METADATA)
            config->ports[i].audit = VMM_AUDIT_DIGEST;
    }
    return 0;
}

static int make_eventfd(int *fd, struct error *err)
{
    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *fd < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "eventfd") : 0;
}

// Memory that VMM and backend process share. Neither can take it from under the other.
static int make_backend_memory(const struct vmm_port_config *port, struct error *err)
{
    struct backend_layout layout;
    backend_layout_init(&layout, port);
    cleanup_fd int fd = memfd_create("guillotine-backend", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)layout.bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "memory of a backend");
    return steal_fd(&fd);
}

static int prepare_port(int *fds, const struct vmm_port_config *port, struct error *err)
{
    if (!vmm_port_fd_count(port))
        return 0;
    if (port->process) {
        fds[VMM_PORT_FD_BACKEND_MEMORY] = make_backend_memory(port, err);
        return fds[VMM_PORT_FD_BACKEND_MEMORY] < 0
                   ? -1
                   : make_eventfd(&fds[VMM_PORT_FD_BACKEND_WAKE], err);
    }
    fds[VMM_PORT_FD_TO_HOST] =
        shared_ring_create("guillotine-to-host", vmm_port_ring_bytes(port, 1), err);
    if (fds[VMM_PORT_FD_TO_HOST] < 0)
        return -1;
    fds[VMM_PORT_FD_FROM_HOST] =
        shared_ring_create("guillotine-from-host", vmm_port_ring_bytes(port, 0), err);
    return fds[VMM_PORT_FD_FROM_HOST] < 0 ? -1 : 0;
}

static int prepare_poller(struct vmm_process *process, unsigned index, struct error *err)
{
    uint64_t bytes = vmm_audit_ring_bytes(process->config.ports, process->config.port_count);
    process->audit_rings[index] = shared_ring_create("guillotine-audit", bytes, err);
    return process->audit_rings[index] < 0 ? -1 : make_eventfd(&process->wake_vmm[index], err);
}

// Two places for policy documents: the one in force and the next. Only the supervisor writes there.
static int make_policy_area(struct vmm_process *process, const struct policy_document *policy,
                            struct error *err)
{
    process->policy = memfd_create("guillotine-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (process->policy < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "policy area");
    if (!policy->bytes)
        return 0;
    if (ftruncate(process->policy, 2 * POLICY_MAX_BYTES) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "policy area");
    process->policy_area =
        mmap(NULL, 2 * POLICY_MAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, process->policy, 0);
    if (process->policy_area == MAP_FAILED) {
        process->policy_area = NULL;
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map the policy area");
    }
    if (fcntl(process->policy, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "seal the policy area");
    memcpy(process->policy_area, policy->memory, policy->bytes);
    process->config.policy_bytes = policy->bytes;
    return 0;
}

int vmm_process_prepare(struct vmm_process *process, const struct vm_description *vm,
                        struct error *err)
{
    if (fill_config(process, vm, err) < 0 || make_eventfd(&process->wake_supervisor, err) < 0 ||
        (vm->linux_guest.given && linux_loader_start(&process->loader, err) < 0))
        return -1;
    process->forensics = memfd_create("guillotine-forensics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (process->forensics < 0 || ftruncate(process->forensics, (off_t)FORENSIC_AREA_BYTES) < 0 ||
        fcntl(process->forensics, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "forensic area");
    if (make_policy_area(process, &vm->policy, err) < 0)
        return -1;
    for (unsigned i = 0; i < process->config.poller_count; i++) {
        if (prepare_poller(process, i, err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < vm->port_count; i++) {
        if (prepare_port(process->ports[i], &vm->ports[i], err) < 0)
            return error_wrap(err, "port %s", vm->ports[i].name);
    }
    if (make_level_page("guillotine-level", &process->level_supervisor_fd, true,
                        &process->level_own, err) < 0)
        return -1;
    return make_level_page("guillotine-level-vmm", &process->level_vmm_fd, false,
                           &process->level_vmm, err);
}

void vmm_process_wake(const struct vmm_process *process, unsigned port)
{
    uint64_t one = 1;
    ssize_t ignored =
        write(process->wake_vmm[process->config.ports[port].poller], &one, sizeof(one));
    (void)ignored;
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

uint64_t vmm_process_memory_bytes(const struct vm_description *vm, uint64_t weights_bytes)
{
    if (!vm->linux_guest.given)
        return vm->memory_bytes ? vm->memory_bytes : DEFAULT_MEMORY_BYTES + weights_bytes / 4;
    // Whole large pages: its memory is mapped as it is.
    uint64_t bytes = vm->memory_bytes ? vm->memory_bytes : VM_LINUX_MEMORY_DEFAULT;
    return bytes & ~((2ull << 20) - 1);
}

// What depends on the files.
static int fill_memory(struct vmm_config *config, const struct vm_description *vm,
                       const struct sealed_memory *sealed, const uint64_t *weights_bytes,
                       struct error *err)
{
    uint64_t all_weights = 0;
    for (unsigned i = 0; i < vm->weights_count; i++) {
        config->weights[i].bytes = weights_bytes[i];
        // Decrypted weights are private already, and their memory is scrubbed.
        config->weights[i].copy = vm->weights[i].copy && sealed[i].fd < 0;
        all_weights += weights_bytes[i];
    }
    config->memory_bytes = vmm_process_memory_bytes(vm, all_weights);
    return check_memory(config->memory_bytes, err);
}

// Raises the VMM's own limit, as far as this process may.
static int permit_lock(pid_t vmm, uint64_t bytes, struct error *err)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit limit = {0};
    if (prlimit(vmm, RLIMIT_MEMLOCK, &all, NULL) == 0)
        return 0;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    // The VMM has inherited what there is; it says itself if that is not enough.
    if (limit.rlim_cur < bytes)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "memory: %llu MiB are to be locked, and the limit is %llu KiB: raise "
                         "RLIMIT_MEMLOCK (ulimit -l; LimitMEMLOCK=infinity in a unit)",
                         (unsigned long long)(bytes >> 20),
                         (unsigned long long)(limit.rlim_cur >> 10));
    return 0;
}

// The memory's file, now that its size is known, and what the VMM is to do with it.
static int make_memory(struct vmm_process *process, const struct vm_description *vm,
                       struct error *err)
{
    struct vmm_config *config = &process->config;
    struct host_root root;
    unsigned node = vm->numa_node_given ? vm->numa_node : process->placement.node;
    if (host_root_open(&root, NULL, err) < 0)
        return -1;
    process->memory =
        memory_file_make(&root, vm->huge_pages, config->memory_bytes, &process->memory_pages, err);
    bool nodes = topology_nodes(&root) > 1;
    host_root_close(&root);
    if (process->memory < 0)
        return -1;
    process->memory_bound = (nodes || vm->numa_node_given) &&
                            memory_file_bind(process->memory, config->memory_bytes, node);
    if (vm->numa_node_given && !process->memory_bound)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "memory: NUMA node %u", node);
    config->memory_flags = (vm->lock_memory ? VMM_MEMORY_LOCKED : 0) |
                           (process->memory_pages == MEMORY_RESERVED ? VMM_MEMORY_RESERVED : 0) |
                           (vm->huge_pages == VM_HUGE_PAGES_NONE ? 0 : VMM_MEMORY_HUGE);
    return vm->lock_memory ? permit_lock(process->pid, config->memory_bytes, err) : 0;
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

static unsigned fill_fds(const struct vmm_process *process, const int *inputs, int *fds)
{
    const struct vmm_config *config = &process->config;
    fds[VMM_FD_IMAGE] = inputs[0];
    fds[VMM_FD_MEMORY] = process->memory;
    fds[VMM_FD_LEVEL_SUPERVISOR] = process->level_supervisor_fd;
    fds[VMM_FD_LEVEL_VMM] = process->level_vmm_fd;
    fds[VMM_FD_WAKE_SUPERVISOR] = process->wake_supervisor;
    fds[VMM_FD_FORENSICS] = process->forensics;
    fds[VMM_FD_POLICY] = process->policy;
    for (unsigned i = 0; i < config->poller_count; i++) {
        fds[vmm_config_poller_fd(i) + VMM_POLLER_FD_AUDIT] = process->audit_rings[i];
        fds[vmm_config_poller_fd(i) + VMM_POLLER_FD_WAKE] = process->wake_vmm[i];
    }
    for (unsigned i = 0; i < config->weights_count; i++)
        fds[vmm_config_weights_fd(config) + i] = inputs[1 + i];
    for (unsigned i = 0; i < config->port_count; i++) {
        for (unsigned k = 0; k < vmm_port_fd_count(&config->ports[i]); k++)
            fds[vmm_config_port_fd(config, i) + k] = process->ports[i][k];
    }
    return vmm_config_fd_count(config);
}

static int send_config(struct vmm_process *process, const struct vm_description *vm,
                       const int *inputs, const uint64_t *weights_bytes, struct error *err)
{
    static union {
        struct vmm_config config;
        char bytes[VMM_MESSAGE_MAX];
    } buffer;
    struct vmm_config *config = &process->config;
    int fds[FD_MESSAGE_MAX_FDS];

    _Static_assert(VMM_FD_POLLERS + VMM_MAX_POLLERS * VMM_POLLER_FDS + VMM_MAX_WEIGHTS +
                           VMM_MAX_PORTS * VMM_PORT_FDS <=
                       FD_MESSAGE_MAX_FDS,
                   "all descriptors fit one message");
    if (put_arguments(config, buffer.bytes + sizeof(*config), vm, err) < 0 ||
        fill_memory(config, vm, process->sealed, weights_bytes, err) < 0 ||
        make_memory(process, vm, err) < 0 ||
        (vm->linux_guest.given && linux_machine_load(config, vm, &process->loader, process->memory,
                                                     inputs[0], process->initrd, err) < 0))
        return -1;
    size_t length = sizeof(*config) + config->arguments_bytes;
    vmm_message_init(&config->message, VMM_MESSAGE_CONFIG, (uint32_t)length);
    buffer.config = *config;
    int result = port_seeds_fill(&buffer.config, vm->settings, err);
    if (result == 0)
        result = fd_message_send(process->channel, &buffer, length, fds,
                                 fill_fds(process, inputs, fds), err);
    explicit_bzero(&buffer.config, sizeof(buffer.config)); // the only place with the seeds
    return result;
}

static void close_inputs(struct vmm_process *process)
{
    for (unsigned i = 0; i < 1 + VMM_MAX_WEIGHTS; i++) {
        if (process->inputs[i] >= 0)
            close(process->inputs[i]);
        process->inputs[i] = -1;
    }
    if (process->initrd >= 0)
        close(process->initrd);
    process->initrd = -1;
}

int vmm_process_open_inputs(struct vmm_process *process, const struct vm_description *vm,
                            struct error *err)
{
    for (unsigned i = 0; i < 1 + vm->weights_count; i++) {
        process->inputs[i] =
            i == 0 ? open_input(vm->linux_guest.given ? "kernel" : "image", vm->image,
                                &process->input_bytes[0], err)
                   : open_input("weights", vm->weights[i - 1].path, &process->input_bytes[i], err);
        if (process->inputs[i] < 0)
            return -1;
    }
    uint64_t bytes;
    if (vm->linux_guest.initrd)
        process->initrd = open_input("initrd", vm->linux_guest.initrd, &bytes, err);
    return vm->linux_guest.initrd && process->initrd < 0 ? -1 : 0;
}

int vmm_process_configure(struct vmm_process *process, const struct vm_description *vm,
                          struct error *err)
{
    int result = 0;
    for (unsigned i = 0; result == 0 && i < vm->weights_count; i++)
        result = weights_input_open(process->state_dir, &vm->weights[i], &process->inputs[1 + i],
                                    &process->input_bytes[1 + i], &process->sealed[i], err);
    if (result == 0)
        result = send_config(process, vm, process->inputs, process->input_bytes + 1, err);
    close_inputs(process);
    return result;
}

int vmm_process_go(struct vmm_process *process, struct error *err)
{
    struct vmm_message message;
    vmm_message_init(&message, VMM_MESSAGE_GO, sizeof(message));
    return fd_message_send(process->channel, &message, sizeof(message), NULL, 0, err);
}

static void close_one(int fd)
{
    if (fd >= 0)
        close(fd);
}

int vmm_process_kill(struct vmm_process *process)
{
    int status = -1;
    if (process->pid <= 0)
        return -1;
    kill(process->pid, SIGKILL); // ours until it is reaped: the number cannot be reused
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    process->pid = -1;
    return status;
}

void vmm_process_end(struct vmm_process *process)
{
    vmm_process_kill(process);
    linux_loader_end(&process->loader);
    close_inputs(process);
    if (process->policy_area)
        munmap(process->policy_area, 2 * POLICY_MAX_BYTES);
    process->policy_area = NULL;
    int *fds[] = {&process->pidfd,     &process->channel,      &process->wake_supervisor,
                  &process->memory,    &process->level_vmm_fd, &process->level_supervisor_fd,
                  &process->forensics, &process->policy};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close_one(*fds[i]);
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++) {
        close_one(process->wake_vmm[i]);
        close_one(process->audit_rings[i]);
    }
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++) {
        close_one(process->ports[i][0]);
        close_one(process->ports[i][1]);
    }
    uint64_t scrubbed = 0;
    for (unsigned i = 0; i < VMM_MAX_WEIGHTS; i++)
        sealed_memory_release(&process->sealed[i], &scrubbed, NULL);
    if (process->level_own)
        munmap(process->level_own, LEVEL_PAGE_SIZE);
    if (process->level_vmm)
        munmap((void *)(uintptr_t)process->level_vmm, LEVEL_PAGE_SIZE);
    placement_release(&process->placement);
    forget(process);
}
