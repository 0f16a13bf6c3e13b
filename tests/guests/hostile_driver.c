// SPDX-License-Identifier: Apache-2.0
// A driver of a port's queue that does whatever it likes.
#include "hostile_driver.h"

#include <string.h>

// About 10 s and 50 ms: an answer has to get through a busy machine; silence is proved by the
// anomaly that the run reports, not by this wait.
#define PATIENT_PASSES 100000000u
#define SILENT_PASSES  2000000u

#define CANARY 0xa5

// Behind requests, tables and replies of attacks.
#define HONEST_OFFSET 6144u

void driver_open_port(struct hostile_driver *driver, const char *name)
{
    const struct port_table_entry *entry = cell_find_port(name);
    if (!entry)
        cell_exit(ATTACK_UNKNOWN);
    uint64_t reply = entry->buffers + 4096 + sizeof(struct port_request_header) + 40;
    *driver = (struct hostile_driver){
        .entry = entry,
        .descriptors = (struct virtq_descriptor *)entry->queues[0].descriptors,
        .available = (uint16_t *)entry->queues[0].available,
        .used = (uint16_t *)entry->queues[0].used,
        .size = (uint16_t)entry->queues[0].size,
        .request = (struct port_request_header *)entry->buffers,
        .reply = (struct port_reply_header *)reply,
        .end = entry->buffers + entry->buffers_bytes,
    };
    memset(driver->reply, CANARY, sizeof(*driver->reply));
}

void driver_open(struct hostile_driver *driver)
{
    driver_open_port(driver, "console");
}

uint64_t driver_physical(const void *object)
{
    const struct cell_boot_info *info = cell_boot();
    return (uint64_t)object - info->io + info->io_physical;
}

void driver_fill(struct hostile_driver *driver, uint32_t operation, uint32_t argument,
                 uint32_t length)
{
    *driver->request = (struct port_request_header){
        .operation = operation,
        .cookie = 0x1122334455667788ull,
        .length = length,
        .argument = argument,
    };
    driver->descriptors[0] = (struct virtq_descriptor){
        .address = driver_physical(driver->request),
        .length = (uint32_t)sizeof(*driver->request) + length,
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = 1,
    };
    driver->descriptors[1] = (struct virtq_descriptor){
        .address = driver_physical(driver->reply),
        .length = (uint32_t)sizeof(*driver->reply) + 256,
        .flags = VIRTQ_DESCRIPTOR_WRITE,
    };
}

void driver_publish(struct hostile_driver *driver, uint16_t head)
{
    driver->available[VIRTQ_RING_ENTRIES / 2 + (driver->published & (driver->size - 1))] = head;
    __atomic_store_n(&driver->available[VIRTQ_RING_INDEX / 2], ++driver->published,
                     __ATOMIC_SEQ_CST);
}

void driver_ring(const struct hostile_driver *driver)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(0), "r"(driver->entry->doorbell) : "memory");
}

uint16_t driver_used_index(const struct hostile_driver *driver)
{
    return __atomic_load_n(&driver->used[VIRTQ_RING_INDEX / 2], __ATOMIC_ACQUIRE);
}

static bool wait_passes(const struct hostile_driver *driver, uint16_t count, unsigned passes)
{
    for (unsigned pass = 0; pass < passes; pass++) {
        if (driver_used_index(driver) == count)
            return true;
        __builtin_ia32_pause();
    }
    return false;
}

bool driver_wait(const struct hostile_driver *driver, uint16_t count)
{
    return wait_passes(driver, count, PATIENT_PASSES);
}

int driver_expect(struct hostile_driver *driver, uint32_t status)
{
    driver_publish(driver, 0);
    driver_ring(driver);
    if (!driver_wait(driver, driver->published))
        return ATTACK_SILENT;
    if (driver->reply->status == status)
        return ATTACK_DEFENDED;
    // A gate that shuts meanwhile answers before anybody looks at the request.
    return driver->reply->status == PORT_STATUS_CLOSED ? ATTACK_CLOSED : ATTACK_WRONG;
}

static bool reply_changed(const struct hostile_driver *driver)
{
    const uint8_t *bytes = (const uint8_t *)driver->reply;
    for (unsigned i = 0; i < sizeof(*driver->reply); i++) {
        if (bytes[i] != CANARY)
            return true;
    }
    return false;
}

// An honest request in the last two descriptors and a buffer of its own: whatever was published
// before stays as it is, for a fabric that has not found the time to look at it yet.
static void publish_honest(struct hostile_driver *driver)
{
    struct hostile_driver honest = *driver;
    uint16_t head = (uint16_t)(driver->size - 2);
    honest.request = (struct port_request_header *)(driver->entry->buffers + HONEST_OFFSET);
    honest.descriptors += head;
    driver_fill(&honest, CONSOLE_WRITE, 0, 1);
    honest.descriptors[0].next = (uint16_t)(head + 1);
    driver_publish(driver, head);
}

int driver_expect_closed(struct hostile_driver *driver)
{
    uint16_t before = driver_used_index(driver);
    driver_publish(driver, 0);
    driver_ring(driver);
    if (wait_passes(driver, (uint16_t)(before + 1), SILENT_PASSES))
        return ATTACK_ANSWERED;
    publish_honest(driver);
    driver_ring(driver);
    if (wait_passes(driver, (uint16_t)(before + 1), SILENT_PASSES))
        return ATTACK_ANSWERED;
    return reply_changed(driver) ? ATTACK_CHANGED : ATTACK_CLOSED;
}
