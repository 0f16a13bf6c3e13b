// SPDX-License-Identifier: Apache-2.0
// Attacks on "copy once, then check": vCPU 1 rewrites what the fabric reads while it reads it.
//
// vCPU 0 sends 100,000 requests in batches and looks for each reply by its cookie. It stops earlier
// where the other vCPU had 2,000 of them denied: denials are answered slowly from then on. What
// vCPU 1 writes is either legal in itself (then no request may be lost and what was executed must
// be what was allowed) or breaks a rule (then the port closes, sooner or later, and nothing else
// happens).
#include <stdio.h>
#include <string.h>

#include "cell_layout.h"
#include "hostile_driver.h"

#define REQUESTS      100000u
#define DENIALS       2000u
#define PAYLOAD       8u
#define MAX_BATCH     512u
#define STRIDE        128u
#define PATIENT       100000000u // passes: many seconds
#define UNTIL_CLOSED  20000000u  // passes: some tenths of a second
#define OPERATION_BAD 9u         // not granted

static struct hostile_driver driver;
static unsigned batch;
static uint32_t finished; // set by vCPU 0
static uint32_t random_state = 0x9e3779b9;

struct race {
    void (*spoil)(unsigned slot, uint32_t turn); // one step of vCPU 1
    bool used_is_reliable;
    bool may_close;
};

static const struct race *race;
static uint64_t granted;
static uint64_t denied;
static int outcome;

static struct port_request_header *request(unsigned slot)
{
    return (struct port_request_header *)(driver.entry->buffers + slot * STRIDE);
}

// A second request for the same slot, which policy refuses and whose payload must never appear.
static struct port_request_header *decoy(unsigned slot)
{
    return request(MAX_BATCH + slot);
}

static struct port_reply_header *reply(unsigned slot)
{
    return (struct port_reply_header *)(driver.entry->buffers + (2 * MAX_BATCH + slot) * STRIDE);
}

static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static void fill_one(unsigned slot, uint64_t cookie)
{
    *request(slot) = (struct port_request_header){
        .operation = CONSOLE_WRITE,
        .cookie = cookie,
        .length = PAYLOAD,
    };
    memcpy(request(slot) + 1, "AAAAAAAA", PAYLOAD);
    *decoy(slot) = *request(slot);
    decoy(slot)->operation = OPERATION_BAD;
    memcpy(decoy(slot) + 1, "!DECOY!!", PAYLOAD);
    memset(reply(slot), 0, sizeof(*reply(slot)));
    driver.descriptors[2 * slot] = (struct virtq_descriptor){
        .address = driver_physical(request(slot)),
        .length = sizeof(struct port_request_header) + PAYLOAD,
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = (uint16_t)(2 * slot + 1),
    };
    driver.descriptors[2 * slot + 1] = (struct virtq_descriptor){
        .address = driver_physical(reply(slot)),
        .length = sizeof(struct port_reply_header),
        .flags = VIRTQ_DESCRIPTOR_WRITE,
    };
}

static bool wait_cookie(unsigned slot, uint64_t cookie, unsigned passes)
{
    for (unsigned pass = 0; pass < passes; pass++) {
        if (__atomic_load_n(&reply(slot)->cookie, __ATOMIC_ACQUIRE) == cookie)
            return true;
        __builtin_ia32_pause();
    }
    return false;
}

// Sends one batch. Returns false if a reply did not come.
static bool send_batch(uint64_t first_cookie)
{
    unsigned passes = race->may_close ? UNTIL_CLOSED : PATIENT;
    for (unsigned slot = 0; slot < batch; slot++) {
        fill_one(slot, first_cookie + slot);
        driver_publish(&driver, (uint16_t)(2 * slot));
    }
    driver_ring(&driver);
    for (unsigned slot = 0; slot < batch; slot++) {
        if (!wait_cookie(slot, first_cookie + slot, passes))
            return false;
    }
    if (race->used_is_reliable && !driver_wait(&driver, driver.published))
        return false;
    for (unsigned slot = 0; slot < batch; slot++) {
        uint32_t status = reply(slot)->status;
        granted += status == PORT_STATUS_OK;
        denied += status == PORT_STATUS_DENIED;
        if (status != PORT_STATUS_OK && status != PORT_STATUS_DENIED)
            outcome = ATTACK_WRONG;
    }
    return true;
}

static void run_race(void *argument, unsigned worker)
{
    (void)argument;
    if (worker > 0) {
        for (uint32_t turn = 0; !__atomic_load_n(&finished, __ATOMIC_RELAXED); turn++) {
            for (unsigned slot = 0; slot < batch; slot++)
                race->spoil(slot, turn);
        }
        return;
    }
    for (uint64_t sent = 0; sent < REQUESTS && denied < DENIALS && outcome == ATTACK_DEFENDED;
         sent += batch) {
        if (!send_batch(sent + 1))
            outcome = race->may_close ? ATTACK_CLOSED : ATTACK_SILENT;
    }
    __atomic_store_n(&finished, 1, __ATOMIC_RELAXED);
}

// Runs the race; the last line on the console says how many requests were granted and denied.
static int start(const struct race *chosen)
{
    driver_open(&driver);
    if (cell_boot()->vcpus < 2)
        return ATTACK_UNKNOWN;
    race = chosen;
    batch = driver.size / 2 < MAX_BATCH ? driver.size / 2 : MAX_BATCH;
    cell_run(run_race, NULL);
    if (outcome != ATTACK_DEFENDED || !race->used_is_reliable)
        return outcome;
    char *text = (char *)(driver.request + 1);
    int length = snprintf(text, 64, "\ngranted %llu denied %llu\n", (unsigned long long)granted,
                          (unsigned long long)denied);
    driver_fill(&driver, CONSOLE_WRITE, 0, (uint32_t)length);
    return driver_expect(&driver, PORT_STATUS_OK);
}

#define STORE(object, value) __atomic_store_n(&(object), value, __ATOMIC_RELAXED)

// Operation and payload: each value is legal or refused, none is malformed.
static void spoil_payload(unsigned slot, uint32_t turn)
{
    STORE(*(uint64_t *)(request(slot) + 1), turn & 1 ? 0x4242424242424242 : 0x4141414141414141);
    STORE(request(slot)->operation, turn & 1 ? OPERATION_BAD : CONSOLE_WRITE);
    STORE(request(slot)->argument, turn);
}

// The descriptor points now at a request that is granted, now at one that is not.
static void spoil_descriptor(unsigned slot, uint32_t turn)
{
    STORE(driver.descriptors[2 * slot].address,
          driver_physical(turn & 1 ? decoy(slot) : request(slot)));
}

// What only the fabric writes: its own copies are what it goes by.
static void spoil_used(unsigned slot, uint32_t turn)
{
    STORE(driver.used[slot], (uint16_t)turn);
    STORE(*(uint32_t *)cell_boot()->events, next_random());
}

static uint64_t forbidden_address(uint32_t turn)
{
    const uint64_t forbidden[] = {CELL_GPA_CODE,   CELL_GPA_SYSTEM, ATTACK_GPA_TABLES,
                                  CELL_GPA_DEVICE, CELL_GPA_RAM,    ~0ull};
    return forbidden[turn % ATTACK_COUNT(forbidden)];
}

static void spoil_length(unsigned slot, uint32_t turn)
{
    STORE(request(slot)->length, turn % 64 ? PAYLOAD : turn);
}

static void spoil_address(unsigned slot, uint32_t turn)
{
    STORE(driver.descriptors[2 * slot].address, forbidden_address(turn));
    STORE(driver.descriptors[2 * slot].address, driver_physical(request(slot)));
}

static void spoil_reply(unsigned slot, uint32_t turn)
{
    STORE(driver.descriptors[2 * slot + 1].address, forbidden_address(turn));
    STORE(driver.descriptors[2 * slot + 1].address, driver_physical(reply(slot)));
}

static void spoil_next(unsigned slot, uint32_t turn)
{
    STORE(driver.descriptors[2 * slot].next, (uint16_t)turn);
    STORE(driver.descriptors[2 * slot].next, (uint16_t)(2 * slot + 1));
}

static void spoil_flags(unsigned slot, uint32_t turn)
{
    STORE(driver.descriptors[2 * slot].flags, (uint16_t)turn);
    STORE(driver.descriptors[2 * slot].flags, VIRTQ_DESCRIPTOR_NEXT);
}

static void spoil_heads(unsigned slot, uint32_t turn)
{
    (void)turn;
    STORE(driver.available[VIRTQ_RING_ENTRIES / 2 + slot], (uint16_t)next_random());
}

static void spoil_index(unsigned slot, uint32_t turn)
{
    (void)slot;
    (void)turn;
    STORE(driver.available[VIRTQ_RING_INDEX / 2], (uint16_t)next_random());
}

// Any word of descriptors, rings and buffers.
static void spoil_anything(unsigned slot, uint32_t turn)
{
    (void)slot;
    (void)turn;
    uint64_t words =
        (cell_boot()->io_bytes - (driver.entry->queues[0].descriptors - cell_boot()->io)) /
        sizeof(uint32_t);
    STORE(((uint32_t *)driver.descriptors)[next_random() % words], next_random());
}

static int race_payload(void)
{
    return start(&(struct race){spoil_payload, true, false});
}

static int race_descriptor(void)
{
    return start(&(struct race){spoil_descriptor, true, false});
}

static int race_used(void)
{
    return start(&(struct race){spoil_used, false, false});
}

static int race_length(void)
{
    return start(&(struct race){spoil_length, true, true});
}

static int race_address(void)
{
    return start(&(struct race){spoil_address, true, true});
}

static int race_reply(void)
{
    return start(&(struct race){spoil_reply, true, true});
}

static int race_next(void)
{
    return start(&(struct race){spoil_next, true, true});
}

static int race_flags(void)
{
    return start(&(struct race){spoil_flags, true, true});
}

static int race_heads(void)
{
    return start(&(struct race){spoil_heads, true, true});
}

static int race_index(void)
{
    return start(&(struct race){spoil_index, true, true});
}

static int race_anything(void)
{
    return start(&(struct race){spoil_anything, true, true});
}

static const struct attack attacks[] = {
    // Legal at every moment: all 100,000 requests are answered, and what was allowed is executed.
    {"payload", race_payload},
    {"descriptor", race_descriptor},
    {"used", race_used},
    // Malformed at some moments: the port closes, nothing leaks, nobody crashes.
    {"length", race_length},
    {"address", race_address},
    {"reply", race_reply},
    {"next", race_next},
    {"flags", race_flags},
    {"heads", race_heads},
    {"index", race_index},
    {"anything", race_anything},
};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
