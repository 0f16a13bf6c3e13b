// SPDX-License-Identifier: Apache-2.0
// Finds the symbol that covers an address in a cell's image.
#include "elf_symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "escape.h"

#define SECTIONS_MAX   256
#define SYMBOLS_MAX    (1u << 20)
#define NAME_MAX_BYTES 128

static bool read_at(int fd, void *target, size_t length, uint64_t offset)
{
    return offset <= INT64_MAX && pread(fd, target, length, (off_t)offset) == (ssize_t)length;
}

// The function or object that covers `address`; the nearest one below wins.
static bool find(int fd, const Elf64_Shdr *symbols, uint64_t address, Elf64_Sym *best)
{
    Elf64_Sym chunk[128];
    uint64_t count = symbols->sh_size / sizeof(Elf64_Sym);
    bool found = false;
    if (count > SYMBOLS_MAX)
        count = SYMBOLS_MAX;
    for (uint64_t at = 0; at < count;) {
        size_t take = count - at < 128 ? (size_t)(count - at) : 128;
        if (!read_at(fd, chunk, take * sizeof(Elf64_Sym),
                     symbols->sh_offset + at * sizeof(Elf64_Sym)))
            return found;
        for (size_t i = 0; i < take; i++) {
            unsigned type = ELF64_ST_TYPE(chunk[i].st_info);
            uint64_t size = chunk[i].st_size ? chunk[i].st_size : 1;
            if ((type == STT_FUNC || type == STT_OBJECT || type == STT_NOTYPE) &&
                chunk[i].st_shndx != SHN_UNDEF && address >= chunk[i].st_value &&
                address - chunk[i].st_value < size &&
                (!found || chunk[i].st_value >= best->st_value)) {
                *best = chunk[i];
                found = true;
            }
        }
        at += take;
    }
    return found;
}

void elf_symbol_name(const char *image, uint64_t address, char *text, size_t size)
{
    Elf64_Ehdr header;
    Elf64_Shdr sections[SECTIONS_MAX];
    struct stat status;
    cleanup_fd int fd = open(image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    text[0] = '\0';
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        !read_at(fd, &header, sizeof(header), 0) || header.e_shentsize != sizeof(Elf64_Shdr) ||
        header.e_shnum > SECTIONS_MAX ||
        !read_at(fd, sections, header.e_shnum * sizeof(Elf64_Shdr), header.e_shoff))
        return;
    for (unsigned i = 0; i < header.e_shnum; i++) {
        Elf64_Sym symbol;
        char name[NAME_MAX_BYTES];
        char escaped[NAME_MAX_BYTES * ESCAPE_MAX_EXPANSION];
        if (sections[i].sh_type != SHT_SYMTAB || sections[i].sh_link >= header.e_shnum ||
            !find(fd, &sections[i], address, &symbol))
            continue;
        ssize_t n =
            pread(fd, name, sizeof(name) - 1,
                  (off_t)((sections[sections[i].sh_link].sh_offset + symbol.st_name) & INT64_MAX));
        if (n <= 0)
            return;
        name[n] = '\0';
        size_t length = 0;
        while (name[length])
            length++;
        escape_line(escaped, sizeof(escaped), name, length);
        snprintf(text, size, "%s+0x%llx", escaped, (unsigned long long)(address - symbol.st_value));
        return;
    }
}
