// SPDX-License-Identifier: Apache-2.0
// The virtio devices of a Linux guest, as the configuration names them.
#include "linux_devices.h"

#include <string.h>

#include "stream_abi.h"

_Static_assert(LINUX_MAX_DEVICES == VMM_MAX_DEVICES, "one number of devices");
_Static_assert(STREAM_NAME_SIZE == PORT_NAME_SIZE, "one size of names");

// Entries of a queue, at most.
#define QUEUE_SIZE 128u

// How a channel of the console uses a port of that kind.
static const struct channel_kind {
    uint32_t kind; // enum port_kind
    uint32_t write_operation;
    uint32_t write_argument;
    uint32_t read_operation;
    bool whole;
} channel_kinds[] = {
    {PORT_KIND_CONSOLE, CONSOLE_WRITE, 0, CONSOLE_READ, false},
    {PORT_KIND_MESSAGE, MESSAGE_SEND, 0, MESSAGE_RECEIVE, true},
    {PORT_KIND_LOG, LOG_WRITE, LOG_SEVERITY_INFORMATION, 0, true},
};

static int open_driver(struct linux_devices *devices, unsigned port, struct port_driver *driver,
                       struct error *err)
{
    const struct vmm_port_config *config = &devices->config->ports[port];
    if (port >= devices->config->port_count || devices->drivers[port])
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "port %u has two devices", port);
    devices->drivers[port] = driver;
    return port_driver_open(driver, config->in_flight, config->max_request_bytes,
                            config->max_reply_bytes, err);
}

static int add_channel(struct linux_devices *devices, unsigned port, struct error *err)
{
    const struct vmm_port_config *config = &devices->config->ports[port];
    struct virtio_channel *channel = &devices->console.channels[devices->console.channel_count];
    size_t row = 0;
    while (row < sizeof(channel_kinds) / sizeof(channel_kinds[0]) &&
           channel_kinds[row].kind != config->kind)
        row++;
    if (row == sizeof(channel_kinds) / sizeof(channel_kinds[0]))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "port %u can be no channel", port);
    channel->write_operation = channel_kinds[row].write_operation;
    channel->write_argument = channel_kinds[row].write_argument;
    channel->read_operation = channel_kinds[row].read_operation;
    channel->whole = channel_kinds[row].whole;
    memcpy(channel->name, config->name, sizeof(channel->name));
    devices->console.channel_count++;
    return open_driver(devices, port, &channel->driver, err);
}

static int make_console(struct linux_devices *devices, struct virtio_device *device,
                        const struct vmm_device_config *config, struct virtio_settings *settings,
                        struct error *err)
{
    struct virtio_console *console = &devices->console;
    if (console->device)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "two consoles");
    console->device = device;
    for (unsigned i = 0; i < config->port_count; i++) {
        if (add_channel(devices, config->ports[i], err) < 0)
            return -1;
    }
    console->config = (struct virtio_console_config){.max_ports = console->channel_count};
    settings->model = &virtio_console;
    settings->state = console;
    settings->features = VIRTIO_CONSOLE_FEATURES;
    settings->queue_count = virtio_console_queues(console->channel_count);
    settings->config = &console->config;
    settings->config_bytes = sizeof(console->config);
    return 0;
}

static int make_entropy(struct linux_devices *devices, struct virtio_device *device,
                        const struct vmm_device_config *config, struct virtio_settings *settings,
                        struct error *err)
{
    struct virtio_calls *calls = &devices->entropy;
    if (calls->device)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "two entropy devices");
    *calls = (struct virtio_calls){.device = device, .model = &virtio_entropy_calls};
    settings->model = &virtio_entropy;
    settings->state = calls;
    settings->queue_count = 1;
    return open_driver(devices, config->ports[0], &calls->driver, err);
}

static int make_block(struct linux_devices *devices, struct virtio_device *device,
                      const struct vmm_device_config *config, struct virtio_settings *settings,
                      struct error *err)
{
    struct virtio_block *block = &devices->blocks[device - devices->devices];
    const struct vmm_port_config *port = &devices->config->ports[config->ports[0]];
    block->calls = (struct virtio_calls){.device = device, .model = &virtio_block_calls};
    if (open_driver(devices, config->ports[0], &block->calls.driver, err) < 0)
        return -1;
    settings->model = &virtio_block;
    settings->state = block;
    settings->features =
        virtio_block_describe(block, port->options.block.sectors, port->options.block.writable,
                              port->options.block.discards);
    settings->queue_count = 1;
    settings->config = &block->config;
    settings->config_bytes = sizeof(block->config);
    memcpy(block->serial, port->name, sizeof(block->serial));
    return 0;
}

static int make_vsock(struct linux_devices *devices, struct virtio_device *device,
                      const struct vmm_device_config *config, struct virtio_settings *settings,
                      struct error *err)
{
    struct virtio_vsock *vsock = &devices->vsock;
    if (vsock->device)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "two socket devices");
    if (virtio_vsock_open(vsock, device, err) < 0)
        return -1;
    for (unsigned i = 0; i < config->port_count; i++) {
        struct virtio_vsock_port *port = &vsock->ports[vsock->port_count++];
        port->number = STREAM_FIRST_PORT + config->ports[i];
        if (open_driver(devices, config->ports[i], &port->driver, err) < 0)
            return -1;
    }
    settings->model = &virtio_vsock;
    settings->state = vsock;
    settings->queue_count = VIRTIO_VSOCK_QUEUES;
    settings->config = &vsock->config;
    settings->config_bytes = sizeof(vsock->config);
    return 0;
}

static const struct {
    uint32_t type;
    unsigned ports_max;
    int (*make)(struct linux_devices *devices, struct virtio_device *device,
                const struct vmm_device_config *config, struct virtio_settings *settings,
                struct error *err);
} makers[] = {
    {VIRTIO_TYPE_CONSOLE, VIRTIO_CHANNELS_MAX, make_console},
    {VIRTIO_TYPE_ENTROPY, 1, make_entropy},
    {VIRTIO_TYPE_BLOCK, 1, make_block},
    {VIRTIO_TYPE_VSOCK, VIRTIO_VSOCK_PORTS_MAX, make_vsock},
};

static int make_one(struct linux_devices *devices, unsigned index, struct virtio_settings *settings,
                    struct error *err)
{
    const struct vmm_device_config *config = &devices->config->linux_guest.devices[index];
    struct virtio_device *device = &devices->devices[index];
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
        if (makers[i].type != config->type)
            continue;
        if (!config->port_count || config->port_count > makers[i].ports_max)
            break;
        if (makers[i].make(devices, device, config, settings, err) < 0)
            return -1;
        return virtio_device_init(device, settings, err);
    }
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "unknown device");
}

// What the guest's processes read about the ports.
static void fill_table(struct linux_devices *devices)
{
    for (unsigned i = 0; i < devices->config->port_count; i++) {
        const struct vmm_port_config *port = &devices->config->ports[i];
        struct stream_table_entry entry = {
            .kind = port->kind,
            .max_request_bytes = port->max_request_bytes,
            .max_reply_bytes = port->max_reply_bytes,
            .in_flight = port->in_flight,
            .operations = port->operations,
        };
        for (unsigned k = 0; k < devices->vsock.port_count; k++) {
            if (&devices->vsock.ports[k].driver == devices->drivers[i])
                entry.vsock_port = devices->vsock.ports[k].number;
        }
        memcpy(entry.name, port->name, sizeof(entry.name) - 1);
        virtio_vsock_list(&devices->vsock, &entry);
    }
}

int linux_devices_make(struct linux_devices *devices, const struct vmm_config *config,
                       const struct guest_memory *memory, const int *interrupts,
                       const struct clock *clock, const struct virtio_host *host, struct error *err)
{
    devices->config = config;
    if (config->linux_guest.device_count > VMM_MAX_DEVICES)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "too many devices");
    for (unsigned i = 0; i < config->linux_guest.device_count; i++) {
        struct virtio_settings settings = {
            .queue_size_max = QUEUE_SIZE,
            .memory = memory,
            .interrupt_fd = interrupts[i],
            .clock = clock,
            .host = *host,
        };
        if (make_one(devices, i, &settings, err) < 0)
            return error_wrap(err, "device %u", i);
        devices->count++;
    }
    for (unsigned i = 0; i < config->port_count; i++) {
        if (!devices->drivers[i])
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "port %s has no device",
                             config->ports[i].name);
    }
    if (devices->vsock.device)
        fill_table(devices);
    if (config->linux_guest.debug_serial && devices->console.device)
        debug_serial_init(&devices->serial, &devices->console.channels[0].driver, host->wake,
                          host->context);
    return 0;
}

int linux_devices_start(struct linux_devices *devices, struct poller *poller, struct error *err)
{
    for (unsigned i = 0; i < devices->count; i++) {
        struct virtio_device *device = &devices->devices[i];
        struct poller_front front = virtio_device_front(device);
        const struct vmm_device_config *config = &devices->config->linux_guest.devices[i];
        for (unsigned k = 0; k < device->settings.queue_count; k++)
            virtio_device_charge(device, k, devices->drivers[config->ports[0]]->port);
        if (poller_add_front(poller, &front, err) < 0)
            return -1;
    }
    if (devices->console.device)
        virtio_console_charge(&devices->console);
    struct poller_front serial = debug_serial_front(&devices->serial);
    return devices->serial.driver ? poller_add_front(poller, &serial, err) : 0;
}

bool linux_devices_access(struct linux_devices *devices, uint64_t address, bool is_write,
                          void *data, unsigned length)
{
    uint64_t offset = address - LINUX_GPA_DEVICES;
    uint64_t index = offset / LINUX_DEVICE_BYTES;
    offset %= LINUX_DEVICE_BYTES;
    if (address < LINUX_GPA_DEVICES || index >= devices->count || length > 8 ||
        offset + length > LINUX_DEVICE_BYTES)
        return false;
    if (is_write)
        virtio_device_write(&devices->devices[index], offset, data, length);
    else
        virtio_device_read(&devices->devices[index], offset, data, length);
    return true;
}

void linux_devices_io(struct linux_devices *devices, uint16_t port, bool is_write, uint8_t *data,
                      unsigned length, unsigned count)
{
    for (unsigned i = 0; i < count; i++, data += length) {
        if (length == 1 && debug_serial_access(&devices->serial, port, is_write, data))
            continue;
        if (!is_write)
            memset(data, 0xff, length);
    }
}
