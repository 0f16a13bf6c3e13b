// SPDX-License-Identifier: Apache-2.0
// guillotine-vmm: receives descriptors, builds one VM, locks itself down, runs it.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "fatal_signal.h"
#include "fd_message.h"
#include "forensics.h"
#include "heartbeat.h"
#include "sandbox.h"
#include "thread_filter.h"
#include "vmm.h"

// One VM per process; static, so that it needs no allocation and is zero.
static struct vmm vmm;

static bool port_config_is_sound(const struct vmm_config *config,
                                 const struct vmm_port_config *port)
{
    return memchr(port->name, 0, sizeof(port->name)) && port->queue_size &&
           port->queue_size <= VIRTQ_MAX_SIZE && !(port->queue_size & (port->queue_size - 1)) &&
           port->queue_count && port->queue_count <= VMM_MAX_QUEUES &&
           port->max_request_bytes <= PORT_MAX_BYTES && port->max_reply_bytes <= PORT_MAX_BYTES &&
           port->tight_request_bytes <= port->max_request_bytes &&
           port->tight_reply_bytes <= port->max_reply_bytes && port->audit <= VMM_AUDIT_FULL &&
           port->in_flight && port->in_flight <= VMM_MAX_IN_FLIGHT &&
           port->poller < config->poller_count;
}

static int check_config(const struct vmm_config *config, size_t length, size_t fd_count,
                        struct error *err)
{
    if (length < sizeof(*config) ||
        vmm_message_check(&config->message, length) != VMM_MESSAGE_CONFIG)
        return error_set(err, EXIT_STATUS_INTERNAL, 0,
                         "the supervisor speaks another protocol than %s", VMM_PROTOCOL_FORMAT);
    if (!config->vcpus || config->vcpus > VMM_MAX_VCPUS || config->port_count > VMM_MAX_PORTS ||
        config->weights_count > VMM_MAX_WEIGHTS || config->arguments_bytes > VMM_ARGUMENTS_MAX ||
        length != sizeof(*config) + config->arguments_bytes || !config->poller_count ||
        config->poller_count > VMM_MAX_POLLERS ||
        config->heartbeat_period_ns < HEARTBEAT_PERIOD_MIN_MS * NS_PER_MS ||
        config->heartbeat_period_ns > HEARTBEAT_PERIOD_MAX_MS * NS_PER_MS)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "configuration out of range");
    for (unsigned i = 0; i < config->port_count; i++) {
        if (!port_config_is_sound(config, &config->ports[i]))
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "port %u out of range", i);
    }
    if (config->key_set.version && !level_key_set_is_sound(&config->key_set))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "key set out of range");
    if (fd_count != vmm_config_fd_count(config))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "%zu descriptors, %u expected", fd_count,
                         vmm_config_fd_count(config));
    return 0;
}

static int receive_config(int *fds, struct error *err)
{
    static uint8_t buffer[VMM_MESSAGE_MAX];
    size_t fd_count = FD_MESSAGE_MAX_FDS;
    ssize_t length =
        fd_message_receive(VMM_CHANNEL_FD, buffer, sizeof(buffer), fds, &fd_count, err);
    if (length < 0)
        return -1;
    if (length == 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the supervisor went away");
    const struct vmm_config *config = (const void *)buffer;
    if (check_config(config, (size_t)length, fd_count, err) < 0)
        return -1;
    vmm.config = *config;
    memcpy(vmm.arguments, buffer + sizeof(*config), config->arguments_bytes);
    explicit_bzero(buffer, (size_t)length); // seeds of ports
    return 0;
}

static int map_level_page(int fd, int protection, void *pages, struct error *err)
{
    void *page = mmap(NULL, LEVEL_PAGE_SIZE, protection, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "map level page");
    *(void **)pages = page;
    return 0;
}

static enum poller_mode poller_mode(const struct vmm_config *config, unsigned poller)
{
    // One poller serves several ports: the most eager one decides.
    enum poller_mode mode = POLLER_DOORBELL;
    for (unsigned i = 0; i < config->port_count; i++) {
        if (config->ports[i].poller != poller)
            continue;
        if (config->ports[i].mode == VMM_PORT_BUSY)
            return POLLER_BUSY;
        if (config->ports[i].mode == VMM_PORT_ADAPTIVE)
            mode = POLLER_ADAPTIVE;
    }
    return mode;
}

// A poller's share of a limit: together they do not exceed it, except that a limit below the number
// of pollers gives each of them 1, since 0 means that there is none.
static uint64_t share(uint64_t limit, unsigned poller)
{
    uint64_t part = limit / vmm.config.poller_count + (poller < limit % vmm.config.poller_count);
    return limit && !part ? 1 : part;
}

static int open_poller(unsigned index, const int *fds, struct error *err)
{
    struct vmm_poller *own = &vmm.pollers[index];
    own->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (own->doorbell_fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "eventfd");
    own->wake_fd = fds[VMM_POLLER_FD_WAKE];
    own->audit.wake_fd = vmm.wake_supervisor_fd;
    uint64_t ring = vmm_audit_ring_bytes(vmm.config.ports, vmm.config.port_count);
    if (shared_ring_map(&own->audit.ring, fds[VMM_POLLER_FD_AUDIT], ring, err) < 0)
        return -1;
    token_bucket_init(&own->audit.budget, share(vmm.config.audit_records_per_s, index),
                      share(vmm.config.audit_burst, index), clock_now_ns(&clock_host));
    own->fabric = (struct port_fabric){
        .level_supervisor = vmm.level_supervisor,
        .level_own = vmm.level_own,
        .audit = &own->audit,
        .clock = &clock_host,
        .host = {.raise_event = vcpu_raise_event, .escalate = port_table_escalate, .context = &vmm},
    };
    const struct poller_settings settings = {
        .mode = poller_mode(&vmm.config, index),
        .idle_spin_ns = vmm.config.idle_spin_ns,
        .doorbell_interval_ns = vmm.config.doorbell_interval_ns,
        .doorbell_fd = own->doorbell_fd,
        .wake_fd = own->wake_fd,
        .clock = &clock_host,
        .audit = &own->audit,
        .observed = &vmm.level_own->observed[index],
        .doorbells = &vmm.level_own->doorbells,
        .level_supervisor = vmm.level_supervisor,
        .level_own = vmm.level_own,
    };
    poller_init(&own->poller, &settings);
    return 0;
}

static int open_rings(const int *fds, struct error *err)
{
    vmm.control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vmm.control_fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "eventfd");
    vmm.wake_supervisor_fd = fds[VMM_FD_WAKE_SUPERVISOR];
    vmm.backends.wake_supervisor_fd = vmm.wake_supervisor_fd;
    if (map_level_page(fds[VMM_FD_LEVEL_SUPERVISOR], PROT_READ, &vmm.level_supervisor, err) < 0 ||
        map_level_page(fds[VMM_FD_LEVEL_VMM], PROT_READ | PROT_WRITE, &vmm.level_own, err) < 0)
        return -1;
    const struct fatal_signal_action offline = {
        .word = &vmm.level_own->level,
        .value = LEVEL_OFFLINE,
        .cause = &vmm.level_own->cause,
        .cause_base = LEVEL_CAUSE_SIGNAL,
        .cause_memory = LEVEL_CAUSE_MEMORY_ERROR,
        .silent = true, // the filters of pollers and vCPUs let no signal be sent
    };
    if (fatal_signal_use_stack(&vmm.control_stack, err) < 0 ||
        fatal_signal_install(&offline, err) < 0)
        return -1;
    for (unsigned i = 0; i < vmm.config.poller_count; i++) {
        if (open_poller(i, fds + vmm_config_poller_fd(i), err) < 0)
            return -1;
    }
    return 0;
}

// The VM and its first vCPU are created on a thread of its own, while the main thread enters the
// sandbox and builds the memory: neither needs the other. The thread is gone before the model runs.
static struct {
    pthread_t thread;
    bool running;
    bool failed;
    sem_t vm_done; // the VM exists and is configured, or failed
    struct error err;
} creator;

static void *create_vm(void *argument)
{
    (void)argument;
    bool created = kvm_vm_create(&vmm.kvm, VMM_KVM_FD, &creator.err) == 0;
    if (created)
        kvm_vm_configure(&vmm.kvm);
    sem_post(&creator.vm_done);
    if (!created || vcpu_create(&vmm, 0, &creator.err) < 0)
        creator.failed = true;
    return NULL;
}

static int start_creator(struct error *err)
{
    sem_init(&creator.vm_done, 0, 0);
    int code = pthread_create(&creator.thread, NULL, create_vm, NULL);
    if (code)
        return error_set(err, EXIT_STATUS_RESOURCES, code, "create thread");
    creator.running = true;
    thread_move_away(creator.thread);
    return 0;
}

// Waits until vCPU 0 exists, and with it everything that the creator makes.
static int join_creator(struct error *err)
{
    pthread_join(creator.thread, NULL);
    creator.running = false;
    if (creator.failed) {
        *err = creator.err;
        return -1;
    }
    return 0;
}

// Waits until the VM exists.
static int wait_for_vm(struct error *err)
{
    if (!creator.running && start_creator(err) < 0)
        return -1;
    while (sem_wait(&creator.vm_done) < 0)
        continue; // EINTR
    if (vmm.kvm.fd < 0)
        return join_creator(err);
    if (!vmm.kvm.msr_filtered)
        atomic_fetch_or(&vmm.missing_layers, VMM_LAYER_MSR_FILTER);
    return 0;
}

static int build_linux(int *fds, struct error *err)
{
    if (linux_guest_build(&vmm, fds[VMM_FD_MEMORY], err) < 0 ||
        forensics_open(&vmm, fds[VMM_FD_FORENSICS], err) < 0 || open_rings(fds, err) < 0 ||
        wait_for_vm(err) < 0 || join_creator(err) < 0 ||
        port_table_open_policy(&vmm, fds[VMM_FD_POLICY], err) < 0 ||
        port_table_create(&vmm, fds, err) < 0 || linux_guest_add_to_vm(&vmm, err) < 0)
        return -1;
    return vcpus_prepare(&vmm, err);
}

static int build_cell(int *fds, struct error *err)
{
    if (cell_build(&vmm.cell, &vmm.config, vmm.arguments, fds[VMM_FD_IMAGE], fds[VMM_FD_MEMORY],
                   fds + vmm_config_weights_fd(&vmm.config), err) < 0 ||
        forensics_open(&vmm, fds[VMM_FD_FORENSICS], err) < 0 || open_rings(fds, err) < 0 ||
        wait_for_vm(err) < 0)
        return -1;
    vmm.xcr0 = cpuid_profile_xcr0(&vmm.kvm.profile);
    vmm.isa = cpuid_profile_isa(&vmm.kvm.profile, vmm.xcr0);
    if (cell_add_slots(&vmm.cell, &vmm.kvm, err) < 0 ||
        port_table_open_policy(&vmm, fds[VMM_FD_POLICY], err) < 0 ||
        port_table_create(&vmm, fds, err) < 0 || cell_freeze(&vmm.cell, vmm.isa, err) < 0 ||
        join_creator(err) < 0)
        return -1;
    return vcpus_prepare(&vmm, err);
}

static int build(int *fds, struct error *err)
{
    return vmm.config.guest == VMM_GUEST_LINUX ? build_linux(fds, err) : build_cell(fds, err);
}

// What stays open after the build: channel, vCPUs, and the eventfds that wake others.
static bool is_needed_later(int fd)
{
    if (fd == vmm.wake_supervisor_fd)
        return true;
    for (unsigned i = 0; i < vmm.config.poller_count; i++) {
        if (fd == vmm.pollers[i].wake_fd)
            return true;
    }
    for (unsigned i = 0; i < vmm.config.port_count; i++) {
        if (vmm.config.ports[i].process && fd == vmm.links[i].wake_fd)
            return true;
    }
    return false;
}

static void close_build_fds(int *fds)
{
    for (unsigned i = 0; i < vmm_config_fd_count(&vmm.config); i++) {
        if (!is_needed_later(fds[i]))
            close(fds[i]);
    }
    close(vmm.kvm.kvm_fd);
    vmm.kvm.kvm_fd = -1;
    // KVM takes interrupts from eventfds only as long as the VM's own descriptor is open. No filter
    // lets anything be done with it.
    if (vmm.config.guest == VMM_GUEST_LINUX)
        return;
    close(vmm.kvm.fd);
    vmm.kvm.fd = -1;
}

static int check_layers(struct error *err)
{
    uint32_t missing = atomic_load(&vmm.missing_layers);
    if (atomic_load(&vmm.failed))
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "sandbox: the host denies system-call filters");
    if (missing && vmm.config.require == VMM_REQUIRE_STRICT)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--require strict: the host denies%s%s%s%s%s",
                         missing & VMM_LAYER_MOUNT_VIEW ? " an empty file system" : "",
                         missing & VMM_LAYER_CAPABILITIES ? " dropping capabilities" : "",
                         missing & VMM_LAYER_IDENTITY ? " an unprivileged identity" : "",
                         missing & VMM_LAYER_MSR_FILTER ? " an MSR filter" : "",
                         missing & VMM_LAYER_PINNING ? " pinning to the given cores" : "");
    return 0;
}

// Everything that does not depend on the configuration. No file is opened by path from here on:
// all that the VM is made of comes as descriptors.
static int prepare(struct error *err)
{
    uint32_t missing = 0;
    vcpus_init(&vmm);
    // A user namespace, which the unprivileged need, can be entered only without other threads:
    // then the creator starts later.
    vmm.kvm.fd = -1;
    if (geteuid() == 0 && start_creator(err) < 0)
        return -1;
    if (sandbox_enter(&missing, err) < 0)
        return -1;
    atomic_fetch_or(&vmm.missing_layers, missing);
    return threads_start(&vmm, err);
}

static int lock_down(int *fds, struct error *err)
{
    close_build_fds(fds);
    if (threads_place(&vmm, err) < 0 || check_layers(err) < 0)
        return -1;
    return thread_filter_install(SECCOMP_CONTROL, err);
}

// The model is not entered before the supervisor has made durable that it runs. This is the first
// message behind the configuration.
static int wait_for_go(struct error *err)
{
    struct vmm_message message;
    size_t fd_count = 0;
    ssize_t length =
        fd_message_receive(VMM_CHANNEL_FD, &message, sizeof(message), NULL, &fd_count, err);
    if (length < 0)
        return -1;
    if ((size_t)length != sizeof(message) ||
        vmm_message_check(&message, (uint64_t)length) != VMM_MESSAGE_GO)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the supervisor did not let the model run");
    // At Severed nothing runs until the level is lowered.
    // A hold at the launch is for the ports: the log is not open yet.
    if (atomic_load(&vmm.level_supervisor->level) >= LEVEL_SEVERED)
        vcpus_pause(&vmm, 0);
    return 0;
}

static void release(void)
{
    struct vmm_ready ready = {
        .isa = vmm.isa,
        .missing_layers = atomic_load(&vmm.missing_layers),
    };
    struct timespec now;
    for (unsigned i = 0; i < vmm.config.vcpus; i++)
        ready.vcpu_tids[i] = atomic_load(&vmm.vcpus[i].tid);
    clock_gettime(CLOCK_MONOTONIC, &now);
    ready.entered_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    atomic_store(&vmm.go, 1);
    syscall(SYS_futex, &vmm.go, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    vmm_message_init(&ready.message, VMM_MESSAGE_READY, sizeof(ready));
    fd_message_send(VMM_CHANNEL_FD, &ready, sizeof(ready), NULL, 0, NULL);
}

static int fail(const struct error *err)
{
    struct vmm_failed failed = {.status = (uint32_t)err->status};
    snprintf(failed.text, sizeof(failed.text), "%s", err->text);
    vmm_message_init(&failed.message, VMM_MESSAGE_FAILED, sizeof(failed));
    fd_message_send(VMM_CHANNEL_FD, &failed, sizeof(failed), NULL, 0, NULL);
    return (int)err->status;
}

int main(void)
{
    int fds[FD_MESSAGE_MAX_FDS];
    struct error err = {0};

    vmm.channel = VMM_CHANNEL_FD;
    vmm.pid = getpid();
    if (fcntl(VMM_CHANNEL_FD, F_GETFD) < 0 || fcntl(VMM_KVM_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-vmm is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    if (prepare(&err) < 0 || receive_config(fds, &err) < 0 || build(fds, &err) < 0 ||
        lock_down(fds, &err) < 0 || wait_for_go(&err) < 0)
        return fail(&err);
    release();
    _exit(control_run(&vmm));
}
