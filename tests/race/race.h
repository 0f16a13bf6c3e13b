// SPDX-License-Identifier: Apache-2.0
// The race harness: the real fabric against a guest whose second vCPU changes everything while the
// host reads it.
//
// Threads: the driver publishes hostile requests, the mutator changes guest memory without pause,
// the fabric serves, the reader checks the audit log. A request is known by its port and number;
// what policy was given is hashed, and compared with what the backend gets and the log says.
#ifndef TESTS_RACE_RACE_H
#define TESTS_RACE_RACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "poller.h"
#include "port_internal.h"
#include "queue_rule.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// The guest's I/O region, and a second one that is large enough for chains of more than 2^32 bytes;
// of that one, next to nothing is ever touched.
#define IO_BASE    0x10000000ull
#define IO_BYTES   (RACE_PORTS * PORT_BYTES)
#define HUGE_BASE  0x100000000ull
#define HUGE_BYTES (1ull << 30)

// Many ports: the more there is to do for each thread before it has to wait for another one, the
// less the run depends on how many CPUs there are and who else uses them.
#define RACE_PORTS 48u

// One guest port's part of the I/O region.
#define PORT_BYTES      0x18000u
#define AVAILABLE_AT    0x800u
#define USED_AT         0x1000u
#define TABLES_AT       0x2000u
#define TABLE_BYTES     0x400u
#define BUFFERS_AT      0x8000u
#define SLOT_BYTES      0x3000u // request at 0, reply at REPLY_AT
#define REPLY_AT        0x2000u
#define RACE_SLOTS      5u
#define SLOT_PARTS      3u // descriptors of one slot
#define MAX_REQUEST     2048u
#define MAX_REPLY       1024u
#define RACE_IN_FLIGHT  16u
#define RACE_MAX_TABLES 40u // descriptors in an indirect table

enum race_operation {
    OPERATION_ECHO = 1,
    OPERATION_PEND = 2,  // answers after a few passes
    OPERATION_READ = 3,  // answers `argument` bytes
    OPERATION_TIGHT = 4, // takes less than the grant
    OPERATION_SECRET = 5 // of the backend, but not granted
};
#define TIGHT_BYTES 64u

// What is wrong with a request. Each is injected by the driver, at the end of a batch if it closes
// the port, and counted when the fabric's verdict is the one that it must be.
enum race_class {
    CLASS_INDEX_JUMP,
    CLASS_HEAD_RANGE,
    CLASS_HEAD_IN_FLIGHT,
    CLASS_NEXT_RANGE,
    CLASS_LOOP,
    CLASS_FLAGS,
    CLASS_ORDER,
    CLASS_EMPTY,
    CLASS_ADDRESS,
    CLASS_WRAP,
    CLASS_TOTAL_LENGTH,
    CLASS_SHORT_HEADER,
    CLASS_HEADER_LENGTH,
    CLASS_REPLY_HEADER,
    CLASS_RESERVED,
    CLASS_SEGMENTS,
    CLASS_INDIRECT_EMPTY,
    CLASS_INDIRECT_RAGGED,
    CLASS_INDIRECT_LONG,
    CLASS_INDIRECT_NEXT,
    CLASS_INDIRECT_NESTED,
    CLASS_INDIRECT_TABLE,
    CLASS_CLOSING, // how many of them close the port
    // Counted by policy's verdict.
    CLASS_NOT_GRANTED = CLASS_CLOSING,
    CLASS_TOO_LARGE,
    // Counted where the guest's memory was found to differ from the copy that policy decided on.
    CLASS_MUTATED_DESCRIPTOR,
    CLASS_MUTATED_HEADER,
    CLASS_MUTATED_PAYLOAD,
    CLASS_COUNT,
};

struct race_class_rule {
    const char *name;
    enum queue_rule rule; // of a class that closes the port
};
extern const struct race_class_rule race_classes[CLASS_COUNT];

// A place that the mutator toggles between two values, mostly a good and a bad one. Each field is
// an atomic and the mutator masks them: a torn reading of one still points into guest memory.
struct race_toggle {
    _Atomic uint32_t offset; // in the I/O region
    _Atomic uint32_t width;
    _Atomic uint64_t values[2];
};

#define RACE_TOGGLES 2u

struct race_plan {
    _Atomic uint32_t count;
    struct race_toggle toggles[RACE_TOGGLES];
};

// What the wrappers saw of one request. Written by the thread that serves the port, read by the
// reader once the audit ring has shown it the record.
struct race_sight {
    uint64_t number;
    uint64_t hash; // of what policy was given
    struct port_request_header header;
    enum policy_outcome outcome;
    enum policy_rule rule;
    bool submitted;
    bool done;
    uint32_t status;
    uint32_t reply_length;
};

// More than an audit ring can hold requests: an entry is read before it is used again.
#define RACE_SIGHTS 4096u

// By the thread that counts: a line of memory that two of them write would slow both down.
#define RACE_LINE _Alignas(64)

struct race_tallies {
    // The fabric's.
    RACE_LINE _Atomic uint64_t policy; // requests that reached policy
    _Atomic uint64_t allowed;          // of them
    _Atomic uint64_t mutated_descriptor, mutated_header, mutated_payload;
    _Atomic uint64_t submitted, lost;
    _Atomic uint64_t delivered, broken, hung; // of links
    // The reader's.
    RACE_LINE _Atomic uint64_t records;
    _Atomic uint64_t anomalies, not_granted, too_large;
    _Atomic uint64_t rules[32]; // anomalies by enum queue_rule
    _Atomic uint64_t process_anomalies;
    // The driver's.
    RACE_LINE _Atomic uint64_t hits[CLASS_CLOSING];
    _Atomic uint64_t reopened, closed_by_order, levels;
    // The mutator's.
    RACE_LINE _Atomic uint64_t mutations;
    // Seldom.
    RACE_LINE _Atomic uint64_t mismatches, restarts;
};
extern struct race_tallies tallies;

// One thread writes each tally, or few do so seldom that a locked addition costs nothing.
static inline void tally(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static inline uint64_t tally_of(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)counter, memory_order_relaxed);
}

// What the backend and the checks know of one port.
struct race_watch {
    unsigned index; // of the port, in audit records
    uint64_t last_decided;
    uint64_t last_submitted;
    unsigned left[PORT_MAX_IN_FLIGHT]; // resumes until it is done, by tag
    uint32_t next_tag;
    struct race_sight *sights; // RACE_SIGHTS
};

#define RACE_LINKS   16u
#define RACE_WATCHES (RACE_PORTS + RACE_LINKS)

// An audit stream with what its reader checked. One mapping for both sides: for ThreadSanitizer, a
// second one would be other memory.
struct race_audit {
    struct audit_stream stream;
    struct shared_ring reader;
    struct race_watch *watches[RACE_WATCHES]; // by index of the port
    uint64_t sequence;
    uint64_t last_request[RACE_WATCHES];
    uint64_t completed[RACE_WATCHES], requested[RACE_WATCHES];
    uint8_t *open; // per watch RACE_SIGHTS: a request was recorded and no completion yet
};

// Everything of one run.
struct race_world {
    uint8_t *io;
    uint8_t *huge;
    struct guest_memory memory;
    struct level_page level_supervisor, level_own;
    struct race_audit audit;
    struct port_fabric fabric;
    unsigned port_count;
    struct port *ports[RACE_PORTS];
    struct race_watch watches[RACE_WATCHES];
    struct race_plan plans[RACE_PORTS];
    RACE_LINE _Atomic uint32_t focus; // port that the fabric works on
    RACE_LINE _Atomic uint64_t pass;  // of the fabric
    bool mutates_links;               // what fabric and processes share changes too
    bool reopens;          // the fabric's thread opens what an anomaly closed, not the driver
    struct poller *poller; // which counts its passes itself, or NULL
    RACE_LINE _Atomic bool stop_fabric, stop_mutator, stop_reader;
    int doorbell_fd; // of a poller, or -1
    uint64_t seed;
    struct race_links *links; // with backend processes
};
extern struct race_world *world;

// Time runs a thousand times faster, so that limits and refusals delay nothing for long.
extern const struct clock race_clock;

static inline uint64_t race_pass(void)
{
    return atomic_load(world->poller ? &world->poller->epoch : &world->pass);
}

// splitmix64
static inline uint64_t race_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// Stores of the guest: atomics, like everything that touches its memory.
static inline void race_store(uint8_t *memory, uint64_t offset, unsigned width, uint64_t value)
{
    void *address = memory + offset;
    switch (width) {
    case 1:
        __atomic_store_n((uint8_t *)address, (uint8_t)value, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((uint16_t *)address, (uint16_t)value, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)address, (uint32_t)value, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELAXED);
        break;
    }
}

// race_driver.c: publishes until all of a goal is reached, or its time is over.
struct race_goal {
    unsigned closing_percent; // of all batches: those that end with something malformed
    uint64_t requests;        // of this run
    uint64_t class_hits;      // of each class, over all runs
    uint64_t deadline_ns;     // real time
};
void race_drive(const struct race_goal *goal);
uint64_t race_requests(void); // taken or refused in this run
uint64_t race_class_hits(enum race_class class);

// race_mutator.c
void *race_mutate(void *argument);

// race_check.c
extern const struct port_backend race_backend;
void race_check_submit(struct race_watch *watch, const struct port_request *request);
void race_check_finish(struct race_watch *watch, const struct port_request *request);
void race_mismatch(const char *what, unsigned port, uint64_t number);
void race_audit_start(struct race_audit *audit);
void race_audit_end(struct race_audit *audit);
bool race_audit_drain(struct race_audit *audit); // returns false if there was nothing
void *race_read(void *argument);
void race_check_held(const struct port *port); // on the thread that serves it, between two passes

// race_link.c
void race_links_start(void);
const struct port_backend *race_link_backend(unsigned index, void **state);
void race_links_run(void); // starts the thread that plays the processes
void race_links_stop(void);
void race_links_end(void);
void race_link_mutate(uint64_t *random);

// For threads that have nothing to do. Not sched_yield: on few and busy CPUs it would be a busy
// loop.
void race_rest(void);

// Says what went wrong and ends the program.
_Noreturn void race_die(const char *what);

#endif
