// SPDX-License-Identifier: Apache-2.0
// A backend process: executes the requests of one port behind a queue that it shares with the VMM.
#include "backend_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend_filters.h"
#include "backend_rules.h"
#include "fd_message.h"
#include "sandbox.h"

// An adaptive process shares its CPU with others: it polls just long enough to catch the next
// request of a driver that waits for one before it sends the other.
#define IDLE_SPIN_NS (50 * NS_PER_US)

// A VMM that rings without end is heard at most once in this time.
#define DOORBELL_INTERVAL_NS (50 * NS_PER_US)

static const struct backend_kind *find_kind(const struct backend_kind *kinds, size_t count,
                                            uint32_t number)
{
    for (size_t i = 0; i < count; i++) {
        if ((uint32_t)kinds[i].backend->kind == number)
            return &kinds[i];
    }
    return NULL;
}

static bool port_is_sound(const struct vmm_port_config *port)
{
    return memchr(port->name, 0, sizeof(port->name)) && port->process == 1 &&
           port->mode <= VMM_PORT_DOORBELL && port->in_flight &&
           port->in_flight <= VMM_MAX_IN_FLIGHT && port->max_request_bytes <= PORT_MAX_BYTES &&
           port->max_reply_bytes <= PORT_MAX_BYTES && port->audit <= VMM_AUDIT_FULL &&
           port->tight_request_bytes <= port->max_request_bytes &&
           port->tight_reply_bytes <= port->max_reply_bytes;
}

int backend_process_receive(struct backend_process *process, const struct backend_kind *kinds,
                            size_t count, struct error *err)
{
    struct backend_config *config = &process->config;
    size_t fd_count = BACKEND_FDS + BACKEND_MAX_EXTRA_FDS;
    ssize_t length = fd_message_receive(BACKEND_CHANNEL_FD, config, sizeof(*config), process->fds,
                                        &fd_count, err);
    if (length < 0)
        return -1;
    if (length == 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the supervisor went away");
    if ((size_t)length != sizeof(*config) ||
        vmm_message_check(&config->message, (uint64_t)length) != BACKEND_MESSAGE_CONFIG)
        return error_set(err, EXIT_STATUS_INTERNAL, 0,
                         "the supervisor speaks another protocol than %s", VMM_PROTOCOL_FORMAT);
    if (config->extra_fds > BACKEND_MAX_EXTRA_FDS || fd_count != BACKEND_FDS + config->extra_fds)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "%zu descriptors, %u expected", fd_count,
                         BACKEND_FDS + config->extra_fds);
    if (config->port_index >= VMM_MAX_PORTS || !port_is_sound(&config->port))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "configuration out of range");
    process->kind = find_kind(kinds, count, config->port.kind);
    if (!process->kind)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "port %s: kind %u cannot run in this program", config->port.name,
                         config->port.kind);
    return 0;
}

// Maps memory that somebody else holds too. It must keep its size: a page that is gone when it is
// touched ends the process.
static int map_shared(int fd, uint64_t bytes, int protection, const char *what, void *address,
                      struct error *err)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return error_set(err, EXIT_STATUS_INTERNAL, seals < 0 ? errno : 0,
                         "the %s is not sealed against shrinking", what);
    if (fstat(fd, &status) < 0 || status.st_size < 0 || (uint64_t)status.st_size < bytes)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the %s is too small", what);
    void *mapped = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map the %s", what);
    *(void **)address = mapped;
    return 0;
}

// The other holders of an eventfd can fill its counter, or empty it after ppoll reported it.
static int check_eventfds(const struct backend_process *process, struct error *err)
{
    static const enum backend_fd wakes[] = {BACKEND_FD_WAKE_BACKEND, BACKEND_FD_WAKE_VMM,
                                            BACKEND_FD_WAKE_SUPERVISOR};
    for (size_t i = 0; i < sizeof(wakes) / sizeof(wakes[0]); i++) {
        int flags = fcntl(process->fds[wakes[i]], F_GETFL);
        if (flags < 0 || !(flags & O_NONBLOCK))
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "eventfd %d can block", wakes[i]);
    }
    return 0;
}

// Tells the VMM that replies are there.
static void wake_vmm(void *context, unsigned target)
{
    const struct backend_process *process = context;
    uint64_t one = 1;
    (void)target; // one driver
    ssize_t ignored = write(process->fds[BACKEND_FD_WAKE_VMM], &one, sizeof(one));
    (void)ignored;
}

static int open_fabric(struct backend_process *process, struct error *err)
{
    void *level_supervisor;
    void *level_vmm;
    if (map_shared(process->fds[BACKEND_FD_LEVEL_SUPERVISOR], LEVEL_PAGE_SIZE, PROT_READ,
                   "level page of the supervisor", &level_supervisor, err) < 0 ||
        map_shared(process->fds[BACKEND_FD_LEVEL_VMM], LEVEL_PAGE_SIZE, PROT_READ,
                   "level page of the VMM", &level_vmm, err) < 0 ||
        shared_ring_map(&process->audit.ring, process->fds[BACKEND_FD_AUDIT_RING],
                        vmm_audit_ring_bytes(&process->config.port, 1), err) < 0)
        return -1;
    // No budget of records: the VMM's bounds what the model can cause, and a VMM that fell is
    // held back by the ring.
    process->audit.wake_fd = process->fds[BACKEND_FD_WAKE_SUPERVISOR];
    process->fabric = (struct port_fabric){
        .level_supervisor = level_supervisor,
        .level_own = level_vmm,
        .audit = &process->audit,
        .clock = &clock_host,
        .host = {.raise_event = wake_vmm, .context = process},
    };
    return 0;
}

// Maps all of it; what is empty stays NULL.
static int map_whole(int fd, const char *what, const void **address, size_t *length,
                     struct error *err)
{
    struct stat status;
    void *mapped = NULL;
    if (fstat(fd, &status) < 0 || status.st_size < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "%s", what);
    if (status.st_size &&
        map_shared(fd, (uint64_t)status.st_size, PROT_READ, what, &mapped, err) < 0)
        return -1;
    *address = mapped;
    *length = (size_t)status.st_size;
    return 0;
}

static int open_policy(struct backend_process *process, struct error *err)
{
    const void *table;
    size_t bytes;
    if (map_whole(process->fds[BACKEND_FD_POLICY], "memory of the policy", &table, &bytes, err) < 0)
        return -1;
    if (!table)
        return 0;
    return policy_memory_open(&process->policy_memory, err) < 0
               ? -1
               : policy_table_open(&process->policy, table, bytes, err);
}

static int open_state(struct backend_process *process, struct error *err)
{
    if (map_whole(process->fds[BACKEND_FD_SETTINGS], "memory of the settings", &process->settings,
                  &process->settings_length, err) < 0)
        return -1;
    if (!process->kind->make_state)
        return 0;
    process->state = process->kind->make_state(process, err);
    return process->state ? 0 : -1;
}

static int open_port(struct backend_process *process, struct error *err)
{
    const struct backend_config *config = &process->config;
    const struct vmm_port_config *grant = &config->port;
    const struct port_settings settings = {
        .name = grant->name,
        .index = (uint16_t)config->port_index,
        .backend = process->kind->backend,
        .backend_state = process->state,
        .operations = grant->operations,
        .max_request_bytes = grant->max_request_bytes,
        .max_reply_bytes = grant->max_reply_bytes,
        .in_flight = grant->in_flight,
        .closed_at_probation = grant->closed_at_probation,
        .limits = &grant->limits,
        .tight_request_bytes = grant->tight_request_bytes,
        .tight_reply_bytes = grant->tight_reply_bytes,
        .tight_limits = &grant->tight_limits,
        .document = process->policy.table ? &process->policy : NULL,
        .document_memory = &process->policy_memory,
        .logs_payloads = grant->audit != VMM_AUDIT_METADATA,
        .digests_only = grant->audit == VMM_AUDIT_DIGEST,
        .requests_used = config->requests_used,
        .bytes_used = config->bytes_used,
        .reply_bytes_used = config->reply_bytes_used,
    };
    struct backend_layout layout;
    struct virtqueue queue;
    void *memory;
    backend_layout_init(&layout, grant);
    if (map_shared(process->fds[BACKEND_FD_MEMORY], layout.bytes, PROT_READ | PROT_WRITE,
                   "memory shared with the VMM", &memory, err) < 0 ||
        guest_memory_add(&process->memory, (struct gpa){0}, layout.bytes, memory,
                         GUEST_READ | GUEST_WRITE, err) < 0 ||
        virtqueue_init(&queue, &process->memory, (uint16_t)layout.queue_size, 0,
                       (struct gpa){layout.descriptors}, (struct gpa){layout.available},
                       (struct gpa){layout.used}, err) < 0)
        return -1;
    process->port = port_create(&process->fabric, &settings, err);
    if (!process->port)
        return -1;
    return port_add_queue(process->port, &queue, 0, err);
}

static enum poller_mode poller_mode(uint32_t port_mode)
{
    switch (port_mode) {
    case VMM_PORT_BUSY:
        return POLLER_BUSY;
    case VMM_PORT_DOORBELL:
        return POLLER_DOORBELL;
    default:
        return POLLER_ADAPTIVE;
    }
}

int backend_process_build(struct backend_process *process, struct error *err)
{
    process->wake_fd = -1;
    if (check_eventfds(process, err) < 0 || open_fabric(process, err) < 0 ||
        open_policy(process, err) < 0 || open_state(process, err) < 0 ||
        open_port(process, err) < 0)
        return -1;
    // A number of its own, so that the filter lets nothing else be read: who could drain the
    // others' eventfds could keep their readers asleep.
    if (dup3(process->fds[BACKEND_FD_WAKE_BACKEND], BACKEND_DOORBELL_FD, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "doorbell");
    close(process->fds[BACKEND_FD_WAKE_BACKEND]);
    process->fds[BACKEND_FD_WAKE_BACKEND] = BACKEND_DOORBELL_FD;
    const struct poller_settings settings = {
        .mode = poller_mode(process->config.port.mode),
        .idle_spin_ns = IDLE_SPIN_NS,
        .doorbell_interval_ns = DOORBELL_INTERVAL_NS,
        .doorbell_fd = process->fds[BACKEND_FD_WAKE_BACKEND],
        // Who wakes this process rings the doorbell: no other thread stops or quiesces the poller.
        // This is for what the backend itself listens to; ppoll passes over a gap.
        .wake_fd = process->wake_fd,
        .clock = &clock_host,
        .audit = &process->audit,
    };
    poller_init(&process->poller, &settings);
    return poller_add(&process->poller, process->port, err);
}

int backend_filter_install(struct error *err)
{
    return sandbox_install(backend_filter, sizeof(backend_filter) / sizeof(backend_filter[0]), err);
}

int backend_process_lock_down(struct backend_process *process, int (*install)(struct error *err),
                              struct error *err)
{
    static const enum backend_fd mapped[] = {BACKEND_FD_MEMORY,    BACKEND_FD_LEVEL_SUPERVISOR,
                                             BACKEND_FD_LEVEL_VMM, BACKEND_FD_AUDIT_RING,
                                             BACKEND_FD_SETTINGS,  BACKEND_FD_POLICY};
    for (size_t i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++) {
        close(process->fds[mapped[i]]);
        process->fds[mapped[i]] = -1;
    }
    // Whatever happens on the channel is the end. If that was before: report_ready finds out.
    int flags = fcntl(BACKEND_CHANNEL_FD, F_GETFL);
    if (flags < 0 || fcntl(BACKEND_CHANNEL_FD, F_SETOWN, getpid()) < 0 ||
        fcntl(BACKEND_CHANNEL_FD, F_SETSIG, SIGKILL) < 0 ||
        fcntl(BACKEND_CHANNEL_FD, F_SETFL, flags | O_ASYNC) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "watch the channel");
    return install(err);
}

int backend_process_report_ready(struct error *err)
{
    struct vmm_message ready;
    vmm_message_init(&ready, (enum vmm_message_type)BACKEND_MESSAGE_READY, sizeof(ready));
    return fd_message_send(BACKEND_CHANNEL_FD, &ready, sizeof(ready), NULL, 0, err);
}

void backend_process_report_failure(const struct error *err)
{
    struct vmm_failed failed = {.status = (uint32_t)err->status};
    snprintf(failed.text, sizeof(failed.text), "%s", err->text);
    vmm_message_init(&failed.message, (enum vmm_message_type)BACKEND_MESSAGE_FAILED,
                     sizeof(failed));
    fd_message_send(BACKEND_CHANNEL_FD, &failed, sizeof(failed), NULL, 0, NULL);
}

void backend_process_run(struct backend_process *process)
{
    poller_run(&process->poller);
}
