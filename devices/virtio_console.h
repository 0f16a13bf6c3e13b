// SPDX-License-Identifier: Apache-2.0
// The console device with its channels (virtio 1.2, section 5.3): fronts of a console port and of
// message and log ports. Channel 0 is hvc0; the others are /dev/virtio-ports/NAME: what is written
// at once is one message, and messages are read as a stream of bytes.
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include "virtio_device.h"

#define VIRTIO_CHANNELS_MAX 16u

struct virtio_console_config {
    uint16_t columns;
    uint16_t rows;
    uint32_t max_ports;
    uint32_t emergency_write;
};
_Static_assert(sizeof(struct virtio_console_config) == 12, "virtio 1.2, 5.3.4");

#define VIRTIO_CONSOLE_FEATURES (1ull << 1) // MULTIPORT

// What the control queue still has to say about a channel, in this order.
enum virtio_channel_news {
    VIRTIO_NEWS_ADD = 1,
    VIRTIO_NEWS_CONSOLE = 2,
    VIRTIO_NEWS_NAME = 4,
    VIRTIO_NEWS_OPEN = 8,
};

struct virtio_channel {
    struct port_driver driver;
    char name[PORT_NAME_SIZE];
    uint32_t write_operation; // of the port
    uint32_t write_argument;
    uint32_t read_operation; // 0: none
    bool whole;              // a chain is one message, not bytes
    unsigned news;           // enum virtio_channel_news
    // From the guest.
    bool sending;
    bool send_pending; // a part is at the port
    struct virtqueue_chain sent;
    uint32_t sent_bytes;
    // To the guest.
    bool connected; // a process of the guest has it open: drivers drop what comes before
    bool asked;
    bool ended; // nothing will come any more
    struct port_call *reply;
    uint32_t reply_done;
    uint64_t ask_again_ns;
};

struct virtio_console {
    struct virtio_device *device;
    struct virtio_console_config config;
    unsigned channel_count;
    uint64_t generation;
    struct virtio_channel channels[VIRTIO_CHANNELS_MAX];
};

// Queues of a console with that many channels (virtio 1.2, section 5.3.2).
static inline unsigned virtio_console_queues(unsigned channels)
{
    return 2 + 2 * channels;
}

// Says which ports answer for which queues, once their drivers are attached.
void virtio_console_charge(struct virtio_console *console);

extern const struct virtio_model virtio_console;

#endif
