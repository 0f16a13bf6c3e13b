// SPDX-License-Identifier: Apache-2.0
// Reads and checks a cell's image: ELF64, x86-64, static, ET_EXEC (System V ABI, chapter 4).
#ifndef MEMORY_ELF_IMAGE_H
#define MEMORY_ELF_IMAGE_H

#include "error.h"
#include "gpa.h"

#define ELF_IMAGE_MAX_SEGMENTS 16

// Images lie in [ELF_IMAGE_LOWEST, ELF_IMAGE_END) of the cell's address space.
#define ELF_IMAGE_LOWEST 0x10000ull
#define ELF_IMAGE_END    0x400000000000ull

// One loadable segment, page-aligned outward; bytes outside the file part are zero.
struct elf_segment {
    struct gva base;       // page-aligned
    uint64_t length;       // a multiple of the page size
    uint64_t file_offset;  // of the first file byte
    uint64_t file_bytes;   // to read
    uint64_t start_offset; // where they go, from base
    unsigned rights;       // PAGE_WRITE, PAGE_EXECUTE (frame_map.h)
};

struct elf_image {
    struct gva entry;
    unsigned count;
    struct elf_segment segments[ELF_IMAGE_MAX_SEGMENTS];
};

// Reads the headers of the image behind `fd` and checks all of it that loading depends on. The
// file is hostile: every field is copied once and range-checked. Each refusal has its own message
// and status EXIT_STATUS_BAD_FILE.
int elf_image_read(int fd, struct elf_image *image, struct error *err);

// Copies the file bytes of one segment to `target` (zeroed, `segment->length` bytes).
int elf_image_load(int fd, const struct elf_segment *segment, uint8_t *target, struct error *err);

#endif
