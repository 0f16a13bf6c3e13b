// SPDX-License-Identifier: Apache-2.0
// How messages follow each other in the rings of a message port, or of a log.
#ifndef POLICY_MESSAGE_FRAME_H
#define POLICY_MESSAGE_FRAME_H

#include <stdint.h>

// In front of each message; `length` bytes follow. Frames are published whole.
struct message_frame {
    uint32_t length;
    uint32_t severity; // of a log's message, else 0
};

#endif
