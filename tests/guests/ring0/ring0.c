// SPDX-License-Identifier: Apache-2.0
// A hostile kernel: each attack is one thing that a Linux guest's ring 0 can try. It powers off if
// what it tried had no effect beyond what the specification allows, and resets if it had.
#include <stddef.h>
#include <stdint.h>

#define DEVICES      0xd0000000ull
#define DEVICE_BYTES 0x1000ull
#define POWER        0xcffff000ull
#define POWER_SLEEP  4
#define SLEEP_S5     0x34

#define NEEDS_RESET 0x40u

extern void skip_two(void);
extern volatile uint32_t faults;

static volatile uint8_t *at(uint64_t address)
{
    return (volatile uint8_t *)(uintptr_t)address;
}

static uint32_t load(unsigned device, unsigned offset)
{
    return *(volatile uint32_t *)at(DEVICES + device * DEVICE_BYTES + offset);
}

static void store(unsigned device, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)at(DEVICES + device * DEVICE_BYTES + offset) = value;
}

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint64_t seed = 88172645463325252ull;

static uint32_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

// Queue areas, in RAM of our own.
static uint8_t rings[3][4096] __attribute__((aligned(4096)));
static uint8_t buffer[4096] __attribute__((aligned(4096)));

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

static void begin(unsigned device)
{
    store(device, 0x70, 0);
    store(device, 0x70, 3);
    store(device, 0x24, 1);
    store(device, 0x20, 1);
    store(device, 0x24, 0);
    store(device, 0x20, 0);
    store(device, 0x70, 11);
}

static void bind(unsigned device, unsigned queue, uint64_t descriptors, uint64_t available,
                 uint64_t used, uint32_t size)
{
    store(device, 0x30, queue);
    store(device, 0x38, size);
    store(device, 0x80, (uint32_t)descriptors);
    store(device, 0x84, (uint32_t)(descriptors >> 32));
    store(device, 0x90, (uint32_t)available);
    store(device, 0x94, (uint32_t)(available >> 32));
    store(device, 0xa0, (uint32_t)used);
    store(device, 0xa4, (uint32_t)(used >> 32));
    store(device, 0x44, 1);
}

// Device 1 is the entropy device: its queue 0 takes writable chains.
static void drive(unsigned device)
{
    for (unsigned i = 0; i < sizeof(rings); i++)
        ((volatile uint8_t *)rings)[i] = 0;
    begin(device);
    bind(device, 0, (uintptr_t)rings[0], (uintptr_t)rings[1], (uintptr_t)rings[2], 16);
    store(device, 0x70, 15);
}

static void publish(unsigned device, uint16_t head, uint16_t index)
{
    *(volatile uint16_t *)(rings[1] + 4) = head;
    __asm__ volatile("" : : : "memory");
    *(volatile uint16_t *)(rings[1] + 2) = index;
    store(device, 0x50, 0);
}

static int waits_for_reset(unsigned device)
{
    for (unsigned i = 0; i < 20000; i++)
        if (load(device, 0x70) & NEEDS_RESET)
            return 1;
    return 0;
}

static int registers(void)
{
    for (unsigned i = 0; i < 60000; i++) {
        uint64_t address = DEVICES + any() % (2 * DEVICE_BYTES);
        if (any() % 3)
            address = DEVICES + any() % 2 * DEVICE_BYTES + any() % 0x140 / 4 * 4;
        switch (any() % 5) {
        case 0:
            *at(address) = (uint8_t)any();
            break;
        case 1:
            (void)*at(address);
            break;
        case 2:
            (void)*(volatile uint32_t *)at(address & ~3ull);
            break;
        case 3:
            *(volatile uint64_t *)at(address & ~7ull) = any();
            break;
        default:
            *(volatile uint32_t *)at(address & ~3ull) = any() % 4 ? any() % 32 : any();
        }
    }
    return load(0, 0) == 0x74726976 && load(1, 0) == 0x74726976;
}

static int bad_areas(void)
{
    const uint64_t ring = (uintptr_t)rings[0];
    const struct {
        uint64_t descriptors, available, used;
        uint32_t size;
    } bad[] = {
        {0xc0000000, ring + 4096, ring + 8192, 16},  // behind RAM
        {ring, 0xfffffffffffff000, ring + 8192, 16}, // wraps
        {ring, ring + 4096, DEVICES, 16},            // a device's registers
        {ring, ring + 4096, 0xfee00000, 16},         // the local APIC
        {ring + 1, ring + 4096, ring + 8192, 16},    // unaligned
        {ring, ring + 4096, ring + 8192, 0},         // nothing
        {ring, ring + 4096, ring + 8192, 12},        // no power of two
        {ring, ring + 4096, ring + 8192, 32768},     // too large
        {ring, ring + 4096, 1ull << 52, 16},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        begin(1);
        bind(1, 0, bad[i].descriptors, bad[i].available, bad[i].used, bad[i].size);
        if (!waits_for_reset(1))
            return 0;
        store(1, 0x70, 15);
        store(1, 0x50, 0);
    }
    return 1;
}

// The device has to refuse the chain that this makes.
static int bad_chain(const struct descriptor *chain, unsigned count, uint16_t head, uint16_t index)
{
    drive(1);
    for (unsigned i = 0; i < count; i++)
        ((struct descriptor *)(void *)rings[0])[i] = chain[i];
    publish(1, head, index);
    return waits_for_reset(1);
}

static int chain_loop(void)
{
    const struct descriptor chain[] = {{(uintptr_t)buffer, 16, 3, 1},
                                       {(uintptr_t)buffer, 16, 3, 0}};
    return bad_chain(chain, 2, 0, 1);
}

static int chain_outside(void)
{
    const struct descriptor chain[] = {{0xc0000000, 4096, 2, 0}};
    return bad_chain(chain, 1, 0, 1);
}

static int chain_wraps(void)
{
    const struct descriptor chain[] = {{0xfffffffffffffff0, 4096, 2, 0}};
    return bad_chain(chain, 1, 0, 1);
}

static int chain_next(void)
{
    const struct descriptor chain[] = {{(uintptr_t)buffer, 16, 3, 999}};
    return bad_chain(chain, 1, 0, 1);
}

static int chain_head(void)
{
    const struct descriptor chain[] = {{(uintptr_t)buffer, 16, 2, 0}};
    return bad_chain(chain, 1, 16, 1);
}

static int chain_jump(void)
{
    const struct descriptor chain[] = {{(uintptr_t)buffer, 16, 2, 0}};
    return bad_chain(chain, 1, 0, 40000);
}

static int chain_readable(void)
{
    const struct descriptor chain[] = {{(uintptr_t)buffer, 16, 0, 0}};
    return bad_chain(chain, 1, 0, 1);
}

static int chain_empty(void)
{
    const struct descriptor chain[] = {{(uintptr_t)buffer, 0, 2, 0}};
    return bad_chain(chain, 1, 0, 1);
}

// Doorbells without end, with nothing behind them.
static int storm(void)
{
    drive(1);
    for (unsigned i = 0; i < 100000; i++)
        store(1, 0x50, any());
    return !(load(1, 0x70) & NEEDS_RESET);
}

// KVM's interrupt controllers have 8259s that nothing is connected to.
static int is_of_8259(unsigned port)
{
    return (port >= 0x1e && port <= 0x21) || (port >= 0x9e && port <= 0xa1) ||
           (port >= 0x4ce && port <= 0x4d1);
}

static int ports(void)
{
    for (unsigned port = 0; port < 0x10000; port += 1 + any() % 13) {
        if (is_of_8259(port) || is_of_8259(port + 3))
            continue;
        if (in8((uint16_t)port) != 0xff || in32((uint16_t)port) != 0xffffffff)
            return 0;
        out8((uint16_t)port, (uint8_t)any());
    }
    uint32_t count = 4096;
    uint8_t *target = buffer;
    __asm__ volatile("rep insb" : "+c"(count), "+D"(target) : "d"(0x1f0) : "memory");
    return buffer[0] == 0xff && buffer[4095] == 0xff;
}

struct gate {
    uint16_t low, selector, flags, middle;
    uint32_t high, reserved;
};
static struct gate gates[32];

static void catch_faults(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gates) - 1, (uintptr_t)gates};
    uint64_t handler = (uintptr_t)skip_two;
    gates[13] = (struct gate){(uint16_t)handler,         8, 0x8e00, (uint16_t)(handler >> 16),
                              (uint32_t)(handler >> 32), 0};
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void read_msr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
}

static void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

// MSRs that no guest gets: counters, nested virtualization, the host's page of guest state, energy.
static int msrs(void)
{
    static const uint32_t denied[] = {0x0c1,      0x186,      0x38f,      0x480,      0x570,
                                      0xc0010000, 0xc0010004, 0xc0010117, 0xc0010200, 0xc0011030,
                                      0xc0010299, 0x4b564d02, 0x4b564d03, 0x40000000, 0x606};
    catch_faults();
    for (unsigned i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
        uint32_t before = faults;
        read_msr(denied[i]);
        write_msr(denied[i], ~0ull);
        if (faults != before + 2)
            return 0;
    }
    for (unsigned i = 0; i < 20000; i++)
        read_msr(any() % 4 ? any() % 0x2000 : 0xc0010000 + any() % 0x2000);
    return 1;
}

static void cpuid(uint32_t leaf, uint32_t *registers)
{
    __asm__ volatile("cpuid"
                     : "=a"(registers[0]), "=b"(registers[1]), "=c"(registers[2]),
                       "=d"(registers[3])
                     : "a"(leaf), "c"(0));
}

static int processor(void)
{
    uint32_t r[4];
    cpuid(0x80000001, r);
    if (r[2] & 4) // SVM
        return 0;
    cpuid(1, r);
    if (r[2] & (1u << 5 | 1u << 3)) // VMX, MONITOR
        return 0;
    cpuid(0xa, r);
    if (r[0] | r[1]) // counters
        return 0;
    for (uint32_t leaf = 0x40000002; leaf < 0x40000100; leaf++) {
        cpuid(leaf, r);
        if (leaf > 0x40000001 && leaf < 0x40000080 && (r[1] == 0x4b4d564b))
            return 0;
    }
    return 1;
}

// Everything that the loader did not write is zero: nothing of anybody else's is in the memory.
static int memory(void)
{
    for (uint64_t address = 0x2000000; address < 0x4000000; address += 8)
        if (*(volatile uint64_t *)at(address))
            return 0;
    return 1;
}

static int power(void)
{
    for (unsigned i = 0; i < 256; i++) {
        if (i != 1)
            *at(POWER) = (uint8_t)i;
        if (i != SLEEP_S5)
            *at(POWER + POWER_SLEEP) = (uint8_t)i;
        *at(POWER + 16 + i) = (uint8_t)i;
        if (*at(POWER + i))
            return 0;
    }
    return 1;
}

static int tables(void)
{
    for (uint64_t address = 0xe0000; address < 0x100000; address++)
        *at(address) = (uint8_t)any();
    return 1;
}

static int outside(void)
{
    *at(0xc8000000) = 1;
    return 0;
}

static int outside_read(void)
{
    return *at(0xf0000000) == 17;
}

static int outside_code(void)
{
    ((void (*)(void))0xc8000000)();
    return 0;
}

static int behind_devices(void)
{
    *at(DEVICES + 2 * DEVICE_BYTES) = 1;
    return 0;
}

static int triple(void)
{
    __asm__ volatile("ud2"); // without an IDT
    return 0;
}

static const struct {
    const char *name;
    int (*attack)(void);
} attacks[] = {
    {"registers", registers},
    {"bad-areas", bad_areas},
    {"chain-loop", chain_loop},
    {"chain-outside", chain_outside},
    {"chain-wraps", chain_wraps},
    {"chain-next", chain_next},
    {"chain-head", chain_head},
    {"chain-jump", chain_jump},
    {"chain-readable", chain_readable},
    {"chain-empty", chain_empty},
    {"storm", storm},
    {"ports", ports},
    {"msrs", msrs},
    {"processor", processor},
    {"memory", memory},
    {"power", power},
    {"tables", tables},
    {"outside", outside},
    {"outside-read", outside_read},
    {"outside-code", outside_code},
    {"behind-devices", behind_devices},
    {"triple", triple},
};

// "attack=NAME" of the command line.
static int is_named(const char *line, const char *name)
{
    static const char key[] = "attack=";
    for (; *line; line++) {
        unsigned i = 0;
        while (i < sizeof(key) - 1 && line[i] == key[i])
            i++;
        if (i < sizeof(key) - 1)
            continue;
        const char *value = line + i;
        while (*name && *value == *name)
            name++, value++;
        return !*name && (!*value || *value == ' ');
    }
    return 0;
}

struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line;
};

void ring0_main(const struct start_info *info)
{
    for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        if (!is_named((const char *)(uintptr_t)info->command_line, attacks[i].name))
            continue;
        if (attacks[i].attack())
            *at(POWER + POWER_SLEEP) = SLEEP_S5;
        break;
    }
    *at(POWER) = 1;
    for (;;)
        __asm__ volatile("hlt");
}
