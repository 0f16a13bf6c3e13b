// SPDX-License-Identifier: Apache-2.0
// bzImage kernels (Documentation/arch/x86/boot.rst).
#include <string.h>

#include "linux_loader.h"

#define SECTOR_BYTES 512u
#define HEADER_START 0x1f1u

// Offsets in the file.
#define SETUP_SECTORS    0x1f1u
#define BOOT_FLAG        0x1feu
#define JUMP_OFFSET      0x201u // the header ends this many bytes behind 0x202
#define MAGIC            0x202u
#define VERSION          0x206u
#define INITRD_MAX       0x22cu
#define ALIGNMENT        0x230u
#define RELOCATABLE      0x234u
#define LOAD_FLAGS       0x236u
#define COMMAND_LINE_MAX 0x238u
#define PREFERRED        0x258u
#define INIT_BYTES       0x260u
#define HEADER_LEAST     0x264u // what follows is of later versions

#define BOOT_FLAG_VALUE 0xaa55u
#define MAGIC_VALUE     0x53726448u // "HdrS"
#define VERSION_LEAST   0x020cu
#define FLAG_KERNEL_64  1u
#define ENTRY_64        0x200u

static uint64_t field(const uint8_t *head, unsigned offset, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, head + offset, bytes);
    return value;
}

bool linux_is_bzimage(const struct linux_file *file)
{
    uint8_t head[HEADER_LEAST];
    return linux_file_read(file, 0, head, sizeof(head), NULL) == 0 &&
           field(head, BOOT_FLAG, 2) == BOOT_FLAG_VALUE && field(head, MAGIC, 4) == MAGIC_VALUE;
}

// The preferred place, or the first above it with the right alignment that is the kernel's to have.
static int place_kernel(const struct linux_memory *memory, const uint8_t *head, uint64_t *base,
                        uint64_t *needed, struct error *err)
{
    uint64_t alignment = field(head, ALIGNMENT, 4);
    *base = field(head, PREFERRED, 8);
    *needed = field(head, INIT_BYTES, 4);
    if (*base < LINUX_GPA_KERNEL_MIN || *base > LINUX_LOW_END || !alignment ||
        (alignment & (alignment - 1)) || *base % alignment)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the setup header has no usable place: preferred 0x%llx, alignment 0x%llx",
                         (unsigned long long)*base, (unsigned long long)alignment);
    if (!linux_memory_has(memory, *base, *needed))
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "the kernel needs %llu MiB to start, the guest has %llu: use --memory",
                         (unsigned long long)((*base + *needed + (1 << 20) - 1) >> 20),
                         (unsigned long long)(memory->bytes >> 20));
    return 0;
}

int linux_bzimage_load(const struct linux_memory *memory, const struct linux_file *file,
                       struct linux_kernel *kernel, struct linux_entry *entry, struct error *err)
{
    uint8_t head[HEADER_LEAST];
    uint64_t needed;
    if (linux_file_read(file, 0, head, sizeof(head), err) < 0)
        return -1;
    if (field(head, VERSION, 2) < VERSION_LEAST || !(field(head, LOAD_FLAGS, 2) & FLAG_KERNEL_64))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "no 64-bit entry (boot protocol %llu.%llu): kernels since 3.8 have one",
                         (unsigned long long)field(head, VERSION + 1, 1),
                         (unsigned long long)field(head, VERSION, 1));
    if (place_kernel(memory, head, &kernel->base, &needed, err) < 0)
        return -1;
    uint64_t setup = (field(head, SETUP_SECTORS, 1) ? field(head, SETUP_SECTORS, 1) : 4) + 1;
    uint64_t offset = setup * SECTOR_BYTES;
    if (offset >= file->bytes || file->bytes - offset > needed)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the kernel is not %llu bytes long, as its setup header says",
                         (unsigned long long)needed);
    if (linux_file_load(memory, file, offset, kernel->base, file->bytes - offset, err) < 0)
        return -1;
    kernel->end = kernel->base + needed;
    kernel->initrd_max = field(head, INITRD_MAX, 4);
    kernel->command_line_max = field(head, COMMAND_LINE_MAX, 4);
    // As long as the file says, as far as it was read (boot.rst, "64-bit Boot Protocol").
    uint32_t end = MAGIC + (uint32_t)field(head, JUMP_OFFSET, 1);
    if (end > HEADER_LEAST)
        end = HEADER_LEAST;
    if (end <= COMMAND_LINE_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the setup header is too short");
    kernel->setup_header_bytes = end - HEADER_START;
    memcpy(kernel->setup_header, head + HEADER_START, kernel->setup_header_bytes);
    entry->mode = LINUX_ENTRY_LONG;
    entry->instruction = kernel->base + ENTRY_64;
    return 0;
}
