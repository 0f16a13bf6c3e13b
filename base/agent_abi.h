// SPDX-License-Identifier: Apache-2.0
// What the supervisor and a Linux guest's agent say to each other: the messages of a port of kind
// "agent". Fields are little-endian. The agent is the model's: the supervisor believes nothing that
// it says.
#ifndef BASE_AGENT_ABI_H
#define BASE_AGENT_ABI_H

#include <stddef.h>
#include <stdint.h>

#define AGENT_FORMAT 1u

// Largest message, header included.
#define AGENT_MESSAGE_MAX 65536u

enum agent_message_type {
    // From the agent.
    AGENT_READY = 1,  // struct agent_ready: the guest is up
    AGENT_BEAT = 2,   // nothing: it is alive; each AGENT_BEAT_MS
    AGENT_OUTPUT = 3, // of session `id`: bytes of standard output
    AGENT_ERRORS = 4, // of session `id`: bytes of standard error
    AGENT_EXITED = 5, // of session `id`: struct agent_exit
    AGENT_RANGES = 6, // struct agent_range, one behind the other: the kernel's text and rodata
    // From the supervisor.
    AGENT_EXEC = 32,     // new session `id`: struct agent_exec, then strings
    AGENT_INPUT = 33,    // of session `id`: bytes for standard input; none: its end
    AGENT_SIGNAL = 34,   // of session `id`: 4 bytes, the signal's number
    AGENT_SHUTDOWN = 35, // orderly; 4 bytes: 0 power off, 1 reboot
    AGENT_SEALED = 36,   // 4 bytes: 0, or why the ranges were not sealed (an errno value)
};

#define AGENT_BEAT_MS 1000u

struct agent_message {
    uint16_t format; // AGENT_FORMAT
    uint16_t type;   // enum agent_message_type
    uint32_t length; // bytes that follow
    uint32_t id;     // of the session, or 0
    uint32_t pad;    // must be 0
};
_Static_assert(sizeof(struct agent_message) == 16, "ABI");

struct agent_ready {
    uint64_t uptime_ns; // of the guest's kernel when the agent was ready
    char version[48];   // of the agent; terminated
    char kernel[80];    // release and version; terminated
};
_Static_assert(sizeof(struct agent_ready) == 136, "ABI");

// `argument_count` terminated strings follow, then `environment_count`, then the directory.
struct agent_exec {
    uint32_t argument_count; // at least 1
    uint32_t environment_count;
    uint32_t user; // id
    uint32_t pad;
};
_Static_assert(sizeof(struct agent_exec) == 16, "ABI");

struct agent_exit {
    uint32_t status; // as of exit(3), or 128 plus the signal's number
    uint32_t pad;
};
_Static_assert(sizeof(struct agent_exit) == 8, "ABI");

enum agent_range_kind {
    AGENT_RANGE_TEXT = 1,
    AGENT_RANGE_RODATA = 2,
};

struct agent_range {
    uint64_t base; // guest-physical, whole pages
    uint64_t length;
    uint32_t kind; // enum agent_range_kind
    uint32_t pad;
};
_Static_assert(sizeof(struct agent_range) == 24, "ABI");

#endif
