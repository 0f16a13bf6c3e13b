// SPDX-License-Identifier: Apache-2.0
// Reads and checks a cell's image.
#include "elf_image.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frame_map.h"

static int refuse(struct error *err, const char *reason)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s", reason);
}

static int read_exact(int fd, void *target, size_t length, uint64_t offset, struct error *err)
{
    uint8_t *at = target;
    while (length) {
        ssize_t n = pread(fd, at, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "read");
        if (n == 0)
            return refuse(err, "the file is truncated: it ends before what its headers promise");
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

static int check_header(const Elf64_Ehdr *header, struct error *err)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG))
        return refuse(err, "not an ELF file");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB)
        return refuse(err, "not a 64-bit little-endian ELF file");
    if (header->e_ident[EI_VERSION] != EV_CURRENT || header->e_version != EV_CURRENT)
        return refuse(err, "of another ELF version than 1");
    if (header->e_machine != EM_X86_64)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "built for machine %u, not for x86-64 (%d)",
                         header->e_machine, EM_X86_64);
    if (header->e_type == ET_DYN)
        return refuse(err, "position-independent or shared (ET_DYN): link with -static -no-pie");
    if (header->e_type != ET_EXEC)
        return refuse(err, "not an executable (ET_EXEC)");
    if (header->e_phentsize != sizeof(Elf64_Phdr) || !header->e_phnum)
        return refuse(err, "no usable program headers");
    if (header->e_phnum > 64)
        return refuse(err, "more than 64 program headers");
    return 0;
}

static int add_segment(struct elf_image *image, const Elf64_Phdr *program, unsigned number,
                       uint64_t file_length, struct error *err)
{
    if (program->p_filesz > program->p_memsz)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "segment %u: file size exceeds memory size",
                         number);
    if (!program->p_memsz)
        return 0;
    if (image->count == ELF_IMAGE_MAX_SEGMENTS)
        return refuse(err, "more than 16 loadable segments");
    if ((program->p_flags & (PF_W | PF_X)) == (PF_W | PF_X))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "segment %u at 0x%llx is writable and executable: link with "
                         "-z separate-code and without -z execstack or -N",
                         number, (unsigned long long)program->p_vaddr);
    if (!range_contains(0, file_length, program->p_offset, program->p_filesz))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "segment %u lies beyond the end of the file: the file is truncated",
                         number);
    if (!range_contains(ELF_IMAGE_LOWEST, ELF_IMAGE_END - ELF_IMAGE_LOWEST, program->p_vaddr,
                        program->p_memsz))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "segment %u at 0x%llx is outside 0x%llx to 0x%llx", number,
                         (unsigned long long)program->p_vaddr, ELF_IMAGE_LOWEST, ELF_IMAGE_END);

    struct elf_segment *segment = &image->segments[image->count];
    uint64_t start = program->p_vaddr & ~(GUEST_PAGE_SIZE - 1);
    uint64_t end;
    // Cannot overflow: the range check above bounds it far below 2^64.
    align_up(program->p_vaddr + program->p_memsz, GUEST_PAGE_SIZE, &end);
    *segment = (struct elf_segment){
        .base = {start},
        .length = end - start,
        .file_offset = program->p_offset,
        .file_bytes = program->p_filesz,
        .start_offset = program->p_vaddr - start,
        .rights = (program->p_flags & PF_W ? PAGE_WRITE : 0u) |
                  (program->p_flags & PF_X ? PAGE_EXECUTE : 0u),
    };
    for (unsigned i = 0; i < image->count; i++) {
        if (range_overlaps(image->segments[i].base.value, image->segments[i].length, start,
                           segment->length))
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "segment %u at 0x%llx overlaps or shares a page with another segment",
                             number, (unsigned long long)program->p_vaddr);
    }
    image->count++;
    return 0;
}

static int check_entry(const struct elf_image *image, struct error *err)
{
    for (unsigned i = 0; i < image->count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        if ((segment->rights & PAGE_EXECUTE) &&
            range_contains(segment->base.value, segment->length, image->entry.value, 1))
            return 0;
    }
    return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                     "entry point 0x%llx is not in an executable segment",
                     (unsigned long long)image->entry.value);
}

int elf_image_read(int fd, struct elf_image *image, struct error *err)
{
    struct stat status;
    Elf64_Ehdr header;
    Elf64_Phdr programs[64];

    *image = (struct elf_image){0};
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "stat");
    if (S_ISDIR(status.st_mode))
        return refuse(err, "is a directory, not an ELF file");
    if (!S_ISREG(status.st_mode))
        return refuse(err, "is not a regular file");
    if ((uint64_t)status.st_size < sizeof(header))
        return refuse(err, "not an ELF file: it is shorter than an ELF header");
    if (read_exact(fd, &header, sizeof(header), 0, err) < 0 || check_header(&header, err) < 0)
        return -1;
    if (!range_contains(0, (uint64_t)status.st_size, header.e_phoff,
                        header.e_phnum * sizeof(Elf64_Phdr)))
        return refuse(err, "program headers lie beyond the end of the file: it is truncated");
    if (read_exact(fd, programs, header.e_phnum * sizeof(Elf64_Phdr), header.e_phoff, err) < 0)
        return -1;

    image->entry.value = header.e_entry;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        switch (programs[i].p_type) {
        case PT_INTERP:
        case PT_DYNAMIC:
            return refuse(err, "dynamically linked: link with -static");
        case PT_TLS:
            return refuse(err, "uses thread-local storage, which cells do not have");
        case PT_LOAD:
            if (add_segment(image, &programs[i], i, (uint64_t)status.st_size, err) < 0)
                return -1;
            break;
        default:
            break;
        }
    }
    if (!image->count)
        return refuse(err, "has no loadable segment");
    return check_entry(image, err);
}

int elf_image_load(int fd, const struct elf_segment *segment, uint8_t *target, struct error *err)
{
    if (!range_contains(0, segment->length, segment->start_offset, segment->file_bytes))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "segment bounds");
    return read_exact(fd, target + segment->start_offset, segment->file_bytes, segment->file_offset,
                      err);
}
