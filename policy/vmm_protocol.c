// SPDX-License-Identifier: Apache-2.0
// Heads of the messages between supervisor and VMM.
#include "vmm_protocol.h"

#include <stdbool.h>
#include <string.h>

#include "audit_record.h"

void vmm_message_init(struct vmm_message *message, enum vmm_message_type type, uint32_t size)
{
    *message = (struct vmm_message){.format = VMM_PROTOCOL_FORMAT, .type = type, .size = size};
}

uint32_t vmm_message_check(const struct vmm_message *message, uint64_t length)
{
    static const char format[sizeof(message->format)] = VMM_PROTOCOL_FORMAT;
    if (length < sizeof(*message) || message->size != length ||
        memcmp(message->format, format, sizeof(format)))
        return 0;
    return message->type;
}

const char *vmm_port_state_name(unsigned state)
{
    static const char *const names[] = {"open", "closed-anomaly", "closed", "down", "shut"};
    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

unsigned vmm_port_fd_count(const struct vmm_port_config *port)
{
    bool alone = port->kind == VMM_PORT_LOOPBACK || port->kind == VMM_PORT_CLOCK ||
                 port->kind == VMM_PORT_ENTROPY;
    return alone && !port->process ? 0 : VMM_PORT_FDS;
}

unsigned vmm_config_port_fd(const struct vmm_config *config, unsigned port)
{
    unsigned index = vmm_config_weights_fd(config) + config->weights_count;
    for (unsigned i = 0; i < port; i++)
        index += vmm_port_fd_count(&config->ports[i]);
    return index;
}

unsigned vmm_config_fd_count(const struct vmm_config *config)
{
    return vmm_config_port_fd(config, config->port_count);
}

uint64_t vmm_port_ring_bytes(const struct vmm_port_config *port, int to_host)
{
    uint64_t largest = to_host ? port->max_request_bytes : port->max_reply_bytes;
    uint64_t bytes = 64u << 10;
    while (bytes < largest * 4)
        bytes *= 2;
    return bytes;
}

uint64_t vmm_audit_ring_bytes(const struct vmm_port_config *ports, unsigned count)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct vmm_port_config *port = &ports[i];
        if (port->closed_at_probation && port->audit == VMM_AUDIT_METADATA && !port->holds)
            continue;
        uint64_t both = audit_payload_bytes(port->max_request_bytes) +
                        audit_payload_bytes(port->max_reply_bytes);
        if (both > largest)
            largest = both;
    }
    if (!largest)
        return VMM_AUDIT_RING_BYTES;
    uint64_t bytes = 4ull * VMM_AUDIT_RING_BYTES;
    while (bytes < 4 * largest)
        bytes *= 2;
    return bytes;
}
