// SPDX-License-Identifier: Apache-2.0
// How messages follow each other in the rings of a message port.
#ifndef POLICY_MESSAGE_FRAME_H
#define POLICY_MESSAGE_FRAME_H

#include <stdint.h>

// In front of each message; `length` bytes follow. Frames are published whole.
struct message_frame {
    uint32_t length;
    uint32_t reserved; // 0
};

#endif
