// SPDX-License-Identifier: Apache-2.0
// A driver of a port's queue that does whatever it likes, and never waits without end.
#ifndef TESTS_GUESTS_HOSTILE_DRIVER_H
#define TESTS_GUESTS_HOSTILE_DRIVER_H

#include "attack.h"

struct hostile_driver {
    const struct port_table_entry *entry;
    struct virtq_descriptor *descriptors;
    uint16_t *available;
    uint16_t *used;
    uint16_t size;
    uint16_t published; // the available index
    struct port_request_header *request;
    struct port_reply_header *reply;
    uint64_t end; // of the port's buffers
};

// Binds to a port, or to the console; ends the cell if there is none.
void driver_open_port(struct hostile_driver *driver, const char *name);
void driver_open(struct hostile_driver *driver);

// Guest-physical address of something in the I/O region.
uint64_t driver_physical(const void *object);

// Fills in an honest request of `length` payload bytes in descriptors 0 and 1.
void driver_fill(struct hostile_driver *driver, uint32_t operation, uint32_t argument,
                 uint32_t length);

// Makes a chain available. driver_ring says so to the fabric, asked for or not.
void driver_publish(struct hostile_driver *driver, uint16_t head);
void driver_ring(const struct hostile_driver *driver);

uint16_t driver_used_index(const struct hostile_driver *driver);

// Waits until `count` requests were answered in all. False after a bounded time.
bool driver_wait(const struct hostile_driver *driver, uint16_t count);

// Publishes descriptor 0 and returns ATTACK_DEFENDED if it is answered with `status`.
int driver_expect(struct hostile_driver *driver, uint32_t status);

// Publishes descriptor 0 and, unless it is answered, an honest request behind it. Returns
// ATTACK_CLOSED if neither gets an answer and no byte of the reply buffer changes.
int driver_expect_closed(struct hostile_driver *driver);

#endif
