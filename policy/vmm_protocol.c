// SPDX-License-Identifier: Apache-2.0
// Heads of the messages between supervisor and VMM.
#include "vmm_protocol.h"

#include <string.h>

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
