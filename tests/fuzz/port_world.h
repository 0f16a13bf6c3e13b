// SPDX-License-Identifier: Apache-2.0
// A port, a hostile driver and everything around them, in one thread: what fuzz targets drive, and
// what must be true whatever they do.
#ifndef TESTS_FUZZ_PORT_WORLD_H
#define TESTS_FUZZ_PORT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define WORLD_QUEUES      2u
#define WORLD_QUEUE_SIZE  16u // at most
#define WORLD_BYTES       0x5000u
#define WORLD_REQUESTS    4096u
#define WORLD_AUDIT_BYTES 8192u // at most

enum world_operation {
    WORLD_ECHO = 1,
    WORLD_READ = 2,   // answers `argument` bytes
    WORLD_TIGHT = 3,  // takes less than the grant
    WORLD_SECRET = 4, // of the backend, not granted
};
#define WORLD_GRANTED     (1u << WORLD_ECHO | 1u << WORLD_READ | 1u << WORLD_TIGHT)
#define WORLD_TIGHT_BYTES 16u

struct world_settings {
    uint64_t base; // of the memory that the driver shares, guest-physical
    uint32_t bytes;
    unsigned queues;
    uint16_t queue_size;
    unsigned features;
    struct {
        uint32_t descriptors, available, used; // offsets
    } at[WORLD_QUEUES];
    uint32_t buffers; // offset; where well-formed requests have theirs
    uint32_t in_flight, max_request, max_reply;
    bool closed_at_probation;
    const struct limits_config *limits;
    uint32_t audit_bytes;
    uint64_t audit_per_s;
    const struct port_backend *backend; // NULL: the world's own
    void *backend_state;
};

// Something that another thread does while the fabric works: it comes when the fabric looks at the
// clock, asks policy or calls its backend for the `countdown`th time.
enum world_event {
    WORLD_NOTHING,
    WORLD_SCRIBBLE,
    WORLD_CLOSE,
    WORLD_OPEN,
    WORLD_LEVEL,
    WORLD_HOLD,
    WORLD_STEP,
    WORLD_EVENTS,
};

// What is known of a request, by its number.
struct world_request {
    bool decided, submitted, recorded, completed;
    bool sealed; // completed at Probation: a gate may take it back
    struct port_request_header header;
    uint64_t hash; // of what policy was given
};

struct world {
    struct world_settings settings;
    uint8_t *region;
    struct guest_memory memory;
    struct level_page level_supervisor, level_own;
    struct audit_stream audit;
    struct shared_ring reader;
    uint64_t sequence;
    uint64_t extra; // records beyond two for each request: pieces, what gates take back
    struct clock clock;
    uint64_t now;
    struct port_fabric fabric;
    struct port *port;
    // During a call.
    bool in_call;
    bool quiet;     // nothing may be written
    bool doorbells; // but whether they are wanted
    bool fired;
    bool shut; // since an event; nothing is written into buffers any more
    struct {
        enum world_event kind;
        unsigned countdown;
        uint8_t a, b;
    } event;
    unsigned chain_count; // of `chains`
    bool distrusted;      // an anomaly closed the port, and it has not been open since
    uint32_t seen_anomalies;
    uint64_t anomalies; // recorded
    uint64_t completions;
    // The world's backend.
    bool pend;
    unsigned finish; // how many pending requests may end
    bool odd_only;   // of them, those with odd numbers
    uint32_t status;
    uint32_t reply_length;
    const struct port_request *pending[PORT_MAX_IN_FLIGHT];
    unsigned pending_count;
    uint64_t last_resumed; // in this call
    // From here on, not cleared at the start.
    // Chains that the fabric holds or has held during this call.
    struct {
        unsigned queue;
        struct virtqueue_chain chain;
    } chains[128];
    uint8_t before[WORLD_BYTES]; // the region as it was when the fabric was called
    uint8_t at_shut[WORLD_BYTES];
    uint8_t writable[WORLD_BYTES];
    uint64_t last_number; // of a request that was used
    struct world_request requests[WORLD_REQUESTS];
};

// What the fuzzer has left.
struct world_input {
    const uint8_t *data;
    size_t size;
};
uint8_t world_byte(struct world_input *input);

_Noreturn void world_fail(const char *file, int line, const char *what);
#define world_require(condition)                                                                   \
    ((condition) ? (void)0 : world_fail(__FILE__, __LINE__, #condition))

void world_start(struct world *world, const struct world_settings *settings);

// Around every call of the fabric.
void world_begin(struct world *world);
void world_end(struct world *world);
// Where another thread could get a turn; backends call it.
void world_turn(struct world *world);

unsigned world_serve(struct world *world, unsigned budget);
void world_drain(struct world *world, unsigned records);

// Four bytes: one thing that driver, operator, backend or time do. Returns false if the first says
// that it is the target's own: its lowest five bits are 16 or more.
bool world_act(struct world *world, const uint8_t *code);

// Lets everything come to its end and checks that it did: with `live` also that the port answers
// what it took. Frees all.
void world_finish(struct world *world, bool live);

// For backends: the request is what policy was asked about, and stays that.
void world_submitted(struct world *world, const struct port_request *request);
void world_unchanged(struct world *world, const struct port_request *request);

extern const struct port_operation world_operations[4];

#endif
