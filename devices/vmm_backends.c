// SPDX-License-Identifier: Apache-2.0
// The table of port backends, and the states of those that run in the VMM.
#include "vmm_backends.h"

#include <string.h>

#include "block_port.h"
#include "http_port.h"
#include "loopback.h"
#include "serve_port.h"
#include "store_port.h"
#include "tool_port.h"

_Static_assert((int)VMM_PORT_CONSOLE == (int)PORT_KIND_CONSOLE, "one numbering of kinds");
_Static_assert((int)VMM_PORT_LOOPBACK == (int)PORT_KIND_LOOPBACK, "one numbering of kinds");
_Static_assert((int)VMM_PORT_MESSAGE == (int)PORT_KIND_MESSAGE, "one numbering of kinds");
_Static_assert((int)VMM_PORT_CLOCK == (int)PORT_KIND_CLOCK, "one numbering of kinds");
_Static_assert((int)VMM_PORT_ENTROPY == (int)PORT_KIND_ENTROPY, "one numbering of kinds");
_Static_assert((int)VMM_PORT_LOG == (int)PORT_KIND_LOG, "one numbering of kinds");
_Static_assert((int)VMM_PORT_HTTP == (int)PORT_KIND_HTTP, "one numbering of kinds");
_Static_assert((int)VMM_PORT_STORE == (int)PORT_KIND_STORE, "one numbering of kinds");
_Static_assert((int)VMM_PORT_SERVE == (int)PORT_KIND_SERVE, "one numbering of kinds");
_Static_assert((int)VMM_PORT_TOOL == (int)PORT_KIND_TOOL, "one numbering of kinds");
_Static_assert((int)VMM_PORT_BLOCK == (int)PORT_KIND_BLOCK, "one numbering of kinds");
_Static_assert((int)VMM_PORT_AGENT == (int)PORT_KIND_AGENT, "one numbering of kinds");
_Static_assert(VMM_LOG_SEVERITY_MAX == LOG_SEVERITY_DEBUG, "one numbering of severities");

// Makes the private state of a backend in the VMM for one port. Returns NULL and sets *err on
// failure.
typedef void *(*backend_state_maker)(struct vmm_backends *backends, struct vmm_port_config *config,
                                     unsigned port, const int *fds, struct error *err);

static int map_rings(const struct vmm_port_config *port, const int *fds,
                     struct shared_ring *to_host, struct shared_ring *from_host, struct error *err)
{
    if (shared_ring_map(to_host, fds[VMM_PORT_FD_TO_HOST], vmm_port_ring_bytes(port, 1), err) < 0)
        return -1;
    return shared_ring_map(from_host, fds[VMM_PORT_FD_FROM_HOST], vmm_port_ring_bytes(port, 0),
                           err);
}

static void *make_console(struct vmm_backends *backends, struct vmm_port_config *config,
                          unsigned port, const int *fds, struct error *err)
{
    (void)port;
    struct console *console = &backends->console;
    if (console->output.header) {
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "a VM has at most one console");
        return NULL;
    }
    if (map_rings(config, fds, &console->output, &console->input, err) < 0)
        return NULL;
    console->wake_fd = backends->wake_supervisor_fd;
    return console;
}

static void *make_message(struct vmm_backends *backends, struct vmm_port_config *config,
                          unsigned port, const int *fds, struct error *err)
{
    struct message *message = &backends->messages[port];
    if (map_rings(config, fds, &message->output, &message->input, err) < 0)
        return NULL;
    message->wake_fd = backends->wake_supervisor_fd;
    return message;
}

static void *make_clock(struct vmm_backends *backends, struct vmm_port_config *config,
                        unsigned port, const int *fds, struct error *err)
{
    struct vmm_clock_options *options = &config->options.clock;
    (void)port;
    (void)fds;
    if (backends->clock.clock) {
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "a VM has at most one clock");
        return NULL;
    }
    int result = clock_port_init(&backends->clock, options, &clock_host, err);
    explicit_bzero(options->seed, sizeof(options->seed));
    return result < 0 ? NULL : &backends->clock;
}

static void *make_entropy(struct vmm_backends *backends, struct vmm_port_config *config,
                          unsigned port, const int *fds, struct error *err)
{
    struct vmm_entropy_options *options = &config->options.entropy;
    (void)fds;
    (void)err;
    entropy_port_init(&backends->entropy[port], options->seed);
    explicit_bzero(options->seed, sizeof(options->seed));
    return &backends->entropy[port];
}

static void *make_loopback(struct vmm_backends *backends, struct vmm_port_config *config,
                           unsigned port, const int *fds, struct error *err)
{
    (void)config;
    (void)port;
    (void)fds;
    (void)err;
    return backends; // it has none, but NULL means failure
}

enum backend_place {
    IN_VMM = 1,
    IN_PROCESS = 2,
};

// Every backend that exists, and where it may run. A kind that is not here cannot be granted.
static const struct {
    const struct port_backend *backend;
    unsigned places;
    backend_state_maker make_state;
} table[] = {
    {&console_backend, IN_VMM, make_console},
    {&message_backend, IN_VMM, make_message},
    {&log_backend, IN_VMM, make_message},
    {&clock_backend, IN_VMM, make_clock},
    {&entropy_backend, IN_VMM, make_entropy},
    {&loopback_backend, IN_VMM | IN_PROCESS, make_loopback},
    {&block_port, IN_PROCESS, NULL},
    {&store_port, IN_PROCESS, NULL},
    {&http_port, IN_PROCESS, NULL},
    {&tool_port, IN_PROCESS, NULL},
    {&serve_port, IN_PROCESS, NULL},
};

const struct port_backend *vmm_backend_find(const struct vmm_port_config *config, struct error *err)
{
    size_t row = 0;
    while (row < sizeof(table) / sizeof(table[0]) &&
           (uint32_t)table[row].backend->kind != config->kind)
        row++;
    if (row == sizeof(table) / sizeof(table[0])) {
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "no backend for kind %u", config->kind);
        return NULL;
    }
    if (!(table[row].places & (config->process ? IN_PROCESS : IN_VMM))) {
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "a %s cannot run %s", table[row].backend->name,
                  config->process ? "in a process of its own" : "in the VMM");
        return NULL;
    }
    return table[row].backend;
}

void *vmm_backend_make(struct vmm_backends *backends, struct vmm_port_config *config, unsigned port,
                       const int *fds, struct error *err)
{
    size_t row = 0;
    while ((uint32_t)table[row].backend->kind != config->kind)
        row++;
    return table[row].make_state(backends, config, port, fds, err);
}
