// SPDX-License-Identifier: Apache-2.0
// Heads of messages between supervisor and VMM.
#include <criterion/criterion.h>
#include <string.h>

#include "audit_record.h"
#include "support.h"
#include "vmm_protocol.h"

Test(vmm_protocol, init_and_check)
{
    struct vmm_message message;
    memset(&message, 0xa5, sizeof(message));
    vmm_message_init(&message, VMM_MESSAGE_STOP, sizeof(message));
    cr_expect_eq(vmm_message_check(&message, sizeof(message)), (uint32_t)VMM_MESSAGE_STOP);
    // All of the format field is defined: nothing of the stack leaves the process.
    for (size_t i = strlen(VMM_PROTOCOL_FORMAT); i < sizeof(message.format); i++)
        cr_expect_eq(message.format[i], 0);
}

Test(vmm_protocol, length_and_size_agree)
{
    struct vmm_message message;
    static const uint64_t lengths[] = {
        0, 1, 23, 24, 31, 32, 33, 64, 1ull << 32, (1ull << 32) + 32, UINT64_MAX};
    static const uint32_t sizes[] = {0, 31, 32, 33, 64, UINT32_MAX};
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t k = 0; k < COUNT(sizes); k++) {
            vmm_message_init(&message, VMM_MESSAGE_READY, sizes[k]);
            bool good = lengths[i] >= sizeof(message) && lengths[i] == sizes[k];
            cr_expect_eq(vmm_message_check(&message, lengths[i]) != 0, good, "%llu, %u",
                         (unsigned long long)lengths[i], sizes[k]);
        }
}

// Any other byte in the format is another protocol, the bytes after its end included.
Test(vmm_protocol, every_byte_of_the_format)
{
    struct vmm_message message;
    for (size_t i = 0; i < sizeof(message.format); i++) {
        vmm_message_init(&message, VMM_MESSAGE_END, sizeof(message));
        message.format[i] ^= 1;
        cr_expect_eq(vmm_message_check(&message, sizeof(message)), 0u, "byte %zu", i);
    }
}

Test(vmm_protocol, messages_fit_the_channel)
{
    cr_expect_geq(VMM_MESSAGE_MAX, sizeof(struct vmm_config));
    cr_expect_geq(VMM_MESSAGE_MAX, sizeof(struct vmm_port_order));
    cr_expect_geq(VMM_MESSAGE_MAX, sizeof(struct vmm_port_event));
    cr_expect_geq(VMM_MESSAGE_MAX, sizeof(struct vmm_status));
    cr_expect_geq(VMM_MESSAGE_MAX, sizeof(struct vmm_end));
    cr_expect_geq(VMM_MESSAGE_MAX, sizeof(struct vmm_failed));
}

// Descriptors of a configuration message, as they are counted on both sides: each has one index,
// without gaps.
Test(vmm_protocol, descriptors_have_their_places)
{
    struct random random = random_start(69);
    for (int round = 0; round < 2000; round++) {
        struct vmm_config config = {
            .poller_count = 1 + random_below(&random, VMM_MAX_POLLERS),
            .weights_count = random_below(&random, VMM_MAX_WEIGHTS + 1),
            .port_count = random_below(&random, VMM_MAX_PORTS + 1),
        };
        unsigned next = VMM_FD_POLLERS;
        for (unsigned i = 0; i < config.poller_count; i++, next += VMM_POLLER_FDS)
            cr_assert_eq(vmm_config_poller_fd(i), next);
        cr_assert_eq(vmm_config_weights_fd(&config), next);
        next += config.weights_count;
        for (unsigned i = 0; i < config.port_count; i++) {
            struct vmm_port_config *port = &config.ports[i];
            port->kind = VMM_PORT_CONSOLE + random_below(&random, 3);
            port->process = port->kind == VMM_PORT_LOOPBACK && random_chance(&random, 50);
            // A loopback in the VMM shares nothing with anybody.
            unsigned count = port->kind == VMM_PORT_LOOPBACK && !port->process ? 0 : 2;
            cr_assert_eq(vmm_port_fd_count(port), count);
            cr_assert_eq(vmm_config_port_fd(&config, i), next);
            next += count;
        }
        cr_assert_eq(vmm_config_fd_count(&config), next);
    }
}

// The largest configuration fits what one message can carry (SCM_MAX_FD).
Test(vmm_protocol, descriptors_fit_a_message)
{
    struct vmm_config config = {.poller_count = VMM_MAX_POLLERS,
                                .weights_count = VMM_MAX_WEIGHTS,
                                .port_count = VMM_MAX_PORTS};
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++)
        config.ports[i].kind = VMM_PORT_MESSAGE;
    cr_expect_leq(vmm_config_fd_count(&config), 253u);
}

// A ring holds several of a port's largest messages, whatever is granted.
Test(vmm_protocol, rings_hold_four_messages)
{
    struct random random = random_start(70);
    for (int round = 0; round < 2000; round++) {
        struct vmm_port_config port = {
            .max_request_bytes = random_below(&random, (1u << 20) + 1),
            .max_reply_bytes = random_below(&random, (1u << 20) + 1),
        };
        for (int to_host = 0; to_host < 2; to_host++) {
            uint64_t largest = to_host ? port.max_request_bytes : port.max_reply_bytes;
            uint64_t bytes = vmm_port_ring_bytes(&port, to_host);
            cr_assert_geq(bytes, 4 * largest);
            cr_assert_geq(bytes, 65536u);
            cr_assert_leq(bytes, largest * 8 > 65536 ? largest * 8 : 65536);
            cr_assert_eq(bytes & (bytes - 1), 0u);
        }
    }
}

// An audit ring has room for four times the largest payloads that can go to the log, and is as
// small as ever if none can.
Test(vmm_protocol, audit_rings)
{
    struct random random = random_start(71);
    struct vmm_port_config ports[3] = {{.closed_at_probation = 1, .max_request_bytes = 1u << 20},
                                       {.closed_at_probation = 1, .max_reply_bytes = 1u << 20}};
    cr_expect_eq(vmm_audit_ring_bytes(ports, 0), VMM_AUDIT_RING_BYTES);
    cr_expect_eq(vmm_audit_ring_bytes(ports, 2), VMM_AUDIT_RING_BYTES);
    for (int round = 0; round < 2000; round++) {
        ports[2] = (struct vmm_port_config){
            .closed_at_probation = random_below(&random, 2),
            .audit = random_below(&random, 3),
            .max_request_bytes = random_below(&random, (1u << 20) + 1),
            .max_reply_bytes = random_below(&random, (1u << 20) + 1),
        };
        bool logs = !ports[2].closed_at_probation || ports[2].audit;
        uint64_t bytes = vmm_audit_ring_bytes(ports, 3);
        uint64_t largest = audit_payload_bytes(ports[2].max_request_bytes) +
                           audit_payload_bytes(ports[2].max_reply_bytes);
        cr_assert_eq(bytes & (bytes - 1), 0u);
        if (logs) {
            cr_assert_geq(bytes, 4 * largest);
            cr_assert_geq(bytes, 4u << 20);
        } else {
            cr_assert_eq(bytes, VMM_AUDIT_RING_BYTES);
        }
        cr_assert_leq(bytes, 32u << 20);
    }
}

Test(vmm_protocol, names_of_states)
{
    cr_expect_str_eq(vmm_port_state_name(VMM_PORT_OPEN), "open");
    cr_expect_str_eq(vmm_port_state_name(VMM_PORT_CLOSED_ANOMALY), "closed-anomaly");
    cr_expect_str_eq(vmm_port_state_name(VMM_PORT_CLOSED_OPERATOR), "closed");
    cr_expect_str_eq(vmm_port_state_name(VMM_PORT_DOWN), "down");
    cr_expect_str_eq(vmm_port_state_name(VMM_PORT_SHUT), "shut");
    cr_expect_str_eq(vmm_port_state_name(99), "unknown");
    cr_expect_str_eq(vmm_port_state_name(UINT32_MAX), "unknown");
}
