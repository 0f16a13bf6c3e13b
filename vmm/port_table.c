// SPDX-License-Identifier: Apache-2.0
// The ports that a configuration grants.
#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(VMM_MAX_QUEUES == PORT_MAX_QUEUES, "one number of queues");
_Static_assert(VMM_MAX_PORTS <= POLLER_MAX_PORTS, "one poller can serve all ports");

// A backend failed: the control thread tells the supervisor. On a poller's thread.
static void report_event(void *context, unsigned port, enum vmm_port_event_kind event)
{
    struct vmm *vmm = context;
    uint64_t one = 1;
    atomic_store(&vmm->port_events[port], event);
    ssize_t ignored = write(vmm->control_fd, &one, sizeof(one));
    (void)ignored;
}

static int make_link(struct vmm *vmm, unsigned port, const struct port_backend *backend,
                     const int *fds, struct error *err)
{
    const struct backend_link_settings settings = {
        .backend = backend,
        .port = &vmm->config.ports[port],
        .port_index = port,
        .memory_fd = fds[VMM_PORT_FD_BACKEND_MEMORY],
        .wake_fd = fds[VMM_PORT_FD_BACKEND_WAKE],
        .fabric = &vmm_poller_of(vmm, port)->fabric,
        .report = report_event,
        .context = vmm,
    };
    return backend_link_init(&vmm->links[port], &settings, err);
}

// Finds the backend of a port, makes its state, and puts both into `settings`.
static int choose_backend(struct vmm *vmm, unsigned index, const int *fds,
                          struct port_settings *settings, struct error *err)
{
    const struct vmm_port_config *config = &vmm->config.ports[index];
    const struct port_backend *backend = vmm_backend_find(config, err);
    if (!backend)
        return -1;
    if (config->process) {
        if (make_link(vmm, index, backend, fds, err) < 0)
            return -1;
        settings->backend = &vmm->links[index].backend;
        settings->backend_state = &vmm->links[index];
        return 0;
    }
    settings->backend = backend;
    settings->backend_state =
        vmm_backend_make(&vmm->backends, &vmm->config.ports[index], index, fds, err);
    return settings->backend_state ? 0 : -1;
}

static int add_queues(struct vmm *vmm, unsigned index, struct error *err)
{
    const struct vmm_port_config *config = &vmm->config.ports[index];
    if (vmm->config.guest == VMM_GUEST_LINUX)
        return port_driver_attach(vmm->linux_guest.devices.drivers[index], vmm->ports[index], err);
    for (unsigned i = 0; i < config->queue_count; i++) {
        const struct cell_queue *place = &vmm->cell.queues[index][i];
        struct virtqueue queue;
        if (virtqueue_init(&queue, &vmm->cell.io_memory, (uint16_t)config->queue_size,
                           config->features, place->descriptors, place->available, place->used,
                           err) < 0 ||
            port_add_queue(vmm->ports[index], &queue, i % vmm->config.vcpus, err) < 0)
            return -1;
    }
    return 0;
}

int port_table_open_policy(struct vmm *vmm, int fd, struct error *err)
{
    if (!vmm->config.policy_bytes)
        return 0;
    const void *area = mmap(NULL, 2 * POLICY_MAX_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (area == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map the policy area");
    vmm->policy_area = area;
    // Both now: the control thread cannot ask for memory later.
    return policy_memory_open(&vmm->policy_memory[0], err) < 0 ||
                   policy_memory_open(&vmm->policy_memory[1], err) < 0
               ? -1
               : policy_table_open(&vmm->policy, area, vmm->config.policy_bytes, err);
}

bool port_table_use_policy(struct vmm *vmm, unsigned half, uint64_t bytes)
{
    struct policy_engine *engines[VMM_MAX_PORTS];
    struct policy_arrays arrays;
    struct error err;
    if (!vmm->policy_area || half > 1 || half == vmm->policy_half ||
        policy_table_open(&arrays, vmm->policy_area + half * (uint64_t)POLICY_MAX_BYTES, bytes,
                          &err) < 0)
        return false;
    policy_memory_reset(&vmm->policy_memory[half]);
    for (unsigned i = 0; i < vmm->config.port_count; i++) {
        engines[i] = port_make_engine(vmm->ports[i], &arrays, &vmm->policy_memory[half], &err);
        if (!engines[i])
            return false;
    }
    for (unsigned i = 0; i < vmm->config.port_count; i++)
        port_use_engine(vmm->ports[i], engines[i]);
    vmm->policy = arrays;
    vmm->policy_half = half;
    return true;
}

void port_table_escalate(void *context, uint16_t port, uint32_t level, uint32_t rule)
{
    struct vmm *vmm = context;
    uint64_t one = 1;
    uint32_t own = atomic_load(&vmm->level_own->level);
    if (level >= LEVEL_COUNT)
        level = LEVEL_OFFLINE;
    if (own >= level)
        return; // who raised it has said so
    while (own < level && !atomic_compare_exchange_weak(&vmm->level_own->level, &own, level))
        continue;
    // A level that waits to be reported is not talked down by a later one.
    uint64_t said = atomic_load(&vmm->escalations[port]);
    uint64_t news = (uint64_t)level << 32 | rule;
    while (said >> 32 < level &&
           !atomic_compare_exchange_weak(&vmm->escalations[port], &said, news))
        continue;
    ssize_t ignored = write(vmm->control_fd, &one, sizeof(one));
    (void)ignored;
}

static int create_one(struct vmm *vmm, unsigned index, const int *fds, struct error *err)
{
    const struct vmm_port_config *config = &vmm->config.ports[index];
    struct vmm_poller *poller = vmm_poller_of(vmm, index);
    struct port_settings settings = {
        .name = config->name,
        .index = (uint16_t)index,
        .operations = config->operations,
        .max_request_bytes = config->max_request_bytes,
        .max_reply_bytes = config->max_reply_bytes,
        .in_flight = config->in_flight,
        .closed_at_probation = config->closed_at_probation,
        .limits = &config->limits,
        .tight_request_bytes = config->tight_request_bytes,
        .tight_reply_bytes = config->tight_reply_bytes,
        .tight_limits = &config->tight_limits,
        .document = vmm->policy.table ? &vmm->policy : NULL,
        .document_memory = &vmm->policy_memory[0],
        .has_approvers = true,
        .decides_inward = true,
        .logs_payloads = config->audit != VMM_AUDIT_METADATA,
        .digests_only = config->audit == VMM_AUDIT_DIGEST,
    };
    if (choose_backend(vmm, index, fds, &settings, err) < 0)
        return -1;
    vmm->ports[index] = port_create(&poller->fabric, &settings, err);
    if (!vmm->ports[index] || add_queues(vmm, index, err) < 0 ||
        poller_add(&poller->poller, vmm->ports[index], err) < 0)
        return -1;
    if (vmm->config.guest == VMM_GUEST_LINUX)
        return 0; // its devices have doorbells
    return kvm_add_doorbell(&vmm->kvm, cell_doorbell_gpa(index), poller->doorbell_fd, err);
}

int port_table_create(struct vmm *vmm, const int *fds, struct error *err)
{
    for (unsigned i = 0; i < vmm->config.port_count; i++) {
        if (create_one(vmm, i, fds + vmm_config_port_fd(&vmm->config, i), err) < 0)
            return error_wrap(err, "port %s", vmm->config.ports[i].name);
    }
    return 0;
}
