// SPDX-License-Identifier: Apache-2.0
// What supervisor and VMM say to each other: the launch configuration and control messages.
//
// The channel is a Unix SOCK_SEQPACKET pair; every message starts with struct vmm_message. The
// VMM trusts the supervisor's configuration but checks its bounds; the supervisor trusts nothing
// that the VMM says: numbers are range-checked and text is escaped.
#ifndef POLICY_VMM_PROTOCOL_H
#define POLICY_VMM_PROTOCOL_H

#include <stdint.h>

#include "level_order.h"
#include "port_limits.h"

#define VMM_PROTOCOL_FORMAT "guillotine-vmm/1"

#define VMM_MAX_VCPUS   16u
#define VMM_MAX_WEIGHTS 16u
#define VMM_MAX_PORTS   16u
#define VMM_MAX_QUEUES  16u // of one port
#define VMM_MAX_POLLERS 4u

// Descriptors that the VMM has when it starts: its end of the channel, and /dev/kvm, so that it
// can create the VM while the supervisor still reads the VM file.
#define VMM_CHANNEL_FD 3
#define VMM_KVM_FD     4

enum vmm_message_type {
    VMM_MESSAGE_CONFIG = 1, // supervisor: struct vmm_config and descriptors
    VMM_MESSAGE_READY = 2,  // VMM: locked down, about to enter the guest; struct vmm_ready
    VMM_MESSAGE_END = 3,    // VMM: the run ended; struct vmm_end
    VMM_MESSAGE_FAILED = 4, // VMM: could not launch; struct vmm_failed
    VMM_MESSAGE_STOP = 5,   // supervisor: stop all vCPUs and end
    VMM_MESSAGE_STATUS = 6, // supervisor: asks for struct vmm_status
    VMM_MESSAGE_STATUS_REPLY = 7,
    VMM_MESSAGE_PORT_ORDER = 8,  // supervisor: struct vmm_port_order
    VMM_MESSAGE_PORT_DONE = 9,   // VMM: the order is carried out; struct vmm_port_order
    VMM_MESSAGE_PORT_EVENT = 10, // VMM: struct vmm_port_event
    VMM_MESSAGE_LEVEL = 11,      // supervisor: struct vmm_level; its page was raised before
    VMM_MESSAGE_LEVEL_DONE = 12, // VMM: what has become true; struct vmm_level
    VMM_MESSAGE_GO = 13,      // supervisor: the running mark is durable; the model may be entered
    VMM_MESSAGE_BEAT = 14,    // supervisor: struct vmm_beat, which the control thread sends back
    VMM_MESSAGE_VERDICT = 15, // supervisor: struct vmm_verdict
    VMM_MESSAGE_POLICY = 16,  // supervisor: struct vmm_policy
    VMM_MESSAGE_POLICY_DONE = 17, // VMM: it is in force, or refused; struct vmm_policy
};

struct vmm_message {
    char format[24];
    uint32_t type;
    uint32_t size; // of the whole message
};

// Descriptors that come with VMM_MESSAGE_CONFIG: these; then for each poller the two of
// vmm_poller_fd, for each weights file one, for each port vmm_port_fd_count.
enum vmm_fd {
    VMM_FD_IMAGE,
    VMM_FD_MEMORY,           // empty memfd for guest memory; the VMM sizes and seals it
    VMM_FD_LEVEL_SUPERVISOR, // level page, not writable for the VMM
    VMM_FD_LEVEL_VMM,        // level page that the VMM writes
    VMM_FD_WAKE_SUPERVISOR,  // eventfd: pollers wake the supervisor
    VMM_FD_FORENSICS,        // memfd of forensic_area.h
    VMM_FD_POLICY,           // memfd of policy_bytes, or empty: see vmm_policy
    VMM_FD_POLLERS,
};

enum vmm_poller_fd {
    VMM_POLLER_FD_AUDIT, // audit ring: one writer each
    VMM_POLLER_FD_WAKE,  // eventfd: everybody else wakes this poller
    VMM_POLLER_FDS,
};

// Ports whose traffic the supervisor carries: a ring each way. Ports whose backend is a process:
// the memory shared with it (backend_protocol.h), and the eventfd that wakes it.
enum vmm_port_fd {
    VMM_PORT_FD_TO_HOST = 0,
    VMM_PORT_FD_FROM_HOST = 1,
    VMM_PORT_FD_BACKEND_MEMORY = 0,
    VMM_PORT_FD_BACKEND_WAKE = 1,
    VMM_PORT_FDS = 2,
};

// Data size of an audit ring whose ports log no payloads (see vmm_audit_ring_bytes).
#define VMM_AUDIT_RING_BYTES (1u << 20)

// Kinds of ports (ports/port_abi.h has the same numbers; vmm/port_table.c asserts it).
enum vmm_port_kind {
    VMM_PORT_CONSOLE = 1,
    VMM_PORT_LOOPBACK = 2,
    VMM_PORT_MESSAGE = 3,
    VMM_PORT_CLOCK = 4,
    VMM_PORT_ENTROPY = 5,
    VMM_PORT_LOG = 6,
    VMM_PORT_STORE = 7,
    VMM_PORT_HTTP = 8,
    VMM_PORT_TOOL = 9,
    VMM_PORT_SERVE = 10,
    VMM_PORT_BLOCK = 11,
    VMM_PORT_AGENT = 12,
};

enum vmm_port_mode {
    VMM_PORT_ADAPTIVE = 0, // polls, sleeps when idle, doorbell wakes
    VMM_PORT_BUSY = 1,     // always polls
    VMM_PORT_DOORBELL = 2, // never polls
};

// What of a port's payloads goes to the audit log at Standard. At Probation all of them do.
enum vmm_port_audit {
    VMM_AUDIT_METADATA = 0,
    VMM_AUDIT_DIGEST = 1, // SHA-256
    VMM_AUDIT_FULL = 2,
};

// The seeds below are in the configuration message only: whoever made or took them wipes them.
#define VMM_PORT_SEED_BYTES 32u

struct vmm_clock_options {
    uint64_t resolution_ns;     // whole milliseconds
    uint64_t jitter_ns;         // at most the resolution
    uint32_t quantises_replies; // 1: a request is answered at the next tick
    uint32_t pad;
    uint8_t seed[VMM_PORT_SEED_BYTES]; // of the jitter
};

struct vmm_entropy_options {
    uint32_t seeded; // 1: the VM file gives the seed, the bytes are not random
    uint32_t pad;
    uint8_t seed[VMM_PORT_SEED_BYTES];
};

// What the guest is told of a disk; the backend has it from its grant.
struct vmm_block_options {
    uint64_t sectors;
    uint32_t writable;
    uint32_t discards;
};

#define VMM_CLOCK_RESOLUTION_MIN_MS 1u
#define VMM_CLOCK_RESOLUTION_MAX_MS 3600000u

// Severities of a log's messages (ports/port_abi.h) end here.
#define VMM_LOG_SEVERITY_MAX 7u

// What some kinds of ports need beyond that. What is longer goes to the backend's process only
// (BACKEND_FD_SETTINGS).
union vmm_port_options {
    uint64_t words[8];
    struct vmm_clock_options clock;
    struct vmm_entropy_options entropy;
    struct vmm_block_options block;
};
_Static_assert(sizeof(union vmm_port_options) == 64, "format");

struct vmm_port_config {
    char name[32];
    uint32_t kind; // enum vmm_port_kind
    uint32_t mode; // enum vmm_port_mode
    uint64_t operations;
    uint32_t queue_size;
    uint32_t queue_count; // queue n raises events of vCPU n modulo the number of vCPUs
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
    uint32_t features;   // enum port_feature, combined
    uint32_t in_flight;  // requests between validation and completion
    uint32_t process;    // 1: the backend is a process of its own
    uint32_t timeout_ms; // of such a backend for one request
    uint32_t poller;     // index
    uint32_t closed_at_probation;
    uint32_t audit; // enum vmm_port_audit
    // What takes the place of max_*_bytes and limits at Probation, never looser.
    uint32_t tight_request_bytes;
    uint32_t tight_reply_bytes;
    uint32_t holds; // 1: rules of the policy document may hold its requests
    struct limits_config limits;
    struct limits_config tight_limits;
    union vmm_port_options options; // of the kind
};

// Most requests in flight at one port.
#define VMM_MAX_IN_FLIGHT 64u

struct vmm_weights_config {
    uint64_t bytes;
    uint32_t copy; // 1: private copy instead of a mapping of the file
    uint32_t pad;
};

enum vmm_guest {
    VMM_GUEST_CELL = 0,
    VMM_GUEST_LINUX = 1,
};

// A virtio device of a Linux guest, and the ports that it is the front of.
struct vmm_device_config {
    uint32_t type; // of virtio
    uint32_t port_count;
    uint8_t ports[VMM_MAX_PORTS]; // a console's first one is hvc0
};

#define VMM_MAX_DEVICES 16u

// Of a Linux guest, whose memory guillotine-loader has filled (base/linux_layout.h).
struct vmm_linux_config {
    uint32_t mode;     // enum linux_entry_mode
    uint32_t kvmclock; // 1: KVM's paravirtual clock; 0: none, the kernel has the TSC's rate only
    uint64_t instruction;
    uint64_t argument;
    uint32_t device_count;
    uint32_t debug_serial; // 1: a serial port whose output goes to the console
    struct vmm_device_config devices[VMM_MAX_DEVICES];
};

struct vmm_config {
    struct vmm_message message;
    uint32_t guest; // enum vmm_guest
    uint32_t pad;
    struct vmm_linux_config linux_guest;
    uint32_t vcpus;
    uint32_t port_count;
    uint32_t weights_count;
    uint32_t argument_count;
    uint32_t arguments_bytes;
    uint32_t poller_count;
    int32_t hypervisor_cpus[VMM_MAX_POLLERS]; // CPU of each poller, -1: not pinned
    int32_t model_cpus[VMM_MAX_VCPUS];        // CPU of each vCPU, -1: not pinned
    uint64_t memory_bytes;                    // of the model's RAM: image data, stacks, heap
    uint64_t doorbell_interval_ns;            // at most one re-arm of doorbells in this time
    uint64_t idle_spin_ns;                    // how long an adaptive poller polls before it sleeps
    uint64_t audit_records_per_s;             // most that the model can cause; 0: no limit
    uint64_t audit_burst;
    uint64_t policy_bytes;        // of the policy document as compiled; 0: there is none
    uint64_t heartbeat_period_ns; // longest silence of the other side
    uint32_t require;             // enum vmm_require
    uint32_t memory_flags;        // enum vmm_memory, combined
    uint8_t uuid[16];             // of the VM; orders name it
    uint64_t last_sequence;       // of the last accepted order; 0: none
    uint64_t orders_from_s;       // orders that lower and were issued before may be spent ones
    struct level_key_set key_set; // all zero: levels only rise
    struct vmm_port_config ports[VMM_MAX_PORTS];
    struct vmm_weights_config weights[VMM_MAX_WEIGHTS];
    // arguments_bytes of terminated strings follow.
};

enum vmm_memory {
    VMM_MEMORY_LOCKED = 1,   // in RAM, all of it from the start
    VMM_MEMORY_HUGE = 2,     // the kernel is asked for huge pages
    VMM_MEMORY_RESERVED = 4, // the memfd is of hugetlbfs
};

enum vmm_require {
    VMM_REQUIRE_NONE = 0,
    VMM_REQUIRE_BASIC = 1,
    VMM_REQUIRE_STRICT = 2,
};

#define VMM_ARGUMENTS_MAX 0x10000u
#define VMM_MESSAGE_MAX   (sizeof(struct vmm_config) + VMM_ARGUMENTS_MAX)

// Sandbox layers that the VMM could not get from the host (bits of missing_layers).
enum vmm_layer {
    VMM_LAYER_MOUNT_VIEW = 1u << 0,   // empty file system
    VMM_LAYER_CAPABILITIES = 1u << 2, // dropped and bounded
    VMM_LAYER_IDENTITY = 1u << 4,     // a user id without rights on the host
    VMM_LAYER_MSR_FILTER = 1u << 5,
    VMM_LAYER_PINNING = 1u << 6,
};

struct vmm_ready {
    struct vmm_message message;
    uint64_t isa;
    uint64_t entered_ns; // CLOCK_MONOTONIC just before the first KVM_RUN
    uint32_t missing_layers;
    uint32_t pad;
    int32_t vcpu_tids[VMM_MAX_VCPUS]; // threads that the supervisor may kick, in the VMM's process
};

enum vmm_end_kind {
    VMM_END_EXIT = 1,      // the model exited by itself
    VMM_END_VIOLATION = 2, // enum violation_kind in `violation`
    VMM_END_STOPPED = 3,   // on request
    VMM_END_FAULT = 4,     // the VMM itself failed
    VMM_END_WATCHDOG = 5,  // its watchdog: enum level_cause in `violation`
    VMM_END_REBOOT = 6,    // a Linux guest asked for a reset
};

struct vmm_end {
    struct vmm_message message;
    uint32_t kind;
    uint32_t vcpu;
    uint64_t exit_value; // as the model stored it
    uint32_t violation;  // enum violation_kind
    uint32_t vector;     // exception vector, or 0xffffffff
    uint64_t error_code;
    uint64_t address; // faulting data address
    uint64_t instruction;
    uint64_t exit_reason;   // of KVM
    uint64_t first_exit_ns; // CLOCK_MONOTONIC of the first exit of vCPU 0
    uint64_t requests;
    uint64_t completions;
    uint64_t anomalies;
};

struct vmm_failed {
    struct vmm_message message;
    uint32_t status; // enum exit_status
    uint32_t pad;
    char text[480]; // terminated
};

struct vmm_port_status {
    uint64_t requests;
    uint64_t completions;
    uint64_t denied;
    uint64_t bytes_in;  // from the model
    uint64_t bytes_out; // to the model
    uint64_t p50_ns;    // from validation to completion, waits included; 0: no request yet
    uint64_t p99_ns;
    uint32_t anomalies;
    uint32_t anomaly_rule; // enum queue_rule of the last anomaly
    uint32_t anomaly_descriptor;
    uint32_t state;     // enum vmm_port_state
    uint32_t in_flight; // taken and not completed
    uint32_t queued;    // published by the model and not taken, when last looked
};

enum vmm_port_state {
    VMM_PORT_OPEN = 0,
    VMM_PORT_CLOSED_ANOMALY = 1,  // by the fabric
    VMM_PORT_CLOSED_OPERATOR = 2, // on order
    VMM_PORT_DOWN = 3,            // open, but its backend is down
    VMM_PORT_SHUT = 4,            // open, but the level or a hold shuts the gate
};

const char *vmm_port_state_name(unsigned state);

// An order of the supervisor about one port; the answer repeats it once it is in force.
struct vmm_port_order {
    struct vmm_message message;
    uint32_t port;
    uint32_t action; // enum vmm_port_action
    uint32_t number; // of the order, repeated in the answer
    uint32_t pad;
};

enum vmm_port_action {
    VMM_PORT_ACTION_CLOSE = 1, // answered when no further byte reaches the model
    VMM_PORT_ACTION_OPEN = 2,
    VMM_PORT_ACTION_BACKEND_DOWN = 3, // answered when its memory is not touched any more
    VMM_PORT_ACTION_BACKEND_UP = 4,
};

// Another policy document. It lies in the policy area, two places of POLICY_MAX_BYTES each, not
// writable for the VMM; the first document is in the first. The answer repeats it.
struct vmm_policy {
    struct vmm_message message;
    uint64_t bytes;
    uint32_t half;
    uint32_t refused; // in the answer, 1: it is not sound, or too large; the old one stays
};

// The verdict on a request that a rule held. The VMM's next records say what became of it.
struct vmm_verdict {
    struct vmm_message message;
    uint32_t port;
    uint32_t approved;
    uint64_t request; // the fabric's number
};

// Something that the supervisor has to know of.
struct vmm_port_event {
    struct vmm_message message;
    uint32_t port;
    uint32_t event; // enum vmm_port_event_kind
    uint32_t level; // of VMM_PORT_EVENT_ESCALATED
    uint32_t rule;  // the same: enum policy_rule
};

enum vmm_port_event_kind {
    VMM_PORT_EVENT_HUNG = 1,      // the backend did not answer in time
    VMM_PORT_EVENT_BROKEN = 2,    // the backend broke the rules of its queue
    VMM_PORT_EVENT_ESCALATED = 3, // policy asks for a level, which is in the VMM's page already
};

struct vmm_status {
    struct vmm_message message;
    uint32_t level;
    uint32_t port_count;
    uint64_t exits; // KVM exits of all vCPUs
    struct vmm_port_status ports[VMM_MAX_PORTS];
};

// Descriptors that a port needs in the configuration message.
unsigned vmm_port_fd_count(const struct vmm_port_config *port);

// All descriptors of a configuration message.
unsigned vmm_config_fd_count(const struct vmm_config *config);

// Index of the first descriptor of a port.
unsigned vmm_config_port_fd(const struct vmm_config *config, unsigned port);

// Index of the first descriptor of a poller.
static inline unsigned vmm_config_poller_fd(unsigned poller)
{
    return VMM_FD_POLLERS + poller * VMM_POLLER_FDS;
}

// Index of the first weights descriptor.
static inline unsigned vmm_config_weights_fd(const struct vmm_config *config)
{
    return vmm_config_poller_fd(config->poller_count);
}

// Data size of a port's ring to the host, or from it: room for several of its largest messages.
uint64_t vmm_port_ring_bytes(const struct vmm_port_config *port, int to_host);

// Data size of an audit ring for records about these ports, a power of two: room for several of the
// largest payloads if any of them can go to the log. Both sides compute it from the configuration.
uint64_t vmm_audit_ring_bytes(const struct vmm_port_config *ports, unsigned count);

// A level that is in force, and what the VMM has verified: ports that let nothing through any more,
// vCPUs that are out of guest mode. Asked for below Offline only; above, the VMM is told to stop.
struct vmm_level {
    struct vmm_message message;
    uint32_t level;
    uint32_t hold;
    uint32_t number; // of the order, repeated in the answer
    uint32_t paused_vcpus;
    uint32_t quiet_pollers; // that have begun and ended a pass since
    uint32_t pad;
    uint64_t paused_ns; // boot-time clock: when the last vCPU was out of guest mode; 0: not paused
    uint64_t shut_ns;   // when the last poller had seen its gate shut; 0: not known
    uint64_t sequence;  // of the last order that the supervisor has accepted: older ones are void
};

// A heartbeat over the channel: shows that the control thread serves it.
struct vmm_beat {
    struct vmm_message message;
    uint64_t number; // from 1; repeated in the answer
};

// A level below the one that the VMM has confirmed comes with the order of the administrators that
// allows it (VMM_MESSAGE_LEVEL too). The VMM verifies it; if it finds it wanting, the supervisor
// has fallen.
struct vmm_lowering {
    struct vmm_level level;
    struct level_order order;
    uint32_t count;
    uint32_t pad;
    struct level_order_signature signatures[LEVEL_ORDER_MAX_SIGNATURES];
};

// Fills the common head of a message.
void vmm_message_init(struct vmm_message *message, enum vmm_message_type type, uint32_t size);

// Checks the head of a received message of `length` bytes: format, and that it says this length.
// Returns the type, or 0 if it is not a message of this protocol.
uint32_t vmm_message_check(const struct vmm_message *message, uint64_t length);

#endif
