// SPDX-License-Identifier: Apache-2.0
// What supervisor and recorder say to each other: records through a ring, the rest as messages.
#ifndef MONITOR_RECORDER_PROTOCOL_H
#define MONITOR_RECORDER_PROTOCOL_H

#include <stdint.h>

#include "audit_writer.h"

#define RECORDER_FORMAT     "guillotine-recorder/1"
#define RECORDER_CHANNEL_FD 3
#define RECORDER_FOLDER_FD  32 // the one folder in which it opens files
#define RECORDER_RING_BYTES (4u << 20)
#define RECORDER_LOG_SIZE   120u

// Descriptors that come with the configuration.
enum recorder_fd {
    RECORDER_FD_FOLDER,
    RECORDER_FD_LOG, // the first file, locked
    RECORDER_FD_KEY,
    RECORDER_FD_RING,
    RECORDER_FD_LEVEL, // the supervisor's page
    RECORDER_FD_WAKE_RECORDER,
    RECORDER_FD_WAKE_SUPERVISOR,
    RECORDER_FD_WITNESS, // only if there is one
    RECORDER_FDS,
};

// The supervisor's first message.
struct recorder_config {
    char format[32];
    char name[AUDIT_WRITER_NAME_SIZE];
    char log[RECORDER_LOG_SIZE]; // name without its ending: the checkpoints' origin ends in it
    char path[AUDIT_WRITER_PATH_SIZE];
    uint64_t rotate_bytes;
    uint64_t state_cookie; // of the VM, in its AUDIT_STATE records; 0: none
};

enum recorder_message_type {
    // From the supervisor.
    RECORDER_SYNC = 1,   // make durable what is in the ring
    RECORDER_FINISH = 2, // write what is in the ring, seal the log, end
    // From the recorder.
    RECORDER_READY = 3,    // value: bytes of the log; generation: in its last AUDIT_STATE, or 0
    RECORDER_SYNCED = 4,   // value: of the request
    RECORDER_FINISHED = 5, // its last word
    RECORDER_FAILED = 6,   // its last word; status, code, text
    RECORDER_PROGRESS = 7, // value: records read so far
};

struct recorder_message {
    uint32_t type;
    uint32_t status;
    int32_t code;
    uint32_t zero;
    uint64_t value;
    uint64_t generation;
    char text[512];
};

#endif
