// SPDX-License-Identifier: Apache-2.0
// The table of port backends, and the ports that a configuration grants.
#include "vmm.h"

_Static_assert((int)VMM_PORT_CONSOLE == (int)PORT_KIND_CONSOLE, "one numbering of kinds");

// Makes the private state of a backend for one port. Returns NULL and sets *err on failure.
typedef void *(*backend_state_maker)(struct vmm *vmm, const int *fds, struct error *err);

static void *make_console(struct vmm *vmm, const int *fds, struct error *err)
{
    struct console *console = &vmm->console;
    if (console->output.header) {
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "a VM has at most one console");
        return NULL;
    }
    if (shared_ring_map(&console->output, fds[VMM_FD_CONSOLE_OUT], VMM_CONSOLE_RING_BYTES, err) <
            0 ||
        shared_ring_map(&console->input, fds[VMM_FD_CONSOLE_IN], VMM_CONSOLE_RING_BYTES, err) < 0)
        return NULL;
    console->wake_fd = fds[VMM_FD_WAKE_SUPERVISOR];
    return console;
}

// Every backend that exists. A kind that is not here cannot be granted.
static const struct {
    const struct port_backend *backend;
    backend_state_maker make_state;
} backends[] = {
    {&console_backend, make_console},
};

static int create_one(struct vmm *vmm, unsigned index, const int *fds, struct error *err)
{
    const struct vmm_port_config *config = &vmm->config.ports[index];
    size_t row = 0;
    while (row < sizeof(backends) / sizeof(backends[0]) &&
           (uint32_t)backends[row].backend->kind != config->kind)
        row++;
    if (row == sizeof(backends) / sizeof(backends[0]))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "no backend for kind %u", config->kind);

    void *state = backends[row].make_state(vmm, fds, err);
    if (!state)
        return -1;
    const struct port_settings settings = {
        .name = config->name,
        .index = (uint16_t)index,
        .backend = backends[row].backend,
        .backend_state = state,
        .operations = config->operations,
        .max_request_bytes = config->max_request_bytes,
        .limits = &config->limits,
    };
    struct port *port = port_create(&vmm->fabric, &settings, err);
    if (!port)
        return -1;
    vmm->ports[index] = port;

    struct virtqueue queue;
    const struct cell *cell = &vmm->cell;
    if (virtqueue_init(&queue, &cell->io_memory, cell->queues[index].size,
                       cell->queues[index].descriptors, cell->queues[index].available,
                       cell->queues[index].used, err) < 0 ||
        port_add_queue(port, &queue, 0, err) < 0 || poller_add(&vmm->poller, port, err) < 0)
        return -1;
    return kvm_add_doorbell(&vmm->kvm, cell_doorbell_gpa(index), vmm->doorbell_fd, err);
}

int port_table_create(struct vmm *vmm, const int *fds, struct error *err)
{
    for (unsigned i = 0; i < vmm->config.port_count; i++) {
        if (create_one(vmm, i, fds, err) < 0)
            return error_wrap(err, "port %s", vmm->config.ports[i].name);
    }
    return 0;
}
