// SPDX-License-Identifier: Apache-2.0
// Heads of messages between supervisor and VMM.
#include <criterion/criterion.h>
#include <string.h>

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
