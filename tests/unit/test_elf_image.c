// SPDX-License-Identifier: Apache-2.0
// Cell images: good ones load as they say, bad ones are refused, each with its own reason.
#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_image.h"
#include "frame_map.h"
#include "support.h"

#define PAGE     GUEST_PAGE_SIZE
#define PROGRAMS 3

// A small image: text (RX), rodata (R), data with bss (RW); file bytes follow the headers.
struct small_elf {
    Elf64_Ehdr header;
    Elf64_Phdr programs[PROGRAMS];
    uint8_t bytes[96];
};

static struct small_elf good_elf(void)
{
    struct small_elf elf = {
        .header =
            {
                .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                .e_type = ET_EXEC,
                .e_machine = EM_X86_64,
                .e_version = EV_CURRENT,
                .e_entry = 0x400010,
                .e_phoff = sizeof(Elf64_Ehdr),
                .e_ehsize = sizeof(Elf64_Ehdr),
                .e_phentsize = sizeof(Elf64_Phdr),
                .e_phnum = PROGRAMS,
            },
    };
    const uint64_t bytes = offsetof(struct small_elf, bytes);
    elf.programs[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_flags = PF_R | PF_X,
                                   .p_offset = bytes,
                                   .p_vaddr = 0x400000,
                                   .p_filesz = 32,
                                   .p_memsz = 32,
                                   .p_align = PAGE};
    elf.programs[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_flags = PF_R,
                                   .p_offset = bytes + 32,
                                   .p_vaddr = 0x401020,
                                   .p_filesz = 32,
                                   .p_memsz = 32,
                                   .p_align = PAGE};
    elf.programs[2] = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_flags = PF_R | PF_W,
                                   .p_offset = bytes + 64,
                                   .p_vaddr = 0x402ff0,
                                   .p_filesz = 32,
                                   .p_memsz = 3 * PAGE,
                                   .p_align = PAGE};
    for (unsigned i = 0; i < sizeof(elf.bytes); i++)
        elf.bytes[i] = (uint8_t)(i + 1);
    return elf;
}

static int memory_file(const void *data, size_t length)
{
    int fd = memfd_create("elf", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, length), (ssize_t)length);
    return fd;
}

static int read_bytes(const void *data, size_t length, struct elf_image *image, struct error *err)
{
    int fd = memory_file(data, length);
    *err = (struct error){0};
    int result = elf_image_read(fd, image, err);
    close(fd);
    if (result < 0) {
        cr_expect_eq(err->status, EXIT_STATUS_BAD_FILE);
        cr_expect_neq(err->text[0], '\0');
    }
    return result;
}

static int read_elf(const struct small_elf *elf, struct elf_image *image, struct error *err)
{
    return read_bytes(elf, sizeof(*elf), image, err);
}

// What every accepted image guarantees, whatever its file said.
static void check_invariants(const struct elf_image *image, uint64_t file_length)
{
    bool entry_found = false;
    cr_assert_geq(image->count, 1u);
    cr_assert_leq(image->count, (unsigned)ELF_IMAGE_MAX_SEGMENTS);
    for (unsigned i = 0; i < image->count; i++) {
        const struct elf_segment *s = &image->segments[i];
        cr_assert_eq(s->base.value % PAGE, 0u);
        cr_assert_eq(s->length % PAGE, 0u);
        cr_assert_gt(s->length, 0u);
        cr_assert(s->base.value >= ELF_IMAGE_LOWEST && s->base.value < ELF_IMAGE_END &&
                  s->length <= ELF_IMAGE_END - s->base.value);
        cr_assert(s->start_offset < PAGE && s->file_bytes <= s->length - s->start_offset);
        cr_assert(s->file_offset <= file_length && s->file_bytes <= file_length - s->file_offset);
        cr_assert_neq(s->rights & (PAGE_WRITE | PAGE_EXECUTE), PAGE_WRITE | PAGE_EXECUTE);
        cr_assert_eq(s->rights & ~(unsigned)(PAGE_WRITE | PAGE_EXECUTE), 0u);
        for (unsigned k = 0; k < i; k++)
            cr_assert(image->segments[k].base.value + image->segments[k].length <= s->base.value ||
                      s->base.value + s->length <= image->segments[k].base.value);
        if ((s->rights & PAGE_EXECUTE) && image->entry.value >= s->base.value &&
            image->entry.value - s->base.value < s->length)
            entry_found = true;
    }
    cr_assert(entry_found);
}

Test(elf_image, good_image)
{
    struct small_elf elf = good_elf();
    struct elf_image image;
    struct error err;
    cr_assert_eq(read_elf(&elf, &image, &err), 0, "%s", err.text);
    check_invariants(&image, sizeof(elf));
    cr_expect_eq(image.entry.value, 0x400010u);
    cr_assert_eq(image.count, 3u);
    cr_expect_eq(image.segments[0].rights, (unsigned)PAGE_EXECUTE);
    cr_expect_eq(image.segments[1].rights, 0u);
    cr_expect_eq(image.segments[2].rights, (unsigned)PAGE_WRITE);
    cr_expect_eq(image.segments[1].base.value, 0x401000u);
    cr_expect_eq(image.segments[1].start_offset, 0x20u);
    // 0x402ff0 .. 0x405ff0
    cr_expect_eq(image.segments[2].base.value, 0x402000u);
    cr_expect_eq(image.segments[2].length, 4 * PAGE);
}

Test(elf_image, loads_the_bytes)
{
    struct small_elf elf = good_elf();
    struct elf_image image;
    struct error err;
    int fd = memory_file(&elf, sizeof(elf));
    cr_assert_eq(elf_image_read(fd, &image, &err), 0);
    for (unsigned i = 0; i < image.count; i++) {
        const struct elf_segment *s = &image.segments[i];
        uint8_t *target = (uint8_t *)calloc(1, s->length);
        cr_assert_eq(elf_image_load(fd, s, target, &err), 0);
        for (uint64_t k = 0; k < s->length; k++) {
            uint64_t from = k - s->start_offset;
            uint8_t wanted = from < s->file_bytes ? elf.bytes[i * 32 + from] : 0;
            cr_assert_eq(target[k], wanted);
        }
        free(target);
    }
    // The file shrinks between reading and loading.
    cr_assert_eq(ftruncate(fd, sizeof(elf) - 1), 0);
    uint8_t *target = (uint8_t *)calloc(1, image.segments[2].length);
    cr_expect_eq(elf_image_load(fd, &image.segments[2], target, &err), -1);
    // Bounds that did not come from elf_image_read.
    struct elf_segment bad = image.segments[2];
    bad.start_offset = bad.length;
    cr_expect_eq(elf_image_load(fd, &bad, target, &err), -1);
    bad.file_bytes = UINT64_MAX;
    cr_expect_eq(elf_image_load(fd, &bad, target, &err), -1);
    free(target);
    close(fd);
}

// A file that ends anywhere before its end is refused, and says truncated once it is an ELF file.
Test(elf_image, every_truncation)
{
    struct small_elf elf = good_elf();
    struct elf_image image;
    struct error err;
    for (size_t length = 0; length < sizeof(elf); length++) {
        cr_assert_eq(read_bytes(&elf, length, &image, &err), -1, "accepted %zu bytes", length);
        if (length >= sizeof(elf.header))
            cr_expect_not_null(strstr(err.text, "truncated"), "%zu: %s", length, err.text);
    }
}

Test(elf_image, not_a_file)
{
    struct elf_image image;
    struct error err;
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    cr_expect_eq(elf_image_read(pipes[0], &image, &err), -1);
    cr_expect_str_eq(err.text, "is not a regular file");
    int directory = open("/", O_RDONLY | O_DIRECTORY);
    cr_expect_eq(elf_image_read(directory, &image, &err), -1);
    cr_expect_str_eq(err.text, "is a directory, not an ELF file");
    cr_expect_eq(elf_image_read(-1, &image, &err), -1);
    cr_expect_eq(err.status, EXIT_STATUS_BAD_FILE);
}

static void patch_type(struct small_elf *elf, uint32_t type)
{
    elf->programs[1].p_type = type;
}

// One way to break an image for every reason to refuse one.
static void break_magic(struct small_elf *elf)
{
    elf->header.e_ident[1] = 'e';
}
static void break_class(struct small_elf *elf)
{
    elf->header.e_ident[EI_CLASS] = ELFCLASS32;
}
static void break_machine(struct small_elf *elf)
{
    elf->header.e_machine = EM_AARCH64;
}
static void break_dyn(struct small_elf *elf)
{
    elf->header.e_type = ET_DYN;
}
static void break_type(struct small_elf *elf)
{
    elf->header.e_type = ET_REL;
}
static void break_phentsize(struct small_elf *elf)
{
    elf->header.e_phentsize = 55;
}
static void break_phnum(struct small_elf *elf)
{
    elf->header.e_phnum = 65;
}
static void break_phoff(struct small_elf *elf)
{
    elf->header.e_phoff = sizeof(*elf) - 1;
}
static void break_interp(struct small_elf *elf)
{
    patch_type(elf, PT_INTERP);
}
static void break_tls(struct small_elf *elf)
{
    patch_type(elf, PT_TLS);
}
static void break_wx(struct small_elf *elf)
{
    elf->programs[0].p_flags = PF_R | PF_W | PF_X;
}
static void break_filesz(struct small_elf *elf)
{
    elf->programs[0].p_memsz = 31;
}
static void break_offset(struct small_elf *elf)
{
    elf->programs[0].p_offset = UINT64_MAX;
}
static void break_address(struct small_elf *elf)
{
    elf->programs[0].p_vaddr = 0;
}
static void break_overlap(struct small_elf *elf)
{
    elf->programs[1].p_vaddr = 0x400800;
}
static void break_entry(struct small_elf *elf)
{
    elf->header.e_entry = 0x401020;
}
static void break_empty(struct small_elf *elf)
{
    for (unsigned i = 0; i < PROGRAMS; i++)
        elf->programs[i].p_type = PT_NOTE;
}

Test(elf_image, each_refusal_has_its_own_message)
{
    static void (*const breakages[])(struct small_elf *) = {
        break_magic,  break_class,   break_machine, break_dyn,   break_type,  break_phentsize,
        break_phnum,  break_phoff,   break_interp,  break_tls,   break_wx,    break_filesz,
        break_offset, break_address, break_overlap, break_entry, break_empty,
    };
    static char texts[COUNT(breakages) + 1][512];
    struct elf_image image;
    struct error err;
    for (size_t i = 0; i < COUNT(breakages); i++) {
        struct small_elf elf = good_elf();
        breakages[i](&elf);
        cr_assert_eq(read_elf(&elf, &image, &err), -1, "breakage %zu was accepted", i);
        cr_expect_null(strchr(err.text, '\n'));
        strcpy(texts[i], err.text);
        for (size_t k = 0; k < i; k++)
            cr_expect_str_neq(texts[k], texts[i], "breakages %zu and %zu", k, i);
    }
}

// 17 segments and 64 program headers, at and over the limits.
Test(elf_image, many_segments)
{
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr programs[65];
    } elf;
    for (unsigned loads = 15; loads <= 17; loads++)
        for (unsigned headers = 63; headers <= 65; headers++) {
            memset(&elf, 0, sizeof(elf));
            struct small_elf small = good_elf();
            elf.header = small.header;
            elf.header.e_phnum = headers;
            elf.header.e_entry = 0x400000;
            for (unsigned i = 0; i < loads; i++)
                elf.programs[i] = (Elf64_Phdr){.p_type = PT_LOAD,
                                               .p_flags = i ? PF_R : PF_X,
                                               .p_vaddr = 0x400000 + i * PAGE,
                                               .p_memsz = 1};
            struct elf_image image;
            struct error err;
            int result = read_bytes(&elf, sizeof(elf), &image, &err);
            cr_expect_eq(result, loads <= ELF_IMAGE_MAX_SEGMENTS && headers <= 64 ? 0 : -1,
                         "%u segments, %u headers: %s", loads, headers, err.text);
        }
}

static const uint64_t edges[] = {
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    15,
    16,
    31,
    32,
    33,
    55,
    56,
    57,
    63,
    64,
    65,
    95,
    96,
    127,
    128,
    255,
    256,
    0x0fff,
    0x1000,
    0x1001,
    0x7fff,
    0x8000,
    0xfffe,
    0xffff,
    0x10000,
    0x3fffff,
    0x400000,
    0x400fff,
    0x401000,
    0x401020,
    0x402fff,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x100000000,
    0x3fffffffffff,
    0x400000000000,
    0x7fffffffffff,
    0x800000000000,
    0x7fffffffffffffff,
    0x8000000000000000,
    0xfffffffffffff000,
    0xffffffffffffefff,
    0xfffffffffffffffe,
    0xffffffffffffffff,
};

// Every field of every header, every edge value: no crash, and whatever is accepted keeps the
// invariants.
Test(elf_image, every_field_at_its_edges)
{
    const struct {
        size_t offset, size;
    } fields[] = {
#define HEADER(f) {offsetof(struct small_elf, header.f), sizeof(((Elf64_Ehdr *)0)->f)}
        HEADER(e_type),      HEADER(e_machine), HEADER(e_version),   HEADER(e_entry),
        HEADER(e_phoff),     HEADER(e_shoff),   HEADER(e_flags),     HEADER(e_ehsize),
        HEADER(e_phentsize), HEADER(e_phnum),   HEADER(e_shentsize), HEADER(e_shnum),
        HEADER(e_shstrndx),
#define PROGRAM(n, f) {offsetof(struct small_elf, programs[n].f), sizeof(((Elf64_Phdr *)0)->f)}
#define PROGRAM_ALL(n)                                                                             \
    PROGRAM(n, p_type), PROGRAM(n, p_flags), PROGRAM(n, p_offset), PROGRAM(n, p_vaddr),            \
        PROGRAM(n, p_paddr), PROGRAM(n, p_filesz), PROGRAM(n, p_memsz), PROGRAM(n, p_align)
        PROGRAM_ALL(0),      PROGRAM_ALL(1),    PROGRAM_ALL(2),
    };
    unsigned accepted = 0, refused = 0;
    for (size_t i = 0; i < COUNT(fields); i++)
        for (size_t k = 0; k < COUNT(edges); k++) {
            struct small_elf elf = good_elf();
            struct elf_image image;
            struct error err;
            memcpy((uint8_t *)&elf + fields[i].offset, &edges[k], fields[i].size);
            if (read_elf(&elf, &image, &err) < 0) {
                refused++;
                continue;
            }
            accepted++;
            check_invariants(&image, sizeof(elf));
        }
    cr_expect_gt(accepted, 100u);
    cr_expect_gt(refused, 300u);
}

// Two fields at once, and single bytes at random.
Test(elf_image, random_damage, .timeout = 50)
{
    struct random random = random_start(14);
    for (int round = 0; round < 60000; round++) {
        struct small_elf elf = good_elf();
        struct elf_image image;
        struct error err;
        unsigned changes = 1 + random_below(&random, 4);
        while (changes--) {
            size_t offset = random_below(&random, offsetof(struct small_elf, bytes) / 8) * 8;
            uint64_t value = edges[random_below(&random, COUNT(edges))];
            if (random_chance(&random, 50))
                memcpy((uint8_t *)&elf + offset, &value, 8);
            else
                ((uint8_t *)&elf)[offset + random_below(&random, 8)] =
                    (uint8_t)random_next(&random);
        }
        if (read_elf(&elf, &image, &err) == 0)
            check_invariants(&image, sizeof(elf));
    }
}

// A segment with file bytes and no memory has a file size that exceeds its memory size.
Test(elf_image, file_bytes_without_memory)
{
    struct small_elf elf = good_elf();
    struct elf_image image;
    struct error err;
    elf.programs[1].p_memsz = 0;
    cr_expect_eq(read_elf(&elf, &image, &err), -1);
}

// System V ABI, chapter 4: files of another version are another format.
Test(elf_image, other_versions)
{
    struct small_elf elf = good_elf();
    struct elf_image image;
    struct error err;
    elf.header.e_ident[EI_VERSION] = 2;
    cr_expect_eq(read_elf(&elf, &image, &err), -1);
    elf = good_elf();
    elf.header.e_version = 2;
    cr_expect_eq(read_elf(&elf, &image, &err), -1);
}
