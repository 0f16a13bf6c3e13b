// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of an external detector: a process behind a Unix stream socket
// (docs/detectors.md has the protocol). Nothing here blocks; what it says is checked.
#ifndef MONITOR_DETECTOR_LINK_H
#define MONITOR_DETECTOR_LINK_H

#include "clock.h"
#include "detector.h"
#include "error.h"

#define DETECTOR_FORMAT "guillotine-detector/1"

// Each frame: its length without this header, its type; little-endian.
struct detector_frame {
    uint32_t length;
    uint32_t type; // enum detector_frame_type
};

enum detector_frame_type {
    DETECTOR_FRAME_HELLO = 1,  // to the detector: JSON
    DETECTOR_FRAME_RECORD = 2, // to the detector: a number (8 bytes), an audit record with its data
    DETECTOR_FRAME_VERDICT = 3, // from it: struct detector_verdict and text
};

// On all records up to a number.
struct detector_verdict {
    uint64_t number;
    uint32_t level; // 0: nothing to say; 1 to 3: an alarm
    uint32_t zero;
};
_Static_assert(sizeof(struct detector_verdict) == 16, "format");

#define DETECTOR_TEXT_MAX  120u
#define DETECTOR_QUEUE_MAX (4u << 20) // bytes that a detector may be behind

struct detector_link {
    const struct detector_external *settings; // NULL: none
    const struct clock *clock;
    int fd;
    bool failed;          // a record could not be queued
    uint64_t sent;        // number of the last record
    uint64_t seen;        // it has given its verdict up to here
    uint64_t progress_ns; // when `seen` last moved, or records began to wait
    uint8_t *queue;       // bytes that the socket has not taken
    size_t queued;
    size_t room;
    size_t used; // of `input`
    uint8_t
        input[sizeof(struct detector_frame) + sizeof(struct detector_verdict) + DETECTOR_TEXT_MAX];
};

// No detector.
void detector_link_init(struct detector_link *link);

// Connects, and sends the greeting (JSON).
int detector_link_open(struct detector_link *link, const struct detector_external *settings,
                       const struct clock *clock, const char *hello, struct error *err);

// Queues a record for it. Fails if it is too far behind.
int detector_link_record(struct detector_link *link, uint64_t number,
                         const struct audit_record *record, const void *data, struct error *err);

// Sends what the socket takes.
int detector_link_write(struct detector_link *link, struct error *err);

// Reads one verdict. Returns 1 and *level and `text` (printable) if it is an alarm, 0 if there is
// none (yet), -1 if it has gone or talks nonsense.
int detector_link_read(struct detector_link *link, uint32_t *level, char *text, size_t size,
                       struct error *err);

// When it has to have given its next verdict; UINT64_MAX: nothing waits for one.
uint64_t detector_link_deadline_ns(const struct detector_link *link);

void detector_link_close(struct detector_link *link);

#endif
