// SPDX-License-Identifier: Apache-2.0
// The audit record: what the fabric writes to the audit ring and the supervisor to the log.
#ifndef POLICY_AUDIT_RECORD_H
#define POLICY_AUDIT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define AUDIT_FORMAT            "guillotine-audit/2"
#define AUDIT_FILE_HEADER_BYTES 128u

// The beginning of every log file, little-endian.
struct audit_file_header {
    char format[64];     // AUDIT_FORMAT, a newline, zeros
    uint64_t first_leaf; // records in the files before this one
    uint64_t index;      // of this file: 0, and n for NAME.audit.n
    uint8_t root[32];    // of the Merkle tree of all records before this file
    uint8_t zero[16];
};
_Static_assert(sizeof(struct audit_file_header) == AUDIT_FILE_HEADER_BYTES, "format");

enum audit_type {
    AUDIT_START = 1,      // the VM's first record
    AUDIT_REQUEST = 2,    // with the decision
    AUDIT_COMPLETION = 3, // the end of a request, whatever was decided
    AUDIT_ANOMALY = 4,    // a rule of the transport was broken; detail: enum queue_rule
    AUDIT_PORT_CLOSED = 5,
    AUDIT_LEVEL = 6,      // detail: the new level
    AUDIT_VIOLATION = 7,  // detail: enum violation_kind; argument: the address
    AUDIT_END = 8,        // detail: exit status
    AUDIT_BACKEND = 9,    // a backend process: detail: enum audit_backend_event; argument: restarts
    AUDIT_ORDER = 10,     // an operator's order: detail: enum audit_order
    AUDIT_PAYLOAD = 11,   // a piece of a payload follows; argument: its offset
    AUDIT_DIGEST = 12,    // SHA-256 of a payload follows
    AUDIT_MEASURE = 13,   // SHA-256 of something that was started or loaded follows
    AUDIT_QUORUM = 14,    // an order of administrators; its canonical text follows
    AUDIT_HEARTBEAT = 15, // lost; argument: age in ns
    AUDIT_STATE = 16,     // the state file was written; argument: generation; detail: level
    AUDIT_CONFIG = 17,
    AUDIT_ACTUATOR = 18, // detail: the event's kind plus 1; argument: the action; text follows
    AUDIT_FORENSIC = 19,
    AUDIT_SEAL = 20,    // the log's end: a signed checkpoint of all records before this one follows
    AUDIT_VERDICT = 21, // on a request that was held; detail: enum audit_verdict
    AUDIT_APPROVAL = 22, // an operator's word on it; its digest follows; detail: enum audit_verdict
    AUDIT_ALARM =
        23, // of a detector; argument: score; detail: level that it asks for; text follows
};

// Of AUDIT_CONFIG.
enum audit_config_detail {
    AUDIT_CONFIG_LEVEL_RESET = 1,
    AUDIT_CONFIG_KEY_SET = 2,    // another key set is in force; argument: its version
    AUDIT_CONFIG_CRASH_TAIL = 3, // the log ended without a checkpoint; argument: bytes cut away,
                                 // request: records behind the last checkpoint
};

enum audit_decision {
    AUDIT_DECISION_NONE = 0,
    AUDIT_DECISION_ALLOW = 1,
    AUDIT_DECISION_DENY = 2,
    AUDIT_DECISION_GATE = 3,     // the isolation level forbids it
    AUDIT_DECISION_REDACT = 4,   // allowed, with what a rule found blotted out
    AUDIT_DECISION_HOLD = 5,     // waits for somebody's approval
    AUDIT_DECISION_ESCALATE = 6, // denied, and a higher level
    AUDIT_DECISIONS,
};

enum audit_verdict {
    AUDIT_VERDICT_APPROVED = 1,
    AUDIT_VERDICT_REJECTED = 2,
    AUDIT_VERDICT_TIMED_OUT = 3,
};

// True for decisions that let a request, or its reply, pass.
static inline int audit_decision_passes(unsigned decision)
{
    return decision == AUDIT_DECISION_ALLOW || decision == AUDIT_DECISION_REDACT;
}

// Who wrote a record; stamped by the supervisor, by the ring that it came from.
enum audit_source {
    AUDIT_SOURCE_SUPERVISOR = 0,
    AUDIT_SOURCE_VMM = 1,
    AUDIT_SOURCE_BACKEND = 2,  // a port's backend process; `cookie` is the VMM's request number
    AUDIT_SOURCE_RECORDER = 3, // who writes the log file
};

enum audit_backend_event {
    AUDIT_BACKEND_UP = 1,
    AUDIT_BACKEND_DIED = 2,
    AUDIT_BACKEND_HUNG = 3,   // did not answer in time: killed
    AUDIT_BACKEND_BROKEN = 4, // broke the rules of its queue: killed
    AUDIT_BACKEND_GIVEN_UP = 5,
    AUDIT_BACKEND_CLOSED = 6, // ended with its port, on order
};

// Whose sign of life was missing (AUDIT_HEARTBEAT).
enum audit_heartbeat {
    AUDIT_HEARTBEAT_VMM = 1,
    AUDIT_HEARTBEAT_OPERATOR = 2,
    AUDIT_HEARTBEAT_SUPERVISOR = 3, // it did not run for too long, or the VMM says so
    AUDIT_HEARTBEAT_MACHINE = 4,    // uncorrected memory errors of the host; argument: how many
};

enum audit_order {
    AUDIT_ORDER_PORT_CLOSE = 1,
    AUDIT_ORDER_PORT_OPEN = 2,
    AUDIT_ORDER_MESSAGE = 3, // a message to the model; length: its bytes
};

// What an AUDIT_MEASURE record is the SHA-256 of.
enum audit_measure {
    AUDIT_MEASURE_VMM = 1,
    AUDIT_MEASURE_VM_FILE = 2,
    AUDIT_MEASURE_IMAGE = 3,
    AUDIT_MEASURE_WEIGHTS = 4, // argument: index
    AUDIT_MEASURE_BACKEND = 5,
    AUDIT_MEASURE_POLICY = 6, // the ports with their grants and limits, as the VMM gets them
};

enum audit_forensic {
    AUDIT_FORENSIC_IMAGE = 1,     // argument: bytes of the file
    AUDIT_FORENSIC_SCRUBBED = 2,  // argument: bytes overwritten and read back as zeros
    AUDIT_FORENSIC_DESTROYED = 3, // argument: keys
    AUDIT_FORENSIC_FAILED = 4,    // argument: which of the above
};

// Little-endian, written whole; some types have data behind it.
struct audit_record {
    uint32_t size;      // of the record: 80 and its data, padded with zeros to a multiple of 8
    uint16_t type;      // enum audit_type
    uint16_t port;      // index in the VM file's port list, 0xffff: none
    uint64_t sequence;  // in a ring the writer's, from 0, without gaps; in a log the record's index
    uint64_t now_ns;    // boot-time clock
    uint64_t wall_ns;   // Unix time; 0 until the supervisor stamps the record
    uint64_t request;   // the fabric's number of the request, from 1
    uint64_t cookie;    // the guest's
    uint64_t argument;  // of the operation or event
    uint32_t operation; // of the port's kind
    uint32_t length;    // payload bytes of the request or of the reply
    uint32_t status;    // of a completion
    uint32_t rule;      // that decided: enum policy_rule
    uint16_t decision;  // enum audit_decision
    uint8_t level;      // in force
    uint8_t source;     // enum audit_source
    uint32_t detail;    // by type
};
_Static_assert(sizeof(struct audit_record) == 80, "format");
_Static_assert(offsetof(struct audit_record, operation) == 56, "format");

#define AUDIT_NO_PORT 0xffffu

// Most bytes behind a record.
#define AUDIT_DATA_MAX   4096u
#define AUDIT_RECORD_MAX (sizeof(struct audit_record) + AUDIT_DATA_MAX)

// Most payload bytes behind one AUDIT_PAYLOAD record. In such a record `status` is the length of
// the whole payload, and `operation` is AUDIT_PIECE_DIGEST if only its digest belongs in the log. A
// piece without bytes only marks a place in the ring.
#define AUDIT_PIECE_BYTES AUDIT_DATA_MAX

enum audit_piece {
    AUDIT_PIECE_FULL = 0,
    AUDIT_PIECE_DIGEST = 1,
};

// What AUDIT_PAYLOAD is about: `detail` of such a record.
enum audit_direction {
    AUDIT_DIRECTION_REQUEST = 0,
    AUDIT_DIRECTION_REPLY = 1,
};

// A record with room for data.
struct audit_record_data {
    struct audit_record record;
    uint8_t data[AUDIT_DATA_MAX];
};

// Bytes of a record with `data` bytes behind it.
static inline uint64_t audit_record_bytes(uint64_t data)
{
    return sizeof(struct audit_record) + (data + 7) / 8 * 8;
}

// Bytes of all records that carry a payload of `length` bytes.
static inline uint64_t audit_payload_bytes(uint64_t length)
{
    uint64_t rest = length % AUDIT_PIECE_BYTES;
    return length / AUDIT_PIECE_BYTES * audit_record_bytes(AUDIT_PIECE_BYTES) +
           (rest ? audit_record_bytes(rest) : 0);
}

// Size of a record with `length` bytes of data, at most AUDIT_DATA_MAX.
static inline uint32_t audit_record_size(uint32_t length)
{
    return (uint32_t)audit_record_bytes(length);
}

// True if `size` is one that a record can have.
static inline int audit_size_is_valid(uint32_t size)
{
    return size >= sizeof(struct audit_record) && size <= AUDIT_RECORD_MAX && size % 8 == 0;
}

const char *audit_type_name(unsigned type);
const char *audit_decision_name(unsigned decision);
const char *audit_source_name(unsigned source);
const char *audit_backend_event_name(unsigned event);
const char *audit_order_name(unsigned order);
const char *audit_heartbeat_name(unsigned who);
const char *audit_verdict_name(unsigned verdict);

#endif
