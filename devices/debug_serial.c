// SPDX-License-Identifier: Apache-2.0
// A 16550 at the first serial port's place: output only.
#include "debug_serial.h"

#include <string.h>

// Registers (16550 data sheet), and the bit that gives the first two another meaning.
enum uart_register {
    UART_DATA = 0,
    UART_INTERRUPT_ENABLE = 1,
    UART_INTERRUPT_IDENTIFY = 2,
    UART_LINE_CONTROL = 3,
    UART_MODEM_CONTROL = 4,
    UART_LINE_STATUS = 5,
    UART_MODEM_STATUS = 6,
};

#define LINE_CONTROL_DIVISOR 0x80u
#define LINE_STATUS_EMPTY    0x60u // nothing waits to be sent
#define MODEM_STATUS_READY   0xb0u
#define NO_INTERRUPT         0x01u

void debug_serial_init(struct debug_serial *serial, struct port_driver *driver,
                       void (*wake)(void *context), void *context)
{
    serial->driver = driver;
    serial->wake = wake;
    serial->context = context;
    pthread_mutex_init(&serial->lock, NULL);
}

static void send(struct debug_serial *serial, uint8_t byte)
{
    uint32_t written = atomic_load_explicit(&serial->written, memory_order_relaxed);
    if (written - atomic_load(&serial->taken) == DEBUG_SERIAL_BYTES) {
        atomic_fetch_add(&serial->lost, 1);
        return;
    }
    serial->bytes[written % DEBUG_SERIAL_BYTES] = byte;
    atomic_store(&serial->written, written + 1);
    serial->wake(serial->context);
}

static uint8_t load(const struct debug_serial *serial, unsigned index)
{
    switch (index) {
    case UART_INTERRUPT_IDENTIFY:
        return NO_INTERRUPT;
    case UART_LINE_STATUS:
        return LINE_STATUS_EMPTY;
    case UART_MODEM_STATUS:
        return MODEM_STATUS_READY;
    case UART_DATA:
        return 0;
    default:
        return serial->registers[index];
    }
}

bool debug_serial_access(struct debug_serial *serial, uint16_t port, bool is_write, uint8_t *byte)
{
    unsigned index = port - DEBUG_SERIAL_BASE;
    if (!serial->driver || port < DEBUG_SERIAL_BASE || index >= DEBUG_SERIAL_PORTS)
        return false;
    pthread_mutex_lock(&serial->lock);
    bool divisor = serial->registers[UART_LINE_CONTROL] & LINE_CONTROL_DIVISOR;
    if (!is_write)
        *byte = load(serial, index);
    else if (index == UART_DATA && !divisor)
        send(serial, *byte);
    else
        serial->registers[index] = *byte;
    pthread_mutex_unlock(&serial->lock);
    return true;
}

// Calls of this front are freed by the console, which shares the driver: it knows its own.
static unsigned serial_poll(void *state)
{
    struct debug_serial *serial = state;
    uint32_t taken = atomic_load_explicit(&serial->taken, memory_order_relaxed);
    uint32_t length = atomic_load(&serial->written) - taken;
    if (!length || !port_gate_is_open(serial->driver->port))
        return 0;
    struct port_call *call = port_driver_take(serial->driver, serial, 0);
    if (!call)
        return 0;
    uint32_t until_end = DEBUG_SERIAL_BYTES - taken % DEBUG_SERIAL_BYTES;
    if (length > until_end)
        length = until_end;
    if (length > serial->driver->max_request_bytes)
        length = serial->driver->max_request_bytes;
    memcpy(call->payload, serial->bytes + taken % DEBUG_SERIAL_BYTES, length);
    port_driver_send(serial->driver, call, CONSOLE_WRITE, 0, length);
    atomic_store(&serial->taken, taken + length);
    return 1;
}

static bool serial_prepare_sleep(void *state, bool doorbells, uint64_t *wake_ns)
{
    (void)doorbells;
    (void)wake_ns;
    return !serial_poll(state);
}

static void serial_wake(void *state)
{
    (void)state;
}

struct poller_front debug_serial_front(struct debug_serial *serial)
{
    return (struct poller_front){serial_poll, serial_prepare_sleep, serial_wake, serial};
}
