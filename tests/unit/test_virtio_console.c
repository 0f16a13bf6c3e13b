// SPDX-License-Identifier: Apache-2.0
// The console device and its channels, from a driver's side.
#include "virtio_world.h"

enum { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1 };

static struct world *make(void)
{
    struct world *w = world_create();
    unsigned console = world_add_port(w, PORT_KIND_CONSOLE, "console");
    unsigned device = world_add_device(w, VIRTIO_TYPE_CONSOLE, console);
    world_add_to_device(w, device, world_add_port(w, PORT_KIND_MESSAGE, "events"));
    world_start(w);
    world_drive(w, 0, 1 << 1); // MULTIPORT
    return w;
}

struct control {
    uint32_t id;
    uint16_t event, value;
};

static void tell(struct world *w, uint32_t id, uint16_t event, uint16_t value)
{
    const struct control message = {id, event, value};
    uint8_t *buffer = world_buffer(w, 0, CONTROL_TX, 0);
    memcpy(buffer, &message, sizeof(message));
    world_post(w, 0, CONTROL_TX, buffer, sizeof(message), NULL, 0);
    world_settle(w);
    cr_assert_geq(world_used(w, 0, CONTROL_TX, NULL), 0);
}

// Takes the next control message of the device into `text`; returns its length.
static uint32_t hear(struct world *w, struct control *message, char *text)
{
    uint32_t written = 0;
    static unsigned slot;
    int head = world_used(w, 0, CONTROL_RX, &written);
    if (head < 0)
        return 0;
    uint8_t *buffer = world_buffer(w, 0, CONTROL_RX, slot++ % 16);
    memcpy(message, buffer, sizeof(*message));
    memcpy(text, buffer + sizeof(*message), written - sizeof(*message));
    text[written - sizeof(*message)] = '\0';
    return written;
}

Test(virtio_console, introduces_its_channels)
{
    struct world *w = make();
    struct control message;
    char text[64];
    for (unsigned i = 0; i < 16; i++)
        world_post(w, 0, CONTROL_RX, NULL, 0, world_buffer(w, 0, CONTROL_RX, i), 64);
    world_settle(w);
    cr_assert_eq(hear(w, &message, text), 0u, "nobody asked");
    tell(w, 0, 0, 1); // DEVICE_READY
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(hear(w, &message, text), 8u);
        cr_expect_eq(message.id, i);
        cr_expect_eq(message.event, 1, "PORT_ADD");
    }
    tell(w, 0, 3, 1); // PORT_READY
    cr_assert_eq(hear(w, &message, text), 8u);
    cr_expect_eq(message.event, 4, "CONSOLE_PORT");
    cr_assert_eq(hear(w, &message, text), 8u);
    cr_expect_eq(message.event, 6, "PORT_OPEN");
    tell(w, 1, 3, 1);
    cr_assert_eq(hear(w, &message, text), 14u);
    cr_expect_eq(message.event, 7, "PORT_NAME");
    cr_expect_str_eq(text, "events");
    cr_assert_eq(hear(w, &message, text), 8u);
    cr_expect_eq(message.event, 6);
    cr_expect(world_interrupted(w, 0));
    cr_expect_eq(world_load(w, 0, VIRTIO_INTERRUPT_STATUS), VIRTIO_INTERRUPT_USED);
    world_end(w);
}

Test(virtio_console, carries_output_in_order_and_in_parts)
{
    struct world *w = make();
    uint8_t *buffer = world_buffer(w, 0, TX0, 0);
    for (unsigned i = 0; i < 10000; i++)
        buffer[i] = (uint8_t)(i * 7);
    int head = world_post(w, 0, TX0, buffer, 10000, NULL, 0);
    world_settle(w);
    cr_expect_eq(world_used(w, 0, TX0, NULL), head);
    cr_assert_eq(w->ports[0].output_bytes, 10000u);
    cr_expect_eq(memcmp(w->ports[0].output, buffer, 10000), 0);
    cr_expect_eq(w->ports[0].writes, 3u, "at most 4096 bytes each");
    // A channel's chain is one message.
    world_post(w, 0, TX1, buffer, 9000, NULL, 0);
    world_settle(w);
    cr_expect_eq(w->ports[1].writes, 1u);
    cr_expect_eq(w->ports[1].output_bytes, 9000u);
    world_end(w);
}

Test(virtio_console, gives_input_only_where_there_is_room)
{
    struct world *w = make();
    uint32_t written;
    memcpy(w->ports[0].input, "hello, guest", 12);
    w->ports[0].input_bytes = 12;
    tell(w, 0, 6, 1);
    cr_expect_eq(w->ports[0].submitted, 0u, "no buffer, no question");
    uint8_t *buffer = world_buffer(w, 0, RX0, 0);
    world_post(w, 0, RX0, NULL, 0, buffer, 5);
    world_post(w, 0, RX0, NULL, 0, buffer + 64, 100);
    world_settle(w);
    cr_assert_geq(world_used(w, 0, RX0, &written), 0);
    cr_expect_eq(written, 5u);
    cr_expect_arr_eq(buffer, "hello", 5);
    cr_assert_geq(world_used(w, 0, RX0, &written), 0);
    cr_expect_eq(written, 7u);
    cr_expect_arr_eq(buffer + 64, ", guest", 7);
    // A question that waits is the next driver's too.
    world_post(w, 0, RX0, NULL, 0, buffer, 100);
    world_settle(w);
    unsigned asked = w->ports[0].submitted;
    world_drive(w, 0, 1 << 1);
    world_post(w, 0, RX0, NULL, 0, buffer, 100);
    world_settle(w);
    cr_expect_eq(w->ports[0].submitted, asked);
    w->ports[0].input[0] = 'x';
    w->ports[0].input_bytes = 1;
    world_settle(w);
    cr_expect_eq(world_used(w, 0, RX0, &written), -1, "nobody has it open");
    tell(w, 0, 6, 1);
    cr_assert_geq(world_used(w, 0, RX0, &written), 0);
    cr_expect_eq(written, 1u);
    cr_expect_eq(buffer[0], 'x');
    world_end(w);
}

Test(virtio_console, no_byte_while_the_gate_is_shut)
{
    struct world *w = make();
    uint32_t written;
    uint8_t *buffer = world_buffer(w, 0, RX0, 0);
    tell(w, 0, 6, 1);
    world_post(w, 0, RX0, NULL, 0, buffer, 100);
    world_settle(w);
    atomic_store(&w->level_own.level, LEVEL_SEVERED);
    w->ports[0].input[0] = 'x';
    w->ports[0].input_bytes = 1;
    world_post(w, 0, TX0, (const uint8_t *)memcpy(world_buffer(w, 0, TX0, 0), "secret", 6), 6, NULL,
               0);
    world_settle(w);
    cr_expect_eq(world_used(w, 0, RX0, &written), -1);
    cr_expect_eq(world_used(w, 0, TX0, &written), -1);
    cr_expect_eq(buffer[0], 0);
    cr_expect_eq(w->ports[0].output_bytes, 0u);
    atomic_store(&w->level_own.level, LEVEL_STANDARD);
    for (unsigned i = 0; i < 5; i++) {
        w->now += 200000000; // it asks again after a while
        world_settle(w);
    }
    cr_expect_geq(world_used(w, 0, RX0, &written), 0);
    cr_expect_geq(world_used(w, 0, TX0, &written), 0);
    cr_expect_eq(buffer[0], 'x');
    cr_expect_eq(w->ports[0].output_bytes, 6u);
    world_end(w);
}

Test(virtio_console, hostile_control_messages)
{
    struct world *w = make();
    uint8_t *buffer = world_buffer(w, 0, CONTROL_TX, 0);
    for (unsigned id = 0; id < 70000; id += 4097)
        for (uint16_t event = 0; event < 20; event++)
            tell(w, id, event, (uint16_t)(id + event));
    cr_expect_eq(w->anomalies, 0u);
    world_post(w, 0, CONTROL_TX, buffer, 3, NULL, 0);
    world_settle(w);
    cr_expect(world_load(w, 0, VIRTIO_STATUS) & VIRTIO_STATUS_NEEDS_RESET);
    cr_expect_eq(w->anomalies, 1u);
    cr_expect_eq(port_counters(w->ports[0].port)->state, PORT_CLOSED_ANOMALY);
    // A reset alone does not open the port again.
    world_drive(w, 0, 1 << 1);
    world_post(w, 0, TX0, buffer, 3, NULL, 0);
    world_settle(w);
    cr_expect_eq(w->ports[0].output_bytes, 0u);
    port_open(w->ports[0].port);
    world_settle(w);
    world_settle(w);
    cr_expect_eq(w->ports[0].output_bytes, 3u);
    world_end(w);
}
