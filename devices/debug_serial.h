// SPDX-License-Identifier: Apache-2.0
// A 16550 at the first serial port's place, for kernels that die before they find their console.
// Output only; what is written goes through the console port, as everything does.
#ifndef DEVICES_DEBUG_SERIAL_H
#define DEVICES_DEBUG_SERIAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "poller.h"
#include "port_driver.h"

#define DEBUG_SERIAL_BASE  0x3f8u
#define DEBUG_SERIAL_PORTS 8u

// Bytes that wait for the console. What comes when it is full is lost, and counted.
#define DEBUG_SERIAL_BYTES 65536u

struct debug_serial {
    struct port_driver *driver; // of the console port; NULL: there is no serial port
    pthread_mutex_t lock;       // of vCPU threads
    uint8_t registers[DEBUG_SERIAL_PORTS];
    uint8_t bytes[DEBUG_SERIAL_BYTES];
    _Atomic uint32_t written; // in all, modulo 2^32
    _Atomic uint32_t taken;
    _Atomic uint64_t lost;
    void (*wake)(void *context); // the serving thread
    void *context;
};

void debug_serial_init(struct debug_serial *serial, struct port_driver *driver,
                       void (*wake)(void *context), void *context);

// One access of a byte. On a vCPU's thread. False: not at this port.
bool debug_serial_access(struct debug_serial *serial, uint16_t port, bool is_write, uint8_t *byte);

struct poller_front debug_serial_front(struct debug_serial *serial);

#endif
