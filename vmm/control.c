// SPDX-License-Identifier: Apache-2.0
// The control thread after lock-down: serves the supervisor's channel until the run ends.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fd_message.h"
#include "violation.h"
#include "vmm.h"

static uint64_t sum_exits(const struct vmm *vmm)
{
    uint64_t exits = 0;
    for (unsigned i = 0; i < vmm->config.vcpus; i++)
        exits += atomic_load_explicit(&vmm->vcpus[i].exits, memory_order_relaxed);
    return exits;
}

static struct vmm_port_status port_status(const struct port *port)
{
    const struct port_counters *counters = port_counters(port);
    return (struct vmm_port_status){
        .requests = atomic_load_explicit(&counters->requests, memory_order_relaxed),
        .completions = atomic_load_explicit(&counters->completions, memory_order_relaxed),
        .denied = atomic_load_explicit(&counters->denied, memory_order_relaxed),
        .bytes_in = atomic_load_explicit(&counters->bytes_in, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&counters->bytes_out, memory_order_relaxed),
        .anomalies = atomic_load_explicit(&counters->anomalies, memory_order_relaxed),
        .closed = atomic_load_explicit(&counters->closed, memory_order_relaxed),
        .anomaly_rule = atomic_load_explicit(&counters->anomaly_rule, memory_order_relaxed),
        .anomaly_descriptor =
            atomic_load_explicit(&counters->anomaly_descriptor, memory_order_relaxed),
    };
}

static int send_status(const struct vmm *vmm)
{
    struct vmm_status status = {
        .level = level_effective(vmm->level_supervisor, vmm->level_own),
        .port_count = vmm->config.port_count,
        .exits = sum_exits(vmm),
    };
    for (unsigned i = 0; i < vmm->config.port_count; i++)
        status.ports[i] = port_status(vmm->ports[i]);
    vmm_message_init(&status.message, VMM_MESSAGE_STATUS_REPLY, sizeof(status));
    return fd_message_send(vmm->channel, &status, sizeof(status), NULL, 0, NULL);
}

// Serves one message. Returns false if the run has to end.
static bool serve_channel(struct vmm *vmm)
{
    struct vmm_message message;
    size_t fd_count = 0;
    ssize_t length =
        fd_message_receive(vmm->channel, &message, sizeof(message), NULL, &fd_count, NULL);
    if (length <= 0)
        return false; // the supervisor is gone, or talks nonsense: the grace of `run` is 0
    switch (vmm_message_check(&message, (uint64_t)length)) {
    case VMM_MESSAGE_STATUS:
        return send_status(vmm) == 0;
    case VMM_MESSAGE_STOP:
    default:
        return false;
    }
}

static void finish(struct vmm *vmm)
{
    // Gate first: nothing that is under way reaches the guest or the supervisor any more, except
    // when the model ended by itself and its last words are already in the ring.
    vcpus_stop(vmm);
    poller_stop(&vmm->poller);
    struct vmm_end *end = &vmm->end;
    // All vCPUs have stopped: nobody fills a slot any more.
    if (atomic_load(&vmm->violated) == 2)
        *end = vmm->violation;
    else if (atomic_load(&vmm->ended) != 2)
        *end = (struct vmm_end){.kind = VMM_END_STOPPED, .vector = UINT32_MAX};
    if (!cell_verify(&vmm->cell)) {
        end->kind = VMM_END_VIOLATION;
        end->violation = VIOLATION_STATE;
    }
    end->first_exit_ns = atomic_load(&vmm->first_exit_ns);
    for (unsigned i = 0; i < vmm->config.port_count; i++) {
        struct vmm_port_status status = port_status(vmm->ports[i]);
        end->requests += status.requests;
        end->completions += status.completions;
        end->anomalies += status.anomalies;
    }
    vmm_message_init(&end->message, VMM_MESSAGE_END, sizeof(*end));
    fd_message_send(vmm->channel, end, sizeof(*end), NULL, 0, NULL);
}

int control_run(struct vmm *vmm)
{
    struct pollfd fds[2] = {
        {.fd = vmm->channel, .events = POLLIN},
        {.fd = vmm->control_fd, .events = POLLIN},
    };
    for (;;) {
        if (ppoll(fds, 2, NULL, NULL) < 0 && errno != EINTR)
            break;
        if (fds[1].revents || atomic_load(&vmm->ended))
            break;
        if (fds[0].revents && !serve_channel(vmm))
            break;
    }
    finish(vmm);
    return 0;
}
