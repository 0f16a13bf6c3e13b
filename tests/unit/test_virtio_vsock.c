// SPDX-License-Identifier: Apache-2.0
// The socket device, from a driver's side: streams, credit, requests and replies, hostile packets.
#include "virtio_world.h"

enum { RX, TX };
enum { REQUEST = 1, RESPONSE, RESET, SHUTDOWN, DATA, CREDIT, CREDIT_REQUEST };

#define GUEST_PORT 5000u
#define ECHO_PORT  STREAM_FIRST_PORT // port 0 of the world
#define RX_BYTES   4140u

static struct world *make(void)
{
    struct world *w = world_create();
    unsigned device =
        world_add_device(w, VIRTIO_TYPE_VSOCK, world_add_port(w, PORT_KIND_LOOPBACK, "echo"));
    world_add_to_device(w, device, world_add_port(w, PORT_KIND_MESSAGE, "other"));
    world_start(w);
    world_drive(w, 0, 0);
    return w;
}

static unsigned rx_slot, rx_next;

static void give_room(struct world *w, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        world_post(w, 0, RX, NULL, 0, world_buffer(w, 0, RX, rx_slot++ % 16), RX_BYTES);
}

static struct virtio_vsock_header header_of(uint32_t port, uint16_t operation, uint32_t length)
{
    return (struct virtio_vsock_header){
        .source_cid = STREAM_GUEST_CID,
        .target_cid = STREAM_HOST_CID,
        .source_port = GUEST_PORT,
        .target_port = port,
        .length = length,
        .type = 1,
        .operation = operation,
        .buffer_bytes = 1 << 20,
    };
}

static void say(struct world *w, const struct virtio_vsock_header *header, const void *data)
{
    static unsigned slot;
    uint8_t *buffer = world_buffer(w, 0, TX, slot++ % 16);
    memcpy(buffer, header, sizeof(*header));
    memcpy(buffer + sizeof(*header), data, header->length);
    world_post(w, 0, TX, buffer, (uint32_t)sizeof(*header) + header->length, NULL, 0);
    world_settle(w);
    cr_assert_geq(world_used(w, 0, TX, NULL), 0);
}

static void send(struct world *w, uint32_t port, uint16_t operation, const void *data,
                 uint32_t length)
{
    struct virtio_vsock_header header = header_of(port, operation, length);
    say(w, &header, data);
}

// The next packet of the device; its data in `data`. Returns false if there is none.
static bool hear(struct world *w, struct virtio_vsock_header *header, uint8_t *data)
{
    uint32_t written = 0;
    if (world_used(w, 0, RX, &written) < 0)
        return false;
    const uint8_t *buffer = world_buffer(w, 0, RX, rx_next++ % 16);
    cr_assert_geq(written, sizeof(*header));
    memcpy(header, buffer, sizeof(*header));
    cr_assert_eq(written, sizeof(*header) + header->length);
    memcpy(data, buffer + sizeof(*header), header->length);
    cr_expect_eq(header->source_cid, STREAM_HOST_CID);
    cr_expect_eq(header->target_cid, STREAM_GUEST_CID);
    cr_expect_eq(header->target_port, GUEST_PORT);
    return true;
}

static void expect(struct world *w, uint16_t operation)
{
    struct virtio_vsock_header header;
    uint8_t data[RX_BYTES];
    cr_assert(hear(w, &header, data), "no packet");
    cr_expect_eq(header.operation, operation, "operation %u, not %u", header.operation, operation);
}

static void connect(struct world *w, uint32_t port)
{
    rx_slot = rx_next = 0;
    give_room(w, 14);
    send(w, port, REQUEST, "", 0);
    expect(w, RESPONSE);
}

// A request of `length` bytes of a pattern.
static uint32_t make_request(uint8_t *bytes, uint64_t cookie, uint32_t length)
{
    const struct port_request_header header = {
        .operation = LOOPBACK_ECHO, .cookie = cookie, .length = length};
    memcpy(bytes, &header, sizeof(header));
    for (uint32_t i = 0; i < length; i++)
        bytes[sizeof(header) + i] = (uint8_t)(i * 31 + cookie);
    return (uint32_t)sizeof(header) + length;
}

// Reads one reply, whatever pieces it comes in.
static void expect_reply(struct world *w, uint64_t cookie, uint32_t length)
{
    static uint8_t all[1 << 20];
    uint32_t got = 0;
    struct port_reply_header reply;
    for (unsigned turns = 0; got < sizeof(reply) + length && turns < 1000; turns++) {
        struct virtio_vsock_header header;
        world_settle(w);
        while (got < sizeof(reply) + length && hear(w, &header, all + got)) {
            if (header.operation == DATA)
                got += header.length;
            else
                cr_assert_eq(header.operation, CREDIT);
            give_room(w, 1);
        }
    }
    cr_assert_eq(got, sizeof(reply) + length);
    memcpy(&reply, all, sizeof(reply));
    cr_expect_eq(reply.cookie, cookie);
    cr_expect_eq(reply.status, 0u);
    cr_expect_eq(reply.length, length);
    for (uint32_t i = 0; i < length; i++)
        cr_assert_eq(all[sizeof(reply) + i], (uint8_t)(i * 31 + cookie), "byte %u", i);
}

Test(virtio_vsock, echoes_in_any_pieces)
{
    static uint8_t bytes[1 << 18];
    struct world *w = make();
    connect(w, ECHO_PORT);
    const uint32_t sizes[] = {0, 1, 100, 4096, 65536, 200000};
    const uint32_t pieces[] = {1, 7, 24, 4000, 60000};
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        for (unsigned k = 0; k < COUNT(pieces); k++) {
            if (sizes[i] / pieces[k] > 5000)
                continue;
            uint64_t cookie = i * 100 + k;
            uint32_t length = make_request(bytes, cookie, sizes[i]);
            for (uint32_t at = 0; at < length; at += pieces[k])
                send(w, ECHO_PORT, DATA, bytes + at,
                     length - at < pieces[k] ? length - at : pieces[k]);
            expect_reply(w, cookie, sizes[i]);
        }
    }
    cr_expect_eq(w->anomalies, 0u);
    world_end(w);
}

Test(virtio_vsock, table_of_ports_then_the_end)
{
    struct world *w = make();
    struct virtio_vsock_header header;
    static uint8_t data[RX_BYTES];
    struct stream_table table;
    struct stream_table_entry entries[2];
    connect(w, STREAM_TABLE_PORT);
    world_settle(w);
    cr_assert(hear(w, &header, data));
    cr_expect_eq(header.operation, DATA);
    cr_assert_eq(header.length, sizeof(table) + sizeof(entries));
    memcpy(&table, data, sizeof(table));
    memcpy(entries, data + sizeof(table), sizeof(entries));
    cr_expect_str_eq(table.format, STREAM_FORMAT);
    cr_expect_eq(table.count, 2u);
    cr_expect_str_eq(entries[0].name, "echo");
    cr_expect_eq(entries[0].kind, (uint32_t)PORT_KIND_LOOPBACK);
    cr_expect_eq(entries[0].vsock_port, ECHO_PORT);
    cr_expect_str_eq(entries[1].name, "other");
    cr_expect_eq(entries[1].vsock_port, ECHO_PORT + 1);
    expect(w, SHUTDOWN);
    send(w, STREAM_TABLE_PORT, RESET, "", 0);
    cr_expect_eq(w->devices.vsock.open_streams, 0u);
    world_end(w);
}

Test(virtio_vsock, what_is_not_there_is_reset)
{
    struct world *w = make();
    rx_slot = rx_next = 0;
    give_room(w, 12);
    send(w, 22, REQUEST, "", 0);
    expect(w, RESET);
    send(w, ECHO_PORT, DATA, "abc", 3);
    expect(w, RESET);
    send(w, ECHO_PORT, RESET, "", 0); // never answered: two sides would do so for ever
    struct virtio_vsock_header header = header_of(ECHO_PORT, REQUEST, 0);
    header.type = 2; // sequenced packets
    say(w, &header, "");
    expect(w, RESET);
    header = header_of(ECHO_PORT, REQUEST, 0);
    header.target_cid = 17;
    say(w, &header, "");
    expect(w, RESET);
    cr_expect_eq(w->anomalies, 0u);
    cr_expect_eq(w->devices.vsock.open_streams, 0u);
    world_end(w);
}

Test(virtio_vsock, more_than_the_credit_is_reset)
{
    static uint8_t zeros[65536];
    struct world *w = make();
    connect(w, ECHO_PORT + 1);
    w->ports[1].stuck = true;
    uint8_t bytes[64];
    // All calls are taken: the rest stays in the stream's buffer.
    for (unsigned i = 0; i < 8; i++)
        send(w, ECHO_PORT + 1, DATA, bytes, make_request(bytes, i, 8));
    cr_expect_eq(w->ports[1].submitted, 8u);
    send(w, ECHO_PORT + 1, DATA, zeros, 65000);
    send(w, ECHO_PORT + 1, DATA, zeros, 1000);
    world_settle(w);
    struct virtio_vsock_header header;
    static uint8_t data[RX_BYTES];
    bool reset = false;
    while (hear(w, &header, data))
        reset = reset || header.operation == RESET;
    cr_expect(reset);
    cr_expect_eq(w->devices.vsock.open_streams, 0u);
    world_end(w);
}

Test(virtio_vsock, malformed_requests_reset_the_stream_only)
{
    struct world *w = make();
    const struct port_request_header bad[] = {
        {.operation = 1, .flags = 1},
        {.operation = 1, .length = (1u << 18) + 1},
        {.operation = 1, .length = UINT32_MAX},
    };
    for (unsigned i = 0; i < COUNT(bad); i++) {
        connect(w, ECHO_PORT);
        send(w, ECHO_PORT, DATA, &bad[i], sizeof(bad[i]));
        world_settle(w);
        expect(w, RESET);
        cr_expect_eq(w->devices.vsock.open_streams, 0u);
        world_drive(w, 0, 0);
    }
    cr_expect_eq(w->anomalies, 0u);
    // A packet that lies about its own length is the kernel's doing: the device breaks.
    struct virtio_vsock_header header = header_of(ECHO_PORT, DATA, 0);
    header.length = 100;
    uint8_t *buffer = world_buffer(w, 0, TX, 0);
    memcpy(buffer, &header, sizeof(header));
    world_post(w, 0, TX, buffer, sizeof(header), NULL, 0);
    world_settle(w);
    cr_expect_eq(w->anomalies, 1u);
    cr_expect(world_load(w, 0, VIRTIO_STATUS) & VIRTIO_STATUS_NEEDS_RESET);
    world_end(w);
}

// A process waited for a message and died: whoever asks next gets it.
Test(virtio_vsock, a_message_is_not_lost_with_who_waited_for_it)
{
    struct world *w = make();
    const struct port_request_header receive = {.operation = MESSAGE_RECEIVE, .cookie = 1};
    struct port_request_header again = receive;
    again.cookie = 2;
    connect(w, ECHO_PORT + 1);
    send(w, ECHO_PORT + 1, DATA, &receive, sizeof(receive));
    cr_expect_eq(w->ports[1].submitted, 1u);
    struct virtio_vsock_header shutdown = header_of(ECHO_PORT + 1, SHUTDOWN, 0);
    shutdown.flags = 3;
    say(w, &shutdown, "");
    expect(w, RESET);
    memcpy(w->ports[1].input, "news", 4);
    w->ports[1].input_bytes = 4;
    world_settle(w);
    send(w, ECHO_PORT + 1, REQUEST, "", 0);
    expect(w, RESPONSE);
    send(w, ECHO_PORT + 1, DATA, &again, sizeof(again));
    world_settle(w);
    cr_expect_eq(w->ports[1].submitted, 1u, "asked once");
    struct virtio_vsock_header header;
    static uint8_t data[RX_BYTES];
    struct port_reply_header reply;
    cr_assert(hear(w, &header, data));
    memcpy(&reply, data, sizeof(reply));
    cr_expect_eq(reply.cookie, 2u);
    cr_expect_arr_eq(data + sizeof(reply), "news", 4);
    world_end(w);
}

Test(virtio_vsock, no_byte_while_the_gate_is_shut)
{
    uint8_t bytes[64];
    struct world *w = make();
    struct virtio_vsock_header header;
    static uint8_t data[RX_BYTES];
    connect(w, ECHO_PORT);
    w->ports[0].stuck = true;
    send(w, ECHO_PORT, DATA, bytes, make_request(bytes, 1, 8));
    atomic_store(&w->level_own.level, LEVEL_SEVERED);
    w->ports[0].stuck = false;
    world_settle(w);
    cr_expect_not(hear(w, &header, data));
    atomic_store(&w->level_own.level, LEVEL_STANDARD);
    world_settle(w);
    // The request was dropped with the level; its stream hears that.
    cr_assert(hear(w, &header, data));
    struct port_reply_header reply;
    memcpy(&reply, data, sizeof(reply));
    cr_expect_eq(reply.status, (uint32_t)PORT_STATUS_CLOSED);
    cr_expect_eq(reply.length, 0u);
    world_end(w);
}

// Random packets: the device stays within its bounds, and gives everything back.
Test(virtio_vsock, random_packets)
{
    static uint8_t noise[3000];
    struct world *w = make();
    uint64_t state = 12345;
    rx_slot = rx_next = 0;
    give_room(w, 8);
    for (unsigned i = 0; i < 20000; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t r = (uint32_t)(state >> 33);
        struct virtio_vsock_header header = header_of(
            r % 7 ? ECHO_PORT + r / 7 % 3 : r, (uint16_t)(r / 64 % 9), r / 1024 % sizeof(noise));
        header.source_port = GUEST_PORT + r / 4096 % 100;
        header.flags = r / 65536 % 4;
        header.buffer_bytes = r % 5 ? 4096 : r;
        header.forwarded = r % 11 ? 0 : r;
        for (unsigned k = 0; k < 64; k++)
            noise[k] = (uint8_t)(r >> (k % 24));
        noise[4] = noise[5] = noise[6] = noise[7] = (uint8_t)(r % 97 == 0); // flags
        noise[18] = noise[19] = 0;                                          // lengths below 64 KiB
        if (r % 3 == 0) { // something sound among it
            header.operation = DATA;
            header.length = make_request(noise, r, r / 16 % 200);
        }
        say(w, &header, noise);
        uint32_t written;
        while (world_used(w, 0, RX, &written) >= 0)
            give_room(w, 1);
        cr_assert_leq(w->devices.vsock.open_streams, STREAM_MAX);
        cr_assert_leq(w->devices.vsock.reset_count, VIRTIO_VSOCK_RESETS);
    }
    cr_expect_eq(w->anomalies, 0u);
    cr_expect_gt(w->ports[0].submitted, 10u);
    world_drive(w, 0, 0);
    cr_expect_eq(w->devices.vsock.open_streams, 0u);
    world_end(w);
}
