// SPDX-License-Identifier: Apache-2.0
// Registers, negotiation and queues of a virtio-mmio device (virtio 1.2, sections 2.1, 3.1
// and 4.2).
#include "virtio_world.h"

#define QUEUE_HIGHEST (VIRTIO_MAX_QUEUES - 1)

static struct world *make(void)
{
    struct world *w = world_create();
    world_add_device(w, VIRTIO_TYPE_ENTROPY, world_add_port(w, PORT_KIND_ENTROPY, "entropy"));
    world_add_device(w, VIRTIO_TYPE_BLOCK, world_add_port(w, PORT_KIND_BLOCK, "disk"));
    w->config.ports[1].options.block = (struct vmm_block_options){WORLD_DISK / 512, 1, 1};
    world_start(w);
    return w;
}

static struct virtio_device *device_of(struct world *w, unsigned index)
{
    return &w->devices.devices[index];
}

Test(virtio_device, says_what_it_is)
{
    struct world *w = make();
    cr_expect_eq(world_load(w, 0, VIRTIO_MAGIC), 0x74726976u);
    cr_expect_eq(world_load(w, 0, VIRTIO_VERSION), 2u);
    cr_expect_eq(world_load(w, 0, VIRTIO_DEVICE_ID), 4u);
    cr_expect_eq(world_load(w, 1, VIRTIO_DEVICE_ID), 2u);
    world_store(w, 0, VIRTIO_DEVICE_FEATURES_SELECT, 1);
    cr_expect_eq(world_load(w, 0, VIRTIO_DEVICE_FEATURES), 1u, "VERSION_1");
    world_store(w, 0, VIRTIO_DEVICE_FEATURES_SELECT, 2);
    cr_expect_eq(world_load(w, 0, VIRTIO_DEVICE_FEATURES), 0u);
    cr_expect_eq(world_load(w, 0, VIRTIO_SHARED_LENGTH_LOW), UINT32_MAX, "no shared memory");
    cr_expect_not(linux_devices_access(&w->devices, LINUX_GPA_DEVICES + 2 * LINUX_DEVICE_BYTES,
                                       false, &(uint32_t){0}, 4),
                  "there is no third device");
    cr_expect_not(
        linux_devices_access(&w->devices, LINUX_GPA_DEVICES - 4, false, &(uint32_t){0}, 4));
    world_end(w);
}

Test(virtio_device, negotiation_keeps_its_order)
{
    struct world *w = make();
    // DRIVER_OK without features, features without DRIVER, features that were not offered.
    world_store(w, 0, VIRTIO_STATUS, 4);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 0u);
    world_store(w, 0, VIRTIO_STATUS, 1 | 8);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 1u);
    world_store(w, 0, VIRTIO_STATUS, 3);
    world_store(w, 0, VIRTIO_DRIVER_FEATURES, 1u << 7);
    world_store(w, 0, VIRTIO_STATUS, 3 | 8);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 3u, "without VERSION_1");
    world_store(w, 0, VIRTIO_DRIVER_FEATURES_SELECT, 1);
    world_store(w, 0, VIRTIO_DRIVER_FEATURES, 1);
    world_store(w, 0, VIRTIO_STATUS, 3 | 8);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 3u, "a feature that was not offered");
    world_store(w, 0, VIRTIO_DRIVER_FEATURES_SELECT, 0);
    world_store(w, 0, VIRTIO_DRIVER_FEATURES, 0);
    world_store(w, 0, VIRTIO_STATUS, 3 | 8);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 11u);
    // What was agreed on stays, and no bit is taken back but by a reset.
    world_store(w, 0, VIRTIO_DRIVER_FEATURES, 1u << 29);
    cr_expect_eq(device_of(w, 0)->driver_features, VIRTIO_FEATURE_VERSION_1);
    world_store(w, 0, VIRTIO_STATUS, 1);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 11u);
    world_store(w, 0, VIRTIO_STATUS, 0);
    cr_expect_eq(world_load(w, 0, VIRTIO_STATUS), 0u);
    cr_expect_eq(device_of(w, 0)->driver_features, 0u);
    world_end(w);
}

Test(virtio_device, queues_outside_of_memory_break_it)
{
    const struct {
        uint64_t descriptors, available, used;
        uint32_t size;
    } bad[] = {
        {WORLD_BYTES - 16, WORLD_QUEUES, WORLD_QUEUES + 0x1000, 16},
        {WORLD_QUEUES, WORLD_BYTES, WORLD_QUEUES + 0x1000, 16},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1000, UINT64_MAX - 3, 16},
        {WORLD_QUEUES + 8, WORLD_QUEUES + 0x1000, WORLD_QUEUES + 0x2000, 16},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1001, WORLD_QUEUES + 0x2000, 16},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1000, WORLD_QUEUES + 0x2002, 16},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1000, WORLD_QUEUES + 0x2000, 0},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1000, WORLD_QUEUES + 0x2000, 17},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1000, WORLD_QUEUES + 0x2000, 256},
        {WORLD_QUEUES, WORLD_QUEUES + 0x1000, WORLD_QUEUES + 0x2000, 0x80000010},
        {LINUX_GPA_DEVICES, LINUX_GPA_DEVICES + 0x1000, LINUX_GPA_DEVICES + 0x2000, 16},
    };
    struct world *w = make();
    for (unsigned i = 0; i < COUNT(bad); i++) {
        world_drive(w, 0, 0);
        port_open(w->ports[0].port);
        world_store(w, 0, VIRTIO_STATUS, 0);
        world_store(w, 0, VIRTIO_STATUS, 3);
        world_store(w, 0, VIRTIO_DRIVER_FEATURES_SELECT, 1);
        world_store(w, 0, VIRTIO_DRIVER_FEATURES, 1);
        world_store(w, 0, VIRTIO_STATUS, 11);
        world_store(w, 0, VIRTIO_QUEUE_SIZE, bad[i].size);
        world_store(w, 0, VIRTIO_QUEUE_DESCRIPTORS_LOW, (uint32_t)bad[i].descriptors);
        world_store(w, 0, VIRTIO_QUEUE_DESCRIPTORS_HIGH, (uint32_t)(bad[i].descriptors >> 32));
        world_store(w, 0, VIRTIO_QUEUE_AVAILABLE_LOW, (uint32_t)bad[i].available);
        world_store(w, 0, VIRTIO_QUEUE_AVAILABLE_HIGH, (uint32_t)(bad[i].available >> 32));
        world_store(w, 0, VIRTIO_QUEUE_USED_LOW, (uint32_t)bad[i].used);
        world_store(w, 0, VIRTIO_QUEUE_USED_HIGH, (uint32_t)(bad[i].used >> 32));
        world_store(w, 0, VIRTIO_QUEUE_READY, 1);
        world_settle(w);
        cr_expect(world_load(w, 0, VIRTIO_STATUS) & VIRTIO_STATUS_NEEDS_RESET, "case %u", i);
        cr_expect_eq(w->anomalies, i + 1, "case %u", i);
        cr_expect_not(device_of(w, 0)->queues[0].bound);
    }
    world_end(w);
}

Test(virtio_device, registers_of_a_ready_queue_stand_still)
{
    struct world *w = make();
    world_drive(w, 0, 0);
    uint64_t used = device_of(w, 0)->registers[0].used;
    world_store(w, 0, VIRTIO_QUEUE_SELECT, 0);
    world_store(w, 0, VIRTIO_QUEUE_USED_LOW, 0x1000);
    world_store(w, 0, VIRTIO_QUEUE_SIZE, 2);
    cr_expect_eq(device_of(w, 0)->registers[0].used, used);
    cr_expect_eq(device_of(w, 0)->registers[0].size, WORLD_SIZE);
    world_store(w, 0, VIRTIO_QUEUE_SELECT, QUEUE_HIGHEST);
    cr_expect_eq(world_load(w, 0, VIRTIO_QUEUE_SIZE_MAX), 0u, "not available");
    world_store(w, 0, VIRTIO_QUEUE_READY, 1);
    world_store(w, 0, VIRTIO_QUEUE_SELECT, UINT32_MAX);
    world_store(w, 0, VIRTIO_QUEUE_READY, 1);
    cr_expect_eq(w->anomalies, 0u);
    world_end(w);
}

Test(virtio_device, entropy_and_its_interrupt)
{
    struct world *w = make();
    uint32_t written;
    world_drive(w, 0, 0);
    uint8_t *buffer = world_buffer(w, 0, 0, 0);
    world_post(w, 0, 0, NULL, 0, buffer, 64);
    world_settle(w);
    cr_assert_geq(world_used(w, 0, 0, &written), 0);
    cr_expect_eq(written, 64u);
    cr_expect_eq(buffer[63], 0x5a);
    cr_expect(world_interrupted(w, 0));
    cr_expect_eq(world_load(w, 0, VIRTIO_INTERRUPT_STATUS), 1u);
    world_store(w, 0, VIRTIO_INTERRUPT_ACKNOWLEDGE, 1);
    cr_expect_eq(world_load(w, 0, VIRTIO_INTERRUPT_STATUS), 0u);
    // A readable buffer is no request for random bytes.
    world_post(w, 0, 0, buffer, 64, NULL, 0);
    world_settle(w);
    cr_expect_eq(w->anomalies, 1u);
    world_end(w);
}

struct block_header {
    uint32_t type, reserved;
    uint64_t sector;
};

// One request of a disk; returns its status byte.
static uint8_t ask_disk(struct world *w, uint32_t type, uint64_t sector, const void *out,
                        uint32_t out_bytes, void *in, uint32_t in_bytes)
{
    uint8_t *buffer = world_buffer(w, 1, 0, 0);
    uint8_t *reply = world_buffer(w, 1, 0, 1);
    const struct block_header header = {type, 0, sector};
    memcpy(buffer, &header, sizeof(header));
    memcpy(buffer + sizeof(header), out, out_bytes);
    memset(reply, 0xee, in_bytes + 1);
    world_post(w, 1, 0, buffer, (uint32_t)sizeof(header) + out_bytes, reply, in_bytes + 1);
    world_settle(w);
    cr_assert_geq(world_used(w, 1, 0, NULL), 0);
    if (in_bytes)
        memcpy(in, reply, in_bytes);
    return reply[in_bytes];
}

Test(virtio_device, disk)
{
    static uint8_t data[8192], back[8192];
    struct world *w = make();
    world_drive(w, 1, 0);
    cr_expect_eq(world_load(w, 1, VIRTIO_CONFIG), WORLD_DISK / 512);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 13);
    cr_expect_eq(ask_disk(w, 1, 3, data, 8192, NULL, 0), 0, "write");
    cr_expect_eq(ask_disk(w, 0, 3, "", 0, back, 8192), 0, "read");
    cr_expect_arr_eq(back, data, 8192);
    cr_expect_eq(ask_disk(w, 4, 0, "", 0, NULL, 0), 0, "flush");
    const struct {
        uint64_t sector;
        uint32_t sectors, flags;
    } zero = {4, 1, 0}, unknown = {4, 1, 2};
    cr_expect_eq(ask_disk(w, 13, 0, &zero, sizeof(zero), NULL, 0), 0, "write zeros");
    cr_expect_eq(ask_disk(w, 0, 4, "", 0, back, 512), 0);
    cr_expect_eq(back[0] | back[511], 0);
    cr_expect_eq(ask_disk(w, 13, 0, &unknown, sizeof(unknown), NULL, 0), 2, "unsupported");
    cr_expect_eq(ask_disk(w, 11, 0, &zero, sizeof(zero), NULL, 0), 0, "discard");
    cr_expect_eq(ask_disk(w, 11, 0, &zero, 8, NULL, 0), 2);
    cr_expect_eq(ask_disk(w, 8, 0, "", 0, back, 20), 0, "id");
    cr_expect_str_eq((char *)back, "disk");
    cr_expect_eq(ask_disk(w, 99, 0, "", 0, NULL, 0), 2);
    // No sectors, half of one, beyond the end, wrapping.
    cr_expect_eq(ask_disk(w, 0, 0, "", 0, NULL, 0), 1);
    cr_expect_eq(ask_disk(w, 0, 0, "", 0, back, 100), 1);
    cr_expect_eq(ask_disk(w, 0, WORLD_DISK / 512, "", 0, back, 512), 1);
    cr_expect_eq(ask_disk(w, 0, UINT64_MAX, "", 0, back, 512), 1);
    cr_expect_eq(ask_disk(w, 1, UINT64_MAX - 1, data, 512, NULL, 0), 1);
    cr_expect_eq(w->anomalies, 0u);
    // Without room for a status.
    uint8_t *buffer = world_buffer(w, 1, 0, 0);
    world_post(w, 1, 0, buffer, 16, NULL, 0);
    world_settle(w);
    cr_expect_eq(w->anomalies, 1u);
    world_end(w);
}

Test(virtio_device, a_read_only_disk_takes_nothing)
{
    struct world *w = world_create();
    uint8_t data[512] = {1};
    world_add_device(w, VIRTIO_TYPE_ENTROPY, world_add_port(w, PORT_KIND_ENTROPY, "entropy"));
    world_add_device(w, VIRTIO_TYPE_BLOCK, world_add_port(w, PORT_KIND_BLOCK, "disk"));
    w->config.ports[1].options.block = (struct vmm_block_options){WORLD_DISK / 512, 0, 0};
    w->config.ports[1].operations = 1ull << BLOCK_READ;
    world_start(w);
    world_store(w, 1, VIRTIO_DEVICE_FEATURES_SELECT, 0);
    cr_expect(world_load(w, 1, VIRTIO_DEVICE_FEATURES) & 1u << 5, "RO");
    world_drive(w, 1, 0);
    cr_expect_eq(ask_disk(w, 1, 0, data, 512, NULL, 0), 1);
    cr_expect_eq(w->disk[0], 0);
    cr_expect_eq(ask_disk(w, 4, 0, "", 0, NULL, 0), 0, "nothing to flush");
    world_end(w);
}

// Everything that a vCPU can do to registers and queues, at random: the device keeps its rules.
static void check_state(struct world *w, unsigned index)
{
    struct virtio_device *device = device_of(w, index);
    uint32_t status = atomic_load(&device->status);
    cr_assert_eq(status & ~0xcfu, 0u, "status 0x%x", status);
    if (status & VIRTIO_STATUS_DRIVER_OK)
        cr_assert(status & VIRTIO_STATUS_FEATURES_OK);
    if (status & VIRTIO_STATUS_FEATURES_OK)
        cr_assert(device->driver_features & VIRTIO_FEATURE_VERSION_1);
    cr_assert_eq(device->active, !!(status & VIRTIO_STATUS_DRIVER_OK));
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
        if (device->queues[i].bound)
            cr_assert(device->registers[i].ready && i < device->settings.queue_count);
    cr_assert_eq(atomic_load(&device->order), 0u, "an order was left");
}

Test(virtio_device, random_registers)
{
    static const uint16_t offsets[] = {0x10, 0x14, 0x20, 0x24, 0x30, 0x34,  0x38,  0x44,
                                       0x50, 0x60, 0x64, 0x70, 0x80, 0x84,  0x90,  0x94,
                                       0xa0, 0xa4, 0xac, 0xb0, 0xfc, 0x100, 0x104, 0x140};
    struct world *w = make();
    uint64_t state = 99;
    for (unsigned i = 0; i < 300000; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t r = (uint32_t)(state >> 32);
        unsigned index = r & 1;
        uint64_t offset = r % 9 ? offsets[r / 16 % COUNT(offsets)] : r / 16 % LINUX_DEVICE_BYTES;
        unsigned length = r % 13 ? 4 : 1 + r / 64 % 8;
        uint64_t data = r % 5 == 0   ? r
                        : r % 5 == 1 ? r / 128 % 16
                        : r % 5 == 2 ? WORLD_QUEUES + r / 128 % 4 * 0x1000
                                     : 1ull << (r / 128 % 33);
        if (offset + length > LINUX_DEVICE_BYTES)
            continue;
        cr_assert(linux_devices_access(&w->devices,
                                       LINUX_GPA_DEVICES + index * LINUX_DEVICE_BYTES + offset,
                                       r & 2, &data, length));
        if (r % 499 == 0) { // from a driver that begins as it should
            world_drive(w, index, r & 4 ? 3u << 28 : 0);
            world_post(w, index, 0, world_buffer(w, index, 0, 0), 16 * index,
                       world_buffer(w, index, 0, 1), 513);
        }
        if (r % 101 == 0)
            port_open(w->ports[index].port);
        if (r % 17 == 0)
            memset(w->ram + w->queues[index][0].base + r / 128 % 0x3000, (int)(r >> 24), 64);
        if (r % 7 == 0)
            world_pass(w);
        check_state(w, index);
    }
    cr_expect_gt(w->anomalies, 0u);
    cr_expect_gt(w->ports[0].submitted + w->ports[1].submitted, 0u);
    world_end(w);
}
