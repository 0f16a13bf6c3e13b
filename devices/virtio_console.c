// SPDX-License-Identifier: Apache-2.0
// The console device with its channels.
#include "virtio_console.h"

#include <string.h>

#define CONTROL_TO_GUEST   2u
#define CONTROL_FROM_GUEST 3u

// How long after a refusal the port is asked for input once more.
#define ASK_AGAIN_NS (100 * NS_PER_MS)

// Tags of calls: the driver's generation, and which way.
#define TAG_READ 1u

enum control_event {
    EVENT_DEVICE_READY = 0,
    EVENT_PORT_ADD = 1,
    EVENT_PORT_READY = 3,
    EVENT_CONSOLE_PORT = 4,
    EVENT_PORT_OPEN = 6,
    EVENT_PORT_NAME = 7,
};

struct control_message {
    uint32_t id;
    uint16_t event;
    uint16_t value;
};
_Static_assert(sizeof(struct control_message) == 8, "virtio 1.2, 5.3.6.2");

static unsigned receive_queue(unsigned channel)
{
    return channel ? 2 + 2 * channel : 0;
}

static unsigned transmit_queue(unsigned channel)
{
    return receive_queue(channel) + 1;
}

void virtio_console_charge(struct virtio_console *console)
{
    virtio_device_charge(console->device, CONTROL_TO_GUEST, console->channels[0].driver.port);
    virtio_device_charge(console->device, CONTROL_FROM_GUEST, console->channels[0].driver.port);
    for (unsigned i = 0; i < console->channel_count; i++) {
        struct port *port = console->channels[i].driver.port;
        virtio_device_charge(console->device, receive_queue(i), port);
        virtio_device_charge(console->device, transmit_queue(i), port);
    }
}

static void hear(struct virtio_console *console, const struct control_message *message)
{
    if (message->event == EVENT_DEVICE_READY && message->value == 1) {
        for (unsigned i = 0; i < console->channel_count; i++)
            console->channels[i].news |= VIRTIO_NEWS_ADD;
    }
    if (message->event == EVENT_PORT_READY && message->value == 1 &&
        message->id < console->channel_count)
        console->channels[message->id].news |=
            VIRTIO_NEWS_OPEN | (message->id ? VIRTIO_NEWS_NAME : VIRTIO_NEWS_CONSOLE);
    if (message->event == EVENT_PORT_OPEN && message->id < console->channel_count)
        console->channels[message->id].connected = message->value;
}

static unsigned hear_control(struct virtio_console *console)
{
    struct virtqueue_chain chain;
    struct control_message message;
    struct virtio_device *device = console->device;
    if (!virtio_has_work(device, CONTROL_FROM_GUEST) ||
        !virtio_take(device, CONTROL_FROM_GUEST, &chain))
        return 0;
    if (chain.readable_bytes < sizeof(message) ||
        !virtio_copy_in(device, CONTROL_FROM_GUEST, &chain, 0, &message, sizeof(message))) {
        virtio_refuse(device, CONTROL_FROM_GUEST, chain.head);
        return 1;
    }
    virtio_push(device, CONTROL_FROM_GUEST, chain.head, 0);
    hear(console, &message);
    return 1;
}

// The next thing to say about a channel: its bit, and the event that says it.
static unsigned next_news(const struct virtio_channel *channel, struct control_message *message)
{
    static const struct {
        unsigned news;
        uint16_t event;
    } order[] = {
        {VIRTIO_NEWS_ADD, EVENT_PORT_ADD},
        {VIRTIO_NEWS_CONSOLE, EVENT_CONSOLE_PORT},
        {VIRTIO_NEWS_NAME, EVENT_PORT_NAME},
        {VIRTIO_NEWS_OPEN, EVENT_PORT_OPEN},
    };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (!(channel->news & order[i].news))
            continue;
        message->event = order[i].event;
        message->value = 1;
        return order[i].news;
    }
    return 0;
}

static unsigned say_control(struct virtio_console *console, unsigned index)
{
    struct virtio_channel *channel = &console->channels[index];
    struct virtio_device *device = console->device;
    const struct port *port = console->channels[0].driver.port;
    uint8_t bytes[sizeof(struct control_message) + PORT_NAME_SIZE];
    struct control_message message = {.id = index};
    struct virtqueue_chain chain;
    unsigned news = next_news(channel, &message);
    if (!news || !virtio_has_work(device, CONTROL_TO_GUEST) ||
        !virtio_take(device, CONTROL_TO_GUEST, &chain))
        return 0;
    uint32_t length = sizeof(message);
    memcpy(bytes, &message, sizeof(message));
    if (news == VIRTIO_NEWS_NAME) {
        uint32_t name = (uint32_t)strnlen(channel->name, sizeof(channel->name));
        memcpy(bytes + length, channel->name, name);
        length += name;
    }
    if (chain.writable_bytes < length) {
        virtio_refuse(device, CONTROL_TO_GUEST, chain.head);
        return 1;
    }
    // If the gate shut at this moment the driver gets an empty message, which it passes over, and
    // hears this one later.
    bool said = virtio_copy_out(device, CONTROL_TO_GUEST, &chain, 0, bytes, length, port);
    virtio_push(device, CONTROL_TO_GUEST, chain.head, said ? length : 0);
    if (said)
        channel->news &= ~news;
    return 1;
}

static unsigned serve_control(struct virtio_console *console)
{
    if (!port_gate_is_open(console->channels[0].driver.port))
        return 0;
    unsigned done = hear_control(console);
    for (unsigned i = 0; i < console->channel_count; i++)
        done += console->channels[i].news ? say_control(console, i) : 0;
    return done;
}

// Sends the next part of the chain that the guest wrote.
static unsigned send_part(struct virtio_console *console, unsigned index)
{
    struct virtio_channel *channel = &console->channels[index];
    struct virtio_device *device = console->device;
    uint32_t left = channel->sent.readable_bytes - channel->sent_bytes;
    uint32_t most = channel->driver.max_request_bytes;
    // A message that is longer than the port takes is lost, as a datagram would be.
    if (!left || (channel->whole && left > most)) {
        virtio_push(device, transmit_queue(index), channel->sent.head, 0);
        channel->sending = false;
        return 1;
    }
    struct port_call *call = port_driver_take(&channel->driver, channel, console->generation << 1);
    if (!call)
        return 0;
    uint32_t part = left < most ? left : most;
    if (!virtio_copy_in(device, transmit_queue(index), &channel->sent, channel->sent_bytes,
                        call->payload, part)) {
        port_driver_free(call);
        virtio_refuse(device, transmit_queue(index), channel->sent.head);
        return 1;
    }
    port_driver_send(&channel->driver, call, channel->write_operation, channel->write_argument,
                     part);
    channel->sent_bytes += part;
    channel->send_pending = true;
    return 1;
}

static unsigned serve_output(struct virtio_console *console, unsigned index)
{
    struct virtio_channel *channel = &console->channels[index];
    struct virtio_device *device = console->device;
    if (channel->send_pending || !port_gate_is_open(channel->driver.port))
        return 0;
    if (!channel->sending) {
        if (!virtio_has_work(device, transmit_queue(index)) ||
            !virtio_take(device, transmit_queue(index), &channel->sent))
            return 0;
        channel->sending = true;
        channel->sent_bytes = 0;
    }
    return send_part(console, index);
}

static bool may_receive(const struct virtio_console *console, const struct virtio_channel *channel)
{
    return channel->connected ||
           !(console->device->driver_features & VIRTIO_CONSOLE_FEATURES); // it cannot say so
}

static unsigned ask_for_input(struct virtio_console *console, unsigned index)
{
    struct virtio_channel *channel = &console->channels[index];
    const struct clock *clock = console->device->settings.clock;
    // Nothing is asked for that the guest has no room for.
    if (!channel->read_operation || channel->asked || channel->ended ||
        !may_receive(console, channel) || !virtio_has_work(console->device, receive_queue(index)) ||
        !port_gate_is_open(channel->driver.port) ||
        (channel->ask_again_ns && clock_now_ns(clock) < channel->ask_again_ns))
        return 0;
    struct port_call *call =
        port_driver_take(&channel->driver, channel, console->generation << 1 | TAG_READ);
    if (!call)
        return 0;
    uint32_t most = channel->driver.max_reply_bytes;
    port_driver_send(&channel->driver, call, channel->read_operation, channel->whole ? 0 : most, 0);
    channel->asked = true;
    channel->ask_again_ns = 0;
    return 1;
}

// Hands on what came, as far as the guest has room.
static unsigned deliver_input(struct virtio_console *console, unsigned index)
{
    struct virtio_channel *channel = &console->channels[index];
    struct virtio_device *device = console->device;
    const struct port *port = channel->driver.port;
    struct virtqueue_chain chain;
    unsigned queue = receive_queue(index);
    if (!channel->reply || !may_receive(console, channel) || !virtio_has_work(device, queue) ||
        !port_gate_is_open(port) || !virtio_take(device, queue, &chain))
        return 0;
    uint32_t left = channel->reply->reply_length - channel->reply_done;
    uint32_t part = left < chain.writable_bytes ? left : chain.writable_bytes;
    bool copied = virtio_copy_out(device, queue, &chain, 0,
                                  channel->reply->reply + channel->reply_done, part, port);
    virtio_push(device, queue, chain.head, copied ? part : 0);
    channel->reply_done += copied ? part : 0;
    if (channel->reply_done == channel->reply->reply_length) {
        port_driver_free(channel->reply);
        channel->reply = NULL;
        channel->asked = false;
    }
    return 1;
}

static void take_reply(struct virtio_console *console, struct virtio_channel *channel,
                       struct port_call *call)
{
    if (call->owner != channel) { // of the debug serial port
        port_driver_free(call);
        return;
    }
    if (!(call->tag & TAG_READ)) {
        if (call->tag >> 1 == console->generation)
            channel->send_pending = false;
        port_driver_free(call);
        return;
    }
    // Input that a driver asked for that is gone meanwhile is the next one's.
    if (call->status == PORT_STATUS_OK && call->reply_length) {
        channel->reply = call;
        channel->reply_done = 0;
        return;
    }
    bool end = call->status == PORT_STATUS_OK && !channel->whole;
    channel->ended = end || call->status == PORT_STATUS_BROKEN;
    channel->asked = false;
    channel->ask_again_ns = clock_now_ns(console->device->settings.clock) + ASK_AGAIN_NS;
    port_driver_free(call);
}

static unsigned serve_channel(struct virtio_console *console, unsigned index)
{
    struct virtio_channel *channel = &console->channels[index];
    struct port_call *call;
    unsigned done = 0;
    while ((call = port_driver_next_done(&channel->driver))) {
        take_reply(console, channel, call);
        done++;
    }
    done += serve_output(console, index);
    done += deliver_input(console, index);
    return done + ask_for_input(console, index);
}

static unsigned console_serve(struct virtio_device *device)
{
    struct virtio_console *console = device->settings.state;
    unsigned done = serve_control(console);
    for (unsigned i = 0; i < console->channel_count && !device->broken; i++)
        done += serve_channel(console, i);
    return done;
}

static void console_reset(struct virtio_device *device)
{
    struct virtio_console *console = device->settings.state;
    console->generation++;
    for (unsigned i = 0; i < console->channel_count; i++) {
        struct virtio_channel *channel = &console->channels[i];
        channel->news = 0;
        channel->sending = channel->send_pending = channel->connected = false;
    }
}

static void console_prepare_sleep(struct virtio_device *device, uint64_t *wake_ns)
{
    const struct virtio_console *console = device->settings.state;
    for (unsigned i = 0; i < console->channel_count; i++) {
        uint64_t again = console->channels[i].ask_again_ns;
        if (again && again < *wake_ns && !console->channels[i].ended &&
            virtio_has_work(device, receive_queue(i)))
            *wake_ns = again;
    }
}

const struct virtio_model virtio_console = {
    .type = VIRTIO_TYPE_CONSOLE,
    .serve = console_serve,
    .reset = console_reset,
    .prepare_sleep = console_prepare_sleep,
};
