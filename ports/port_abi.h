// SPDX-License-Identifier: Apache-2.0
// The port ABI, shared with guests: request and reply headers, queue layout, port table.
//
// Queues are virtio 1.x split virtqueues (virtio 1.2, section 2.7). A request is one descriptor
// chain: device-readable bytes (header, payload), then device-writable bytes (reply header, reply
// payload). Fields are little-endian.
#ifndef PORT_ABI_H
#define PORT_ABI_H

#include <stddef.h>
#include <stdint.h>

#define PORT_ABI_VERSION 1

#define PORT_NAME_SIZE  32
#define PORT_MAX_QUEUES 16

enum port_kind {
    PORT_KIND_NONE = 0,
    PORT_KIND_CONSOLE = 1,  // standard input and output of `guillotine run`
    PORT_KIND_LOOPBACK = 2, // answers itself: for tests and measurements, no way out
    PORT_KIND_MESSAGE = 3,  // whole messages from and to an operator
    PORT_KIND_CLOCK = 4,
    PORT_KIND_ENTROPY = 5,
    PORT_KIND_LOG = 6,
    PORT_KIND_STORE = 7, // payloads of 7 to 10 are made of fields (base/port_fields_abi.h)
    PORT_KIND_HTTP = 8,
    PORT_KIND_TOOL = 9,
    PORT_KIND_SERVE = 10,
    PORT_KIND_BLOCK = 11,
    PORT_KIND_AGENT = 12, // messages between the supervisor and a Linux guest's agent
};

// In front of every request.
struct port_request_header {
    uint32_t operation; // of the port's kind
    uint32_t flags;     // must be 0
    uint64_t cookie;    // the guest's own; comes back in the reply and in the audit log
    uint32_t length;    // payload bytes that follow: exactly the readable bytes after the header
    uint32_t argument;  // of the operation, else 0
};
_Static_assert(sizeof(struct port_request_header) == 24, "ABI");
_Static_assert(offsetof(struct port_request_header, cookie) == 8, "ABI");
_Static_assert(offsetof(struct port_request_header, length) == 16, "ABI");

// In front of every reply.
struct port_reply_header {
    uint32_t status; // 0 or an errno value of Linux
    uint32_t length; // payload bytes that follow
    uint64_t cookie; // of the request
};
_Static_assert(sizeof(struct port_reply_header) == 16, "ABI");
_Static_assert(offsetof(struct port_reply_header, cookie) == 8, "ABI");

// Statuses that every port uses (Linux errno values, stated here because guests have no errno.h).
enum port_status {
    PORT_STATUS_OK = 0,
    PORT_STATUS_NOT_FOUND = 2,   // ENOENT: what the request names does not exist
    PORT_STATUS_FAILED = 5,      // EIO: the backend could not; its files are damaged, or full
    PORT_STATUS_DENIED = 13,     // EACCES: policy
    PORT_STATUS_INVALID = 22,    // EINVAL: operation or argument unknown
    PORT_STATUS_BROKEN = 32,     // EPIPE: nobody reads the other end any more
    PORT_STATUS_TOO_LARGE = 90,  // EMSGSIZE
    PORT_STATUS_LOST = 104,      // ECONNRESET: the backend died with the request; it may be done
    PORT_STATUS_CLOSED = 108,    // ESHUTDOWN: the gate is shut
    PORT_STATUS_TIMED_OUT = 110, // ETIMEDOUT: the backend did not answer; the request may be done
    PORT_STATUS_DOWN = 112,      // EHOSTDOWN: the backend is down; the request was not carried out
    PORT_STATUS_EXHAUSTED = 122, // EDQUOT: a lifetime total is used up
};

// Operations of the console.
enum console_operation {
    CONSOLE_WRITE = 1, // payload: bytes for standard output; the reply has no payload
    CONSOLE_READ = 2,  // argument: most bytes wanted; reply: at least 1 byte, or none at the end
};

#define CONSOLE_MAX_REQUEST 4096u
#define CONSOLE_MAX_REPLY   4096u

// Operations of a loopback.
enum loopback_operation {
    LOOPBACK_ECHO = 1,     // the reply is the payload, as far as it fits
    LOOPBACK_DISCARD = 2,  // takes the payload; the reply is empty
    LOOPBACK_GENERATE = 3, // argument: bytes wanted; the reply's byte i is i modulo 251
};

// Operations of a message port. Messages are never split or joined.
enum message_operation {
    MESSAGE_SEND = 1,    // payload: one message for the operator
    MESSAGE_RECEIVE = 2, // posts a buffer for the operator's next message; waits for it
};

// Operations of a clock. Time is that of the port's own ticks: it stands still between them.
enum clock_operation {
    CLOCK_PORT_NOW = 1,       // Unix time; reply: struct clock_reading
    CLOCK_PORT_MONOTONIC = 2, // time since the port was made; reply: struct clock_reading
};

struct clock_reading {
    uint64_t nanoseconds;   // a multiple of the resolution, rounded down, never less than before
    uint64_t resolution_ns; // from one tick to the next
};
_Static_assert(sizeof(struct clock_reading) == 16, "ABI");
_Static_assert(offsetof(struct clock_reading, resolution_ns) == 8, "ABI");

#define CLOCK_MAX_BYTES 64u // of a request or reply

// Operations of an entropy port.
enum entropy_operation {
    ENTROPY_READ = 1, // argument: bytes wanted, 1 to ENTROPY_MAX_BYTES; reply: as many
};

#define ENTROPY_MAX_BYTES 4096u

// Operations of a log.
enum log_operation {
    LOG_WRITE = 1, // argument: enum log_severity; payload: UTF-8 text, one message
};

#define LOG_MAX_BYTES 4096u

// Severities of log messages (those of RFC 5424).
enum log_severity {
    LOG_SEVERITY_EMERGENCY = 0,
    LOG_SEVERITY_ALERT = 1,
    LOG_SEVERITY_CRITICAL = 2,
    LOG_SEVERITY_ERROR = 3,
    LOG_SEVERITY_WARNING = 4,
    LOG_SEVERITY_NOTICE = 5,
    LOG_SEVERITY_INFORMATION = 6,
    LOG_SEVERITY_DEBUG = 7,
};

// Operations of a tool port. Payloads are made of fields (enum tool_field of port_fields_abi.h).
enum tool_operation {
    TOOL_LIST = 1, // argument: index of the first tool; reply: RESULT, a JSON array of the next
                   // tools that fit: {"name", "description", "inputSchema"}; empty behind the last
    TOOL_CALL = 2, // TOOL, ARGUMENTS (a JSON object); reply: RESULT {"content": TEXT, "isError"}
};

// Operations of a serve port. Payloads are made of fields (enum serve_field of port_fields_abi.h).
enum serve_operation {
    // Waits for the next call of a client on the host; reply: CALL, CLIENT?, KIND, ... TEXT. An
    // empty reply: there was none for a while, ask again. Status 13: policy denied what a client
    // sent.
    SERVE_RECEIVE = 1,
    // CALL, TEXT?: the next part of the reply, whole UTF-8 characters. Status 32: the client takes
    // no more of it, the call is over. Without TEXT it asks only for that.
    SERVE_PIECE = 2,
    // CALL, TEXT?, FINISH, PROMPT_TOKENS?, REPLY_TOKENS?: the rest of the reply, or all of it; the
    // call is over.
    SERVE_ANSWER = 3,
    // What a client sent, on its way to the model: no request of the model's, but what rules of
    // policy name.
    SERVE_PROMPT = 4,
};

// Operations of a store. Payloads are made of fields (enum store_field of port_fields_abi.h).
enum store_operation {
    STORE_GET = 1,    // NAME, OFFSET?, BYTES?; reply: BYTES of the whole object, DATA
    STORE_LIST = 2,   // NAME? (a prefix), AFTER?, LIMIT?; reply: DATA, AFTER if there is more
    STORE_SEARCH = 3, // QUERY, LIMIT?; reply: DATA
    STORE_PUT = 4,    // NAME, DATA, OFFSET? (the object's size: appends; without: replaces it)
    STORE_DELETE = 5, // NAME
};

// Names of objects: [A-Za-z0-9._/-], no part between slashes is empty, "." or "..".
#define STORE_NAME_MAX 255u

// Most bytes and words of a query, bytes of each of its words, and results of one request.
#define STORE_QUERY_MAX 1024u
#define STORE_WORDS_MAX 32u
#define STORE_WORD_MAX  128u
#define STORE_LIMIT_MAX 1000u

// Largest request of a store but for STORE_PUT.
#define STORE_MAX_REQUEST 2048u

// Operations of an http port. Payloads are made of fields (enum http_field of port_fields_abi.h).
enum http_operation {
    // METHOD, SCHEME, HOST, PORT, PATH, HEADERS?, BODY?; reply: STATUS, HEADERS, BODY: all of it.
    HTTP_FETCH = 1,
    HTTP_OPEN = 2,  // the same; reply: STATUS, HEADERS, STREAM, as soon as these are there
    HTTP_READ = 3,  // argument: a stream; reply: BODY, what is there of it; nothing at its end
    HTTP_CLOSE = 4, // argument: a stream, also after its end
};

#define HTTP_STREAMS_MAX 16u // open at once

// Operations of a block port. Payloads and replies begin with struct block_range.
enum block_operation {
    BLOCK_READ = 1,         // struct block_range; reply: its sectors
    BLOCK_WRITE = 2,        // struct block_range, then its sectors
    BLOCK_FLUSH = 3,        // nothing; answered when all that was written before is on the disk
    BLOCK_DISCARD = 4,      // struct block_range: its contents are not needed any more
    BLOCK_WRITE_ZEROES = 5, // struct block_range: reads as zeros from now on
};

#define BLOCK_SECTOR_BYTES 512u

struct block_range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t pad; // must be 0
};
_Static_assert(sizeof(struct block_range) == 16, "ABI");

// Largest request or reply of any port.
#define PORT_MAX_BYTES (1u << 20)

// Split virtqueue structures (virtio 1.2, sections 2.7.5, 2.7.6, 2.7.8).
struct virtq_descriptor {
    uint64_t address; // guest-physical
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
_Static_assert(sizeof(struct virtq_descriptor) == 16, "virtio 1.2, 2.7.5");

#define VIRTQ_DESCRIPTOR_NEXT     1u
#define VIRTQ_DESCRIPTOR_WRITE    2u
#define VIRTQ_DESCRIPTOR_INDIRECT 4u

struct virtq_used_element {
    uint32_t id;
    uint32_t length;
};
_Static_assert(sizeof(struct virtq_used_element) == 8, "virtio 1.2, 2.7.8");

// Offsets inside the available and used rings.
#define VIRTQ_RING_FLAGS   0u
#define VIRTQ_RING_INDEX   2u
#define VIRTQ_RING_ENTRIES 4u

// Bytes of a ring of `size` entries, with the event field at its end (virtio 1.2, 2.7.6, 2.7.8):
// used_event behind the available ring, avail_event behind the used ring.
#define VIRTQ_AVAILABLE_BYTES(size) (VIRTQ_RING_ENTRIES + (size)*2ull + 2)
#define VIRTQ_USED_BYTES(size)      (VIRTQ_RING_ENTRIES + (size)*8ull + 2)

#define VIRTQ_USED_NO_NOTIFY         1u // device: doorbells are not needed
#define VIRTQ_AVAILABLE_NO_INTERRUPT 1u // driver: event counts are not needed

#define VIRTQ_MAX_SIZE 1024u

// What a port's queues do beyond the minimum; set by the VM's configuration, not negotiated.
enum port_feature {
    PORT_FEATURE_INDIRECT = 1, // indirect descriptors are accepted (virtio 1.2, 2.7.5.3)
    PORT_FEATURE_EVENT_INDEX =
        2, // used_event and avail_event replace the ring flags (2.7.7, 2.7.10)
};

// Where one queue of a cell's port lies, in guest-virtual addresses of the I/O region.
struct port_queue_layout {
    uint64_t descriptors; // size * 16 bytes
    uint64_t available;   // VIRTQ_AVAILABLE_BYTES(size)
    uint64_t used;        // VIRTQ_USED_BYTES(size)
    uint32_t size;        // entries, a power of two
    uint32_t vcpu;        // whose event count the fabric raises on completion
};
_Static_assert(sizeof(struct port_queue_layout) == 32, "ABI");

// One granted port in the boot info page.
struct port_table_entry {
    char name[PORT_NAME_SIZE]; // terminated
    uint32_t kind;             // enum port_kind
    uint32_t queue_count;
    uint64_t doorbell;      // guest-virtual; an aligned 4-byte store of a queue index
    uint64_t buffers;       // guest-virtual; memory in the I/O region that is this port's own
    uint64_t buffers_bytes; // of it
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
    uint32_t features;  // enum port_feature, combined
    uint32_t in_flight; // requests that the port takes at once; more wait in the queue
    struct port_queue_layout queues[PORT_MAX_QUEUES];
};
_Static_assert(sizeof(struct port_table_entry) == 80 + 32 * PORT_MAX_QUEUES, "ABI");

#endif
