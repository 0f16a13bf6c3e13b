// SPDX-License-Identifier: Apache-2.0
// One backend process: started, watched, killed.
#include "backend_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend_launch.h"
#include "backend_protocol.h"
#include "cleanup.h"
#include "constant_memory.h"
#include "fd_message.h"
#include "paths.h"
#include "placement.h"
#include "spawn.h"

// How long a process may take from its start until it serves.
#define START_NS (10 * NS_PER_S)

void backend_process_init(struct backend_process *backend, unsigned port)
{
    *backend = (struct backend_process){
        .port = port, .pid = -1, .pidfd = -1, .channel = -1, .audit_fd = -1};
}

static int open_audit(struct backend_process *backend, const struct vmm_process *vmm,
                      struct error *err)
{
    uint64_t bytes = vmm_audit_ring_bytes(&vmm->config.ports[backend->port], 1);
    backend->audit_fd = shared_ring_create("guillotine-audit", bytes, err);
    if (backend->audit_fd < 0)
        return -1;
    backend->audit = (struct audit_ring){
        .source = AUDIT_SOURCE_BACKEND,
        .first_port = backend->port,
        .ports = 1,
    };
    return shared_ring_map(&backend->audit.ring, backend->audit_fd, bytes, err);
}

static void backend_launch_free(struct backend_launch *launch)
{
    if (launch->made) {
        explicit_bzero(launch->made, launch->length); // it may hold secrets
        free(launch->made);
    }
    for (unsigned i = 0; i < launch->fd_count; i++)
        close(launch->fds[i]);
}

// The program that serves a kind of port.
struct backend_program {
    uint32_t kind;
    const char *name;
    // Opens what the settings name: files go to launch->fds; other settings than the VM file's go
    // to launch->made, with `settings` and `length` set to them. NULL: nothing to do.
    int (*prepare)(struct backend_launch *launch, struct error *err);
};

static const struct backend_program *program_of(uint32_t kind)
{
    static const struct backend_program programs[] = {
        {VMM_PORT_LOOPBACK, "guillotine-backend", NULL}, // the first refuses what nobody knows
        {VMM_PORT_BLOCK, "guillotine-block", backend_block_prepare},
        {VMM_PORT_STORE, "guillotine-store", backend_store_prepare},
        {VMM_PORT_HTTP, "guillotine-http", backend_http_prepare},
        {VMM_PORT_TOOL, "guillotine-tool", backend_tool_prepare},
        {VMM_PORT_SERVE, "guillotine-serve", backend_serve_prepare},
    };
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        if (programs[i].kind == kind)
            return &programs[i];
    }
    return &programs[0];
}

static int spawn(struct backend_process *backend, const char *program, struct error *err)
{
    char path[PATH_MAX];
    cleanup_fd int remote = -1;
    if (paths_sibling(program, path, err) < 0 || spawn_channel(&backend->channel, &remote, err) < 0)
        return -1;
    const struct spawn_request request = {
        .path = path,
        .name = program,
        .fds = {[BACKEND_CHANNEL_FD - 3] = remote},
        .fd_count = 1,
        .wait = 1,
    };
    backend->pid = spawn_program(&request, &backend->pidfd, err);
    return backend->pid < 0 ? -1 : 0;
}

static int send_config(const struct backend_process *backend, const struct vmm_process *vmm,
                       const struct backend_launch *launch, const struct policy_document *policy,
                       struct error *err)
{
    cleanup_fd int settings_fd =
        constant_memory_make("guillotine-settings", launch->settings, launch->length, err);
    cleanup_fd int policy_fd =
        constant_memory_make("guillotine-policy", policy->memory, policy->bytes, err);
    if (settings_fd < 0 || policy_fd < 0)
        return -1;
    const struct vmm_port_config *port = &vmm->config.ports[backend->port];
    struct backend_config config = {
        .port_index = backend->port,
        .extra_fds = launch->fd_count,
        .port = *port,
        .requests_used = backend->requests_used,
        .bytes_used = backend->bytes_used,
        .reply_bytes_used = backend->reply_bytes_used,
    };
    // The VMM meters what goes to the model. A process that waited for a rate would look as if it
    // hung; the totals bind it too.
    config.port.limits.reply_bytes_per_s = config.port.tight_limits.reply_bytes_per_s = 0;
    int fds[BACKEND_FDS + BACKEND_MAX_EXTRA_FDS] = {
        [BACKEND_FD_MEMORY] = vmm->ports[backend->port][VMM_PORT_FD_BACKEND_MEMORY],
        [BACKEND_FD_LEVEL_SUPERVISOR] = vmm->level_supervisor_fd,
        [BACKEND_FD_LEVEL_VMM] = vmm->level_vmm_fd,
        [BACKEND_FD_AUDIT_RING] = backend->audit_fd,
        [BACKEND_FD_WAKE_BACKEND] = vmm->ports[backend->port][VMM_PORT_FD_BACKEND_WAKE],
        [BACKEND_FD_WAKE_VMM] = vmm->wake_vmm[port->poller],
        [BACKEND_FD_WAKE_SUPERVISOR] = vmm->wake_supervisor,
        [BACKEND_FD_SETTINGS] = settings_fd,
        [BACKEND_FD_POLICY] = policy_fd,
    };
    memcpy(&fds[BACKEND_FDS], launch->fds, launch->fd_count * sizeof(fds[0]));
    vmm_message_init(&config.message, (enum vmm_message_type)BACKEND_MESSAGE_CONFIG,
                     sizeof(config));
    return fd_message_send(backend->channel, &config, sizeof(config), fds,
                           BACKEND_FDS + launch->fd_count, err);
}

static int launch(struct backend_process *backend, const struct vmm_process *vmm,
                  const struct vm_settings *settings, const struct policy_document *policy,
                  uint64_t *start_ns, struct error *err)
{
    const struct backend_program *program = program_of(vmm->config.ports[backend->port].kind);
    struct backend_launch launch = {.settings = settings->bytes, .length = settings->length};
    int result = -1;
    if ((!program->prepare || program->prepare(&launch, err) == 0) &&
        open_audit(backend, vmm, err) == 0 && spawn(backend, program->name, err) == 0)
        result = send_config(backend, vmm, &launch, policy, err);
    *start_ns = launch.start_ns ? launch.start_ns : START_NS;
    backend_launch_free(&launch);
    return result;
}

int backend_process_start(struct backend_process *backend, const struct vmm_process *vmm,
                          const struct vm_settings *settings, const struct policy_document *policy,
                          struct error *err)
{
    uint64_t start_ns;
    backend->cause = 0;
    if (launch(backend, vmm, settings, policy, &start_ns, err) < 0) {
        backend_process_reap(backend);
        backend_process_close_audit(backend);
        return error_wrap(err, "backend of port %s", vmm->config.ports[backend->port].name);
    }
    placement_leave_model_cores(&vmm->config, backend->pid);
    backend->start_deadline_ns = clock_now_ns(&clock_host) + start_ns;
    backend->phase = BACKEND_STARTING;
    return 0;
}

void backend_process_kill(struct backend_process *backend, enum audit_backend_event cause)
{
    if (backend->pid <= 0)
        return;
    if (!backend->cause)
        backend->cause = cause;
    kill(backend->pid, SIGKILL); // ours until it is reaped: the number cannot be reused
}

void backend_process_reap(struct backend_process *backend)
{
    if (backend->pid > 0) {
        kill(backend->pid, SIGKILL);
        while (waitpid(backend->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (backend->pidfd >= 0)
        close(backend->pidfd);
    if (backend->channel >= 0)
        close(backend->channel);
    backend->pid = backend->pidfd = backend->channel = -1;
}

void backend_process_close_audit(struct backend_process *backend)
{
    backend->requests_used += backend->audit.requests;
    backend->bytes_used += backend->audit.bytes;
    backend->reply_bytes_used += backend->audit.reply_bytes;
    shared_ring_unmap(&backend->audit.ring);
    backend->audit = (struct audit_ring){0};
    if (backend->audit_fd >= 0)
        close(backend->audit_fd);
    backend->audit_fd = -1;
}
