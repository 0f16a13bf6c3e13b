// SPDX-License-Identifier: Apache-2.0
// The socket device (virtio 1.2, section 5.10): streams from a guest's processes to ports by number
// (base/stream_abi.h). The guest can only connect; nobody connects to it.
//
// Of each stream the device keeps what the guest has sent in a buffer of its own, copied once, and
// makes requests of it; replies go back as the guest gives credit.
#ifndef DEVICES_VIRTIO_VSOCK_H
#define DEVICES_VIRTIO_VSOCK_H

#include "stream_abi.h"
#include "virtio_device.h"

#define VIRTIO_VSOCK_QUEUES 3u

// Bytes that a stream may have sent and the device not yet taken.
#define VIRTIO_VSOCK_BUFFER_BYTES 65536u

// Resets owed to senders without a stream. What comes beyond them gets none.
#define VIRTIO_VSOCK_RESETS 32u

#define VIRTIO_VSOCK_PORTS_MAX POLLER_MAX_PORTS

// In front of every packet (virtio 1.2, section 5.10.6).
struct virtio_vsock_header {
    uint64_t source_cid;
    uint64_t target_cid;
    uint32_t source_port;
    uint32_t target_port;
    uint32_t length;
    uint16_t type;
    uint16_t operation;
    uint32_t flags;
    uint32_t buffer_bytes;
    uint32_t forwarded;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_vsock_header) == 44, "virtio 1.2, 5.10.6");

// A port behind the device, or the table of ports.
struct virtio_vsock_port {
    struct port_driver driver;
    uint32_t number; // vsock port
};

enum virtio_stream_news {
    VIRTIO_STREAM_RESPONSE = 1,
    VIRTIO_STREAM_CREDIT = 2,
    VIRTIO_STREAM_SHUTDOWN = 4,
    VIRTIO_STREAM_RESET = 8, // the last thing that it says
};

struct virtio_stream {
    bool open;
    struct virtio_vsock_port *port; // NULL: the table
    uint32_t guest_port;
    uint32_t host_port;
    unsigned news;   // enum virtio_stream_news that are owed
    bool guest_done; // it will send nothing more
    bool guest_deaf; // it wants nothing more
    // From the guest: what is in the buffer, and what was ever taken out of it.
    uint8_t *buffer;
    uint32_t buffered_from;
    uint32_t buffered;
    uint32_t taken;            // in all, modulo 2^32
    uint32_t taken_told;       // the same, as the guest knows it
    struct port_call *filling; // whose header is complete
    uint32_t filled;           // bytes of its payload
    struct port_request_header header;
    // To the guest.
    uint32_t sent; // in all
    uint32_t guest_buffer_bytes;
    uint32_t guest_forwarded;
    struct port_call *reply; // on its way
    uint32_t reply_done;     // of reply header and payload, or of the table
};

struct virtio_vsock {
    struct virtio_device *device;
    struct {
        uint64_t guest_cid;
    } config;
    struct virtio_vsock_port ports[VIRTIO_VSOCK_PORTS_MAX];
    unsigned port_count;
    uint8_t
        table[sizeof(struct stream_table) + POLLER_MAX_PORTS * sizeof(struct stream_table_entry)];
    uint32_t table_bytes;
    struct virtio_stream streams[STREAM_MAX];
    unsigned open_streams;
    unsigned next_stream; // the first to have its turn
    struct virtio_vsock_reset {
        uint32_t guest_port;
        uint32_t host_port;
    } resets[VIRTIO_VSOCK_RESETS];
    unsigned reset_count;
    uint8_t *buffers; // of all streams
};

// Allocates the streams' buffers; `ports` are filled by the caller, their drivers attached.
int virtio_vsock_open(struct virtio_vsock *vsock, struct virtio_device *device, struct error *err);

// Adds an entry to the table of ports.
void virtio_vsock_list(struct virtio_vsock *vsock, const struct stream_table_entry *entry);

extern const struct virtio_model virtio_vsock;

#endif
