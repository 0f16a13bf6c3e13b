// SPDX-License-Identifier: Apache-2.0
// What a kernel is told when it starts: zero page and paging, or PVH start info.
#include <string.h>

#include "linux_loader.h"

#define PAGE_BYTES       4096ull
#define LARGE_PAGE_BYTES (2ull << 20)

// Offsets in the zero page (Documentation/arch/x86/zero-page.rst).
#define ZERO_RSDP         0x070u
#define ZERO_E820_COUNT   0x1e8u
#define ZERO_SETUP        0x1f1u
#define ZERO_LOADER       0x210u
#define ZERO_INITRD       0x218u
#define ZERO_INITRD_BYTES 0x21cu
#define ZERO_COMMAND_LINE 0x228u
#define ZERO_SETUP_DATA   0x250u
#define ZERO_E820         0x2d0u

#define LOADER_UNDEFINED 0xffu
#define SETUP_RNG_SEED   9u

#define E820_RAM      1u
#define E820_RESERVED 2u

#define PVH_MAGIC   0x336ec578u
#define PVH_MODULES (LINUX_GPA_START_INFO + 0x100)
#define PVH_MAP     (LINUX_GPA_START_INFO + 0x200)

struct map_entry {
    uint64_t base;
    uint64_t length;
    uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct map_entry) == 20, "zero-page.rst");

#define MAP_MAX 4u

struct setup_data {
    uint64_t next;
    uint32_t type;
    uint32_t length;
    uint8_t seed[32];
};
_Static_assert(sizeof(struct setup_data) == 48, "boot.rst");

struct pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t modules;
    uint64_t command_line;
    uint64_t rsdp;
    uint64_t map;
    uint32_t map_count;
    uint32_t reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "start_info.h");

struct pvh_module {
    uint64_t base;
    uint64_t length;
    uint64_t command_line;
    uint64_t reserved;
};

struct pvh_map_entry {
    uint64_t base;
    uint64_t length;
    uint32_t type;
    uint32_t reserved;
};

static void write_at(const struct linux_memory *memory, uint64_t address, const void *bytes,
                     size_t length)
{
    memcpy(memory->host + address, bytes, length);
}

static unsigned make_map(const struct linux_load *load, struct map_entry map[MAP_MAX])
{
    uint64_t low = load->memory_bytes < LINUX_LOW_END ? load->memory_bytes : LINUX_LOW_END;
    unsigned count = 0;
    map[count++] = (struct map_entry){0, LINUX_GPA_LOW_RESERVED, E820_RAM};
    map[count++] = (struct map_entry){LINUX_GPA_LOW_RESERVED,
                                      LINUX_GPA_KERNEL_MIN - LINUX_GPA_LOW_RESERVED, E820_RESERVED};
    map[count++] = (struct map_entry){LINUX_GPA_KERNEL_MIN, low - LINUX_GPA_KERNEL_MIN, E820_RAM};
    if (load->memory_bytes > low)
        map[count++] = (struct map_entry){LINUX_HIGH_BASE, load->memory_bytes - low, E820_RAM};
    return count;
}

// Flat code and data segments at the selectors that the 64-bit boot protocol names.
static void write_gdt(const struct linux_memory *memory)
{
    static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    write_at(memory, LINUX_GPA_GDT, gdt, sizeof(gdt));
}

// The first 4 GiB, each address mapped to itself.
static void write_page_tables(const struct linux_memory *memory)
{
    const uint64_t present = 3; // and writable
    uint64_t *top = (void *)(memory->host + LINUX_GPA_PAGE_TABLES);
    uint64_t *pointers = top + 512;
    uint64_t *directories = pointers + 512;
    memset(top, 0, 6 * PAGE_BYTES);
    top[0] = (LINUX_GPA_PAGE_TABLES + PAGE_BYTES) | present;
    for (unsigned i = 0; i < 4; i++)
        pointers[i] = (LINUX_GPA_PAGE_TABLES + (2 + i) * PAGE_BYTES) | present;
    for (unsigned i = 0; i < 4 * 512; i++)
        directories[i] = i * LARGE_PAGE_BYTES | present | 0x80; // a large page
}

static void write_seed(const struct linux_memory *memory, const struct linux_load *load,
                       uint8_t *zero)
{
    static const uint8_t none[sizeof(load->random_seed)];
    const uint64_t place = LINUX_GPA_SETUP_DATA;
    struct setup_data data = {.type = SETUP_RNG_SEED, .length = sizeof(data.seed)};
    if (!memcmp(load->random_seed, none, sizeof(none)))
        return;
    memcpy(data.seed, load->random_seed, sizeof(data.seed));
    write_at(memory, place, &data, sizeof(data));
    memcpy(zero + ZERO_SETUP_DATA, &place, sizeof(place));
    explicit_bzero(&data, sizeof(data));
}

static void write_zero_page(const struct linux_memory *memory, const struct linux_kernel *kernel,
                            const struct linux_boot *boot)
{
    struct map_entry map[MAP_MAX];
    uint8_t *zero = memory->host + LINUX_GPA_ZERO_PAGE;
    const uint32_t initrd[2] = {(uint32_t)boot->initrd, (uint32_t)boot->initrd_bytes};
    const uint32_t command_line = (uint32_t)LINUX_GPA_COMMAND_LINE;
    const uint64_t no_data = 0;
    memset(zero, 0, PAGE_BYTES);
    memcpy(zero + ZERO_SETUP, kernel->setup_header, kernel->setup_header_bytes);
    zero[ZERO_LOADER] = LOADER_UNDEFINED;
    memcpy(zero + ZERO_INITRD, initrd, sizeof(initrd));
    memcpy(zero + ZERO_COMMAND_LINE, &command_line, sizeof(command_line));
    memcpy(zero + ZERO_SETUP_DATA, &no_data, sizeof(no_data));
    memcpy(zero + ZERO_RSDP, &boot->rsdp, sizeof(boot->rsdp));
    write_seed(memory, boot->load, zero);
    zero[ZERO_E820_COUNT] = (uint8_t)make_map(boot->load, map);
    memcpy(zero + ZERO_E820, map, zero[ZERO_E820_COUNT] * sizeof(map[0]));
}

static void write_start_info(const struct linux_memory *memory, const struct linux_boot *boot)
{
    struct map_entry map[MAP_MAX];
    const struct pvh_start_info info = {
        .magic = PVH_MAGIC,
        .version = 1,
        .module_count = boot->initrd_bytes != 0,
        .modules = PVH_MODULES,
        .command_line = LINUX_GPA_COMMAND_LINE,
        .rsdp = boot->rsdp,
        .map = PVH_MAP,
        .map_count = make_map(boot->load, map),
    };
    const struct pvh_module module = {.base = boot->initrd, .length = boot->initrd_bytes};
    write_at(memory, LINUX_GPA_START_INFO, &info, sizeof(info));
    write_at(memory, PVH_MODULES, &module, sizeof(module));
    for (unsigned i = 0; i < info.map_count; i++) {
        const struct pvh_map_entry entry = {map[i].base, map[i].length, map[i].type, 0};
        write_at(memory, PVH_MAP + i * sizeof(entry), &entry, sizeof(entry));
    }
}

int linux_boot_data_write(const struct linux_memory *memory, const struct linux_kernel *kernel,
                          const struct linux_boot *boot, struct linux_entry *entry,
                          struct error *err)
{
    size_t length = strlen(boot->command_line) + 1;
    if (length > LINUX_COMMAND_LINE_MAX || memory->bytes < LINUX_GPA_KERNEL_MIN)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "no room for what the kernel is told");
    write_at(memory, LINUX_GPA_COMMAND_LINE, boot->command_line, length);
    write_gdt(memory);
    if (entry->mode == LINUX_ENTRY_PVH) {
        write_start_info(memory, boot);
        entry->argument = LINUX_GPA_START_INFO;
        return 0;
    }
    write_page_tables(memory);
    write_zero_page(memory, kernel, boot);
    entry->argument = LINUX_GPA_ZERO_PAGE;
    return 0;
}
