// SPDX-License-Identifier: Apache-2.0
// The socket device: streams from a guest's processes to ports.
#include "virtio_vsock.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum vsock_queue {
    QUEUE_TO_GUEST = 0,
    QUEUE_FROM_GUEST = 1,
    QUEUE_EVENT = 2, // there are no events: the guest never moves
};

enum vsock_operation {
    OPERATION_REQUEST = 1,
    OPERATION_RESPONSE = 2,
    OPERATION_RESET = 3,
    OPERATION_SHUTDOWN = 4,
    OPERATION_DATA = 5,
    OPERATION_CREDIT_UPDATE = 6,
    OPERATION_CREDIT_REQUEST = 7,
};

#define TYPE_STREAM      1u
#define SHUTDOWN_RECEIVE 1u
#define SHUTDOWN_SEND    2u
#define HEADER_BYTES     ((uint32_t)sizeof(struct virtio_vsock_header))
#define REQUEST_BYTES    ((uint32_t)sizeof(struct port_request_header))
#define REPLY_BYTES      ((uint32_t)sizeof(struct port_reply_header))

// Packets that are handled before others have their turn.
#define PACKETS_PER_PASS 32u

int virtio_vsock_open(struct virtio_vsock *vsock, struct virtio_device *device, struct error *err)
{
    vsock->device = device;
    vsock->config.guest_cid = STREAM_GUEST_CID;
    void *buffers = mmap(NULL, STREAM_MAX * (size_t)VIRTIO_VSOCK_BUFFER_BYTES,
                         PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffers == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "buffers of streams");
    vsock->buffers = buffers;
    for (unsigned i = 0; i < STREAM_MAX; i++)
        vsock->streams[i].buffer = vsock->buffers + i * (size_t)VIRTIO_VSOCK_BUFFER_BYTES;
    struct stream_table head = {.format = STREAM_FORMAT,
                                .entry_size = sizeof(struct stream_table_entry)};
    memcpy(vsock->table, &head, sizeof(head));
    vsock->table_bytes = sizeof(head);
    return 0;
}

void virtio_vsock_list(struct virtio_vsock *vsock, const struct stream_table_entry *entry)
{
    struct stream_table head;
    if (vsock->table_bytes + sizeof(*entry) > sizeof(vsock->table))
        return;
    memcpy(vsock->table + vsock->table_bytes, entry, sizeof(*entry));
    vsock->table_bytes += (uint32_t)sizeof(*entry);
    memcpy(&head, vsock->table, sizeof(head));
    head.count++;
    memcpy(vsock->table, &head, sizeof(head));
}

// The port whose gate a stream is behind. The table is behind that of the first port.
static const struct port *gate_of(const struct virtio_vsock *vsock,
                                  const struct virtio_stream *stream)
{
    return stream->port ? stream->port->driver.port : vsock->ports[0].driver.port;
}

static struct virtio_stream *find_stream(struct virtio_vsock *vsock, uint32_t guest_port,
                                         uint32_t host_port)
{
    for (unsigned i = 0; vsock->open_streams && i < STREAM_MAX; i++) {
        struct virtio_stream *stream = &vsock->streams[i];
        if (stream->open && stream->guest_port == guest_port && stream->host_port == host_port)
            return stream;
    }
    return NULL;
}

// Requests that are at their port stay there, without an owner.
static void disown_calls(struct virtio_stream *stream)
{
    struct port_driver *driver = stream->port ? &stream->port->driver : NULL;
    for (unsigned i = 0; driver && i < driver->count; i++) {
        struct port_call *call = &driver->calls[i];
        if (call->owner != stream)
            continue;
        call->owner = NULL;
        // Half a request, or a reply of which the guest has a part.
        if (call->state == PORT_CALL_TAKEN || call == stream->reply)
            port_driver_free(call);
    }
}

static void close_stream(struct virtio_vsock *vsock, struct virtio_stream *stream)
{
    disown_calls(stream);
    *stream = (struct virtio_stream){.buffer = stream->buffer};
    vsock->open_streams--;
}

static void owe_reset(struct virtio_vsock *vsock, const struct virtio_vsock_header *header)
{
    if (vsock->reset_count == VIRTIO_VSOCK_RESETS)
        return;
    vsock->resets[vsock->reset_count++] =
        (struct virtio_vsock_reset){header->source_port, header->target_port};
}

static void connect(struct virtio_vsock *vsock, const struct virtio_vsock_header *header)
{
    struct virtio_vsock_port *port = NULL;
    struct virtio_stream *stream = NULL;
    for (unsigned i = 0; i < vsock->port_count; i++) {
        if (vsock->ports[i].number == header->target_port)
            port = &vsock->ports[i];
    }
    for (unsigned i = 0; i < STREAM_MAX && !stream; i++) {
        if (!vsock->streams[i].open)
            stream = &vsock->streams[i];
    }
    if (!stream || (!port && header->target_port != STREAM_TABLE_PORT) ||
        find_stream(vsock, header->source_port, header->target_port)) {
        owe_reset(vsock, header);
        return;
    }
    *stream = (struct virtio_stream){
        .open = true,
        .port = port,
        .guest_port = header->source_port,
        .host_port = header->target_port,
        .news = VIRTIO_STREAM_RESPONSE,
        .buffer = stream->buffer,
        .guest_buffer_bytes = header->buffer_bytes,
        .guest_forwarded = header->forwarded,
    };
    vsock->open_streams++;
}

// Data of the guest, copied once. A guest that sends more than it has credit for is reset.
static void take_data(struct virtio_vsock *vsock, struct virtio_stream *stream,
                      const struct virtqueue_chain *chain, uint32_t length)
{
    struct virtio_device *device = vsock->device;
    if (!stream->port || stream->guest_done ||
        length > VIRTIO_VSOCK_BUFFER_BYTES - stream->buffered) {
        stream->news |= VIRTIO_STREAM_RESET;
        return;
    }
    uint32_t end = (stream->buffered_from + stream->buffered) % VIRTIO_VSOCK_BUFFER_BYTES;
    uint32_t first = VIRTIO_VSOCK_BUFFER_BYTES - end;
    if (first > length)
        first = length;
    if (!virtio_copy_in(device, QUEUE_FROM_GUEST, chain, HEADER_BYTES, stream->buffer + end,
                        first) ||
        (length > first && !virtio_copy_in(device, QUEUE_FROM_GUEST, chain, HEADER_BYTES + first,
                                           stream->buffer, length - first))) {
        stream->news |= VIRTIO_STREAM_RESET;
        return;
    }
    stream->buffered += length;
}

static void hear_stream(struct virtio_vsock *vsock, struct virtio_stream *stream,
                        const struct virtio_vsock_header *header,
                        const struct virtqueue_chain *chain)
{
    stream->guest_buffer_bytes = header->buffer_bytes;
    stream->guest_forwarded = header->forwarded;
    switch (header->operation) {
    case OPERATION_DATA:
        take_data(vsock, stream, chain, header->length);
        return;
    case OPERATION_SHUTDOWN:
        stream->guest_deaf = stream->guest_deaf || (header->flags & SHUTDOWN_RECEIVE);
        stream->guest_done = stream->guest_done || (header->flags & SHUTDOWN_SEND);
        if (stream->guest_deaf && stream->guest_done)
            stream->news |= VIRTIO_STREAM_RESET;
        return;
    case OPERATION_RESET:
        close_stream(vsock, stream);
        return;
    case OPERATION_CREDIT_UPDATE:
        return;
    case OPERATION_CREDIT_REQUEST:
        stream->news |= VIRTIO_STREAM_CREDIT;
        return;
    default:
        stream->news |= VIRTIO_STREAM_RESET;
    }
}

static void hear(struct virtio_vsock *vsock, const struct virtio_vsock_header *header,
                 const struct virtqueue_chain *chain)
{
    struct virtio_stream *stream = find_stream(vsock, header->source_port, header->target_port);
    if (header->source_cid != STREAM_GUEST_CID || header->target_cid != STREAM_HOST_CID ||
        header->type != TYPE_STREAM) {
        if (header->operation != OPERATION_RESET)
            owe_reset(vsock, header);
        return;
    }
    if (stream)
        hear_stream(vsock, stream, header, chain);
    else if (header->operation == OPERATION_REQUEST)
        connect(vsock, header);
    else if (header->operation != OPERATION_RESET)
        owe_reset(vsock, header);
}

static bool any_gate_open(const struct virtio_vsock *vsock)
{
    for (unsigned i = 0; i < vsock->port_count; i++) {
        if (port_gate_is_open(vsock->ports[i].driver.port))
            return true;
    }
    return false;
}

static unsigned hear_packets(struct virtio_vsock *vsock)
{
    struct virtio_device *device = vsock->device;
    unsigned done = 0;
    while (done < PACKETS_PER_PASS && virtio_has_work(device, QUEUE_FROM_GUEST)) {
        struct virtqueue_chain chain;
        struct virtio_vsock_header header;
        if (!virtio_take(device, QUEUE_FROM_GUEST, &chain))
            break;
        done++;
        if (chain.readable_bytes < HEADER_BYTES ||
            !virtio_copy_in(device, QUEUE_FROM_GUEST, &chain, 0, &header, HEADER_BYTES) ||
            header.length != chain.readable_bytes - HEADER_BYTES) {
            virtio_refuse(device, QUEUE_FROM_GUEST, chain.head);
            break;
        }
        hear(vsock, &header, &chain);
        virtio_push(device, QUEUE_FROM_GUEST, chain.head, 0);
    }
    return done;
}

// Moves bytes out of a stream's buffer.
static void unbuffer(struct virtio_stream *stream, uint8_t *target, uint32_t length)
{
    uint32_t first = VIRTIO_VSOCK_BUFFER_BYTES - stream->buffered_from;
    if (first > length)
        first = length;
    memcpy(target, stream->buffer + stream->buffered_from, first);
    memcpy(target + first, stream->buffer, length - first);
    stream->buffered_from = (stream->buffered_from + length) % VIRTIO_VSOCK_BUFFER_BYTES;
    stream->buffered -= length;
    stream->taken += length;
    if (stream->taken - stream->taken_told >= VIRTIO_VSOCK_BUFFER_BYTES / 2)
        stream->news |= VIRTIO_STREAM_CREDIT;
}

// A request without payload that a stream left behind when it closed: one like it gets its reply.
// So a message that a process of the guest waited for is not lost with the process.
static struct port_call *adopt(struct port_driver *driver, struct virtio_stream *stream,
                               const struct port_request_header *header)
{
    for (unsigned i = 0; i < driver->count; i++) {
        struct port_call *call = &driver->calls[i];
        if ((call->state == PORT_CALL_SENT || call->state == PORT_CALL_DONE) && !call->owner &&
            !call->header->length && call->header->operation == header->operation &&
            call->header->argument == header->argument) {
            call->owner = stream;
            call->tag = header->cookie;
            return call;
        }
    }
    return NULL;
}

// A free call; if there is none, that of a reply that nobody wants any more.
static struct port_call *take_call(struct port_driver *driver, struct virtio_stream *stream,
                                   uint64_t cookie)
{
    struct port_call *call = port_driver_take(driver, stream, cookie);
    for (unsigned i = 0; !call && i < driver->count; i++) {
        if (driver->calls[i].state == PORT_CALL_DONE && !driver->calls[i].owner) {
            port_driver_free(&driver->calls[i]);
            call = port_driver_take(driver, stream, cookie);
        }
    }
    return call;
}

// Begins the next request. Returns false if its header is not there, or no call is free.
static bool begin_request(struct virtio_stream *stream)
{
    struct port_driver *driver = &stream->port->driver;
    if (stream->buffered < REQUEST_BYTES)
        return false;
    // Looked at in a free call's place only: it is taken out of the buffer once.
    struct port_call *call = take_call(driver, stream, 0);
    if (!call)
        return false;
    unbuffer(stream, (uint8_t *)&stream->header, REQUEST_BYTES);
    if (stream->header.flags || stream->header.length > driver->max_request_bytes) {
        port_driver_free(call);
        stream->news |= VIRTIO_STREAM_RESET;
        return true;
    }
    if (!stream->header.length && adopt(driver, stream, &stream->header)) {
        port_driver_free(call);
        return true;
    }
    call->tag = stream->header.cookie;
    stream->filling = call;
    stream->filled = 0;
    return true;
}

static unsigned make_requests(struct virtio_stream *stream)
{
    unsigned done = 0;
    while (stream->port && !(stream->news & VIRTIO_STREAM_RESET) && done < PACKETS_PER_PASS &&
           port_gate_is_open(stream->port->driver.port)) {
        if (!stream->filling && !begin_request(stream))
            break;
        done++;
        if (!stream->filling)
            continue;
        uint32_t left = stream->header.length - stream->filled;
        uint32_t part = left < stream->buffered ? left : stream->buffered;
        unbuffer(stream, stream->filling->payload + stream->filled, part);
        stream->filled += part;
        if (stream->filled < stream->header.length) {
            done -= !part;
            break;
        }
        port_driver_send(&stream->port->driver, stream->filling, stream->header.operation,
                         stream->header.argument, stream->header.length);
        stream->filling = NULL;
    }
    return done;
}

// The reply that goes next: the call that was done first would need an order; any will do, since
// cookies tell them apart.
static void choose_reply(struct virtio_stream *stream)
{
    struct port_driver *driver = &stream->port->driver;
    for (unsigned i = 0; i < driver->count && !stream->reply; i++) {
        struct port_call *call = &driver->calls[i];
        if (call->state == PORT_CALL_DONE && call->owner == stream) {
            stream->reply = call;
            stream->reply_done = 0;
        }
    }
}

static struct virtio_vsock_header header_for(const struct virtio_stream *stream,
                                             enum vsock_operation operation, uint32_t length)
{
    return (struct virtio_vsock_header){
        .source_cid = STREAM_HOST_CID,
        .target_cid = STREAM_GUEST_CID,
        .source_port = stream->host_port,
        .target_port = stream->guest_port,
        .length = length,
        .type = TYPE_STREAM,
        .operation = (uint16_t)operation,
        .flags = operation == OPERATION_SHUTDOWN ? SHUTDOWN_RECEIVE | SHUTDOWN_SEND : 0,
        .buffer_bytes = VIRTIO_VSOCK_BUFFER_BYTES,
        .forwarded = stream->taken,
    };
}

// Sends one packet whose data, if any, is `length` bytes in up to two pieces. Returns false if
// there is no room for it, or the gate shut.
static bool say(struct virtio_vsock *vsock, const struct virtio_vsock_header *header,
                const struct virtqueue_chain *chain, const struct port *gate, const void *head,
                uint32_t head_bytes, const void *body)
{
    struct virtio_device *device = vsock->device;
    bool said =
        virtio_copy_out(device, QUEUE_TO_GUEST, chain, 0, header, HEADER_BYTES, gate) &&
        virtio_copy_out(device, QUEUE_TO_GUEST, chain, HEADER_BYTES, head, head_bytes, gate) &&
        virtio_copy_out(device, QUEUE_TO_GUEST, chain, HEADER_BYTES + head_bytes, body,
                        header->length - head_bytes, gate);
    virtio_push(device, QUEUE_TO_GUEST, chain->head, said ? HEADER_BYTES + header->length : 0);
    return said;
}

// A chain for a packet to the guest that holds at least its header.
static bool take_room(struct virtio_vsock *vsock, const struct port *gate,
                      struct virtqueue_chain *chain)
{
    if (!virtio_has_work(vsock->device, QUEUE_TO_GUEST) || !port_gate_is_open(gate) ||
        !virtio_take(vsock->device, QUEUE_TO_GUEST, chain))
        return false;
    if (chain->writable_bytes >= HEADER_BYTES)
        return true;
    virtio_refuse(vsock->device, QUEUE_TO_GUEST, chain->head);
    return false;
}

// Says one thing that a stream owes the guest.
static bool say_news(struct virtio_vsock *vsock, struct virtio_stream *stream)
{
    static const struct {
        unsigned news;
        enum vsock_operation operation;
    } order[] = {
        {VIRTIO_STREAM_RESET, OPERATION_RESET},
        {VIRTIO_STREAM_RESPONSE, OPERATION_RESPONSE},
        {VIRTIO_STREAM_CREDIT, OPERATION_CREDIT_UPDATE},
        {VIRTIO_STREAM_SHUTDOWN, OPERATION_SHUTDOWN},
    };
    struct virtqueue_chain chain;
    unsigned i = 0;
    const struct port *gate = gate_of(vsock, stream);
    if (!take_room(vsock, gate, &chain))
        return false;
    while (!(stream->news & order[i].news))
        i++;
    struct virtio_vsock_header header = header_for(stream, order[i].operation, 0);
    if (!say(vsock, &header, &chain, gate, NULL, 0, NULL))
        return true;
    stream->news &= ~order[i].news;
    stream->taken_told = stream->taken;
    if (order[i].news == VIRTIO_STREAM_RESET)
        close_stream(vsock, stream);
    return true;
}

// Bytes that the guest still has room for.
static uint32_t credit(const struct virtio_stream *stream)
{
    uint32_t under_way = stream->sent - stream->guest_forwarded;
    return under_way < stream->guest_buffer_bytes ? stream->guest_buffer_bytes - under_way : 0;
}

static uint32_t part_of(const struct virtio_stream *stream, const struct virtqueue_chain *chain,
                        uint32_t left)
{
    uint32_t room = chain->writable_bytes - HEADER_BYTES;
    if (left > room)
        left = room;
    return left < credit(stream) ? left : credit(stream);
}

static bool say_table(struct virtio_vsock *vsock, struct virtio_stream *stream)
{
    struct virtqueue_chain chain;
    uint32_t left = vsock->table_bytes - stream->reply_done;
    const struct port *gate = gate_of(vsock, stream);
    if (!left || !credit(stream) || !take_room(vsock, gate, &chain))
        return false;
    struct virtio_vsock_header header =
        header_for(stream, OPERATION_DATA, part_of(stream, &chain, left));
    if (!say(vsock, &header, &chain, gate, NULL, 0, vsock->table + stream->reply_done))
        return true;
    stream->sent += header.length;
    stream->reply_done += header.length;
    if (stream->reply_done == vsock->table_bytes)
        stream->news |= VIRTIO_STREAM_SHUTDOWN;
    return true;
}

static bool say_reply(struct virtio_vsock *vsock, struct virtio_stream *stream)
{
    struct virtqueue_chain chain;
    struct port_call *call = stream->reply;
    const struct port *gate = gate_of(vsock, stream);
    if (!credit(stream) || !take_room(vsock, gate, &chain))
        return false;
    const struct port_reply_header reply = {call->status, call->reply_length, call->tag};
    uint32_t left = REPLY_BYTES + call->reply_length - stream->reply_done;
    struct virtio_vsock_header header =
        header_for(stream, OPERATION_DATA, part_of(stream, &chain, left));
    uint32_t head = stream->reply_done < REPLY_BYTES ? REPLY_BYTES - stream->reply_done : 0;
    if (head > header.length)
        head = header.length;
    uint32_t body = stream->reply_done + head - REPLY_BYTES;
    if (!say(vsock, &header, &chain, gate,
             (const uint8_t *)&reply + (head ? stream->reply_done : 0), head,
             header.length > head ? call->reply + body : NULL))
        return true;
    stream->sent += header.length;
    stream->reply_done += header.length;
    if (stream->reply_done == REPLY_BYTES + call->reply_length) {
        port_driver_free(call);
        stream->reply = NULL;
    }
    return true;
}

// A guest that has sent its last request gets the replies, then the end.
static void end_if_done(struct virtio_stream *stream)
{
    if (!stream->guest_done || !stream->port || stream->reply || stream->filling)
        return;
    const struct port_driver *driver = &stream->port->driver;
    for (unsigned i = 0; i < driver->count; i++) {
        if (driver->calls[i].state != PORT_CALL_FREE && driver->calls[i].owner == stream)
            return;
    }
    if (stream->buffered < REQUEST_BYTES)
        stream->news |= VIRTIO_STREAM_RESET;
}

static unsigned serve_stream(struct virtio_vsock *vsock, struct virtio_stream *stream)
{
    unsigned done = make_requests(stream);
    if (stream->port && !stream->reply)
        choose_reply(stream);
    end_if_done(stream);
    if (stream->news)
        return done + say_news(vsock, stream);
    if (!stream->port)
        return done + say_table(vsock, stream);
    return done + (stream->reply ? say_reply(vsock, stream) : 0);
}

static unsigned say_resets(struct virtio_vsock *vsock)
{
    struct virtqueue_chain chain;
    const struct port *gate = vsock->ports[0].driver.port;
    if (!vsock->reset_count || !take_room(vsock, gate, &chain))
        return 0;
    const struct virtio_vsock_reset *reset = &vsock->resets[vsock->reset_count - 1];
    const struct virtio_stream nobody = {
        .guest_port = reset->guest_port,
        .host_port = reset->host_port,
    };
    struct virtio_vsock_header header = header_for(&nobody, OPERATION_RESET, 0);
    if (say(vsock, &header, &chain, gate, NULL, 0, NULL))
        vsock->reset_count--;
    return 1;
}

static unsigned take_replies(struct virtio_vsock *vsock)
{
    unsigned done = 0;
    for (unsigned i = 0; i < vsock->port_count; i++) {
        struct port_driver *driver = &vsock->ports[i].driver;
        struct port_call *call;
        while ((call = port_driver_next_done(driver))) {
            done++;
            // What has a payload was for its sender alone.
            if (!call->owner && call->header->length)
                port_driver_free(call);
        }
    }
    return done;
}

static unsigned vsock_serve(struct virtio_device *device)
{
    struct virtio_vsock *vsock = device->settings.state;
    unsigned done = take_replies(vsock);
    if (any_gate_open(vsock))
        done += hear_packets(vsock);
    if (device->broken)
        return done;
    done += say_resets(vsock);
    for (unsigned i = 0, open = vsock->open_streams; open && i < STREAM_MAX; i++) {
        // They take turns: room for packets to the guest is scarce.
        struct virtio_stream *stream = &vsock->streams[(vsock->next_stream + i) % STREAM_MAX];
        if (stream->open && !device->broken)
            done += serve_stream(vsock, stream);
    }
    vsock->next_stream = (vsock->next_stream + 1) % STREAM_MAX;
    return done;
}

static void vsock_reset(struct virtio_device *device)
{
    struct virtio_vsock *vsock = device->settings.state;
    for (unsigned i = 0; i < STREAM_MAX; i++) {
        if (vsock->streams[i].open)
            close_stream(vsock, &vsock->streams[i]);
    }
    vsock->reset_count = 0;
}

const struct virtio_model virtio_vsock = {
    .type = VIRTIO_TYPE_VSOCK,
    .serve = vsock_serve,
    .reset = vsock_reset,
};
