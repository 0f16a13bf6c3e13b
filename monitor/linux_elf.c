// SPDX-License-Identifier: Apache-2.0
// vmlinux kernels with a PVH entry (Documentation/arch/x86/pvh.rst).
#include <elf.h>
#include <string.h>

#include "linux_loader.h"

#define SEGMENTS_MAX 64u
#define SECTIONS_MAX 4096u
#define NOTES_MAX    65536u
#define NAMES_MAX    65536u

// XEN_ELFNOTE_PHYS32_ENTRY, of the owner "Xen".
#define NOTE_ENTRY 18u

#define PAGE_BYTES 4096ull

struct elf {
    Elf64_Ehdr header;
    Elf64_Phdr segments[SEGMENTS_MAX];
};

static int read_header(const struct linux_file *file, struct elf *elf, struct error *err)
{
    Elf64_Ehdr *header = &elf->header;
    if (linux_file_read(file, 0, header, sizeof(*header), NULL) < 0 ||
        memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64 ||
        header->e_type != ET_EXEC)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "neither a bzImage nor an x86-64 vmlinux");
    if (!header->e_phnum || header->e_phnum > SEGMENTS_MAX ||
        header->e_phentsize != sizeof(Elf64_Phdr))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%u program headers of %u bytes",
                         header->e_phnum, header->e_phentsize);
    return linux_file_read(file, header->e_phoff, elf->segments,
                           header->e_phnum * sizeof(Elf64_Phdr), err);
}

static int load_segments(const struct linux_memory *memory, const struct linux_file *file,
                         const struct elf *elf, struct linux_kernel *kernel, struct error *err)
{
    kernel->base = UINT64_MAX;
    for (unsigned i = 0; i < elf->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type != PT_LOAD || !segment->p_memsz)
            continue;
        if (segment->p_filesz > segment->p_memsz)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "segment %u is longer in the file than in memory", i);
        if (!linux_memory_has(memory, segment->p_paddr, segment->p_memsz))
            return error_set(err, EXIT_STATUS_RESOURCES, 0,
                             "segment %u, %llu bytes at 0x%llx, does not fit the guest's %llu MiB",
                             i, (unsigned long long)segment->p_memsz,
                             (unsigned long long)segment->p_paddr,
                             (unsigned long long)(memory->bytes >> 20));
        if (linux_file_load(memory, file, segment->p_offset, segment->p_paddr, segment->p_filesz,
                            err) < 0)
            return error_wrap(err, "segment %u", i);
        if (segment->p_paddr < kernel->base)
            kernel->base = segment->p_paddr;
        if (segment->p_paddr + segment->p_memsz > kernel->end)
            kernel->end = segment->p_paddr + segment->p_memsz;
    }
    return kernel->end ? 0 : error_set(err, EXIT_STATUS_BAD_FILE, 0, "nothing to load");
}

static uint64_t round4(uint64_t value)
{
    return (value + 3) & ~3ull;
}

// Looks through one segment of notes. Returns the entry, or 0.
static uint64_t find_entry(const uint8_t *notes, uint64_t length)
{
    Elf64_Nhdr note;
    for (uint64_t at = 0; length - at >= sizeof(note);) {
        memcpy(&note, notes + at, sizeof(note));
        at += sizeof(note);
        uint64_t name = round4(note.n_namesz);
        uint64_t body = round4(note.n_descsz);
        if (name > length - at || body > length - at - name)
            break;
        if (note.n_type == NOTE_ENTRY && note.n_namesz == 4 && !memcmp(notes + at, "Xen", 4) &&
            (note.n_descsz == 4 || note.n_descsz == 8)) {
            uint64_t entry = 0;
            memcpy(&entry, notes + at + name, note.n_descsz);
            return entry;
        }
        at += name + body;
    }
    return 0;
}

static int read_entry(const struct linux_file *file, const struct elf *elf, uint64_t *entry,
                      struct error *err)
{
    static uint8_t notes[NOTES_MAX];
    *entry = 0;
    for (unsigned i = 0; i < elf->header.e_phnum && !*entry; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type != PT_NOTE || segment->p_filesz > sizeof(notes))
            continue;
        if (linux_file_read(file, segment->p_offset, notes, segment->p_filesz, err) < 0)
            return error_wrap(err, "notes");
        *entry = find_entry(notes, segment->p_filesz);
    }
    return *entry ? 0
                  : error_set(err, EXIT_STATUS_BAD_FILE, 0,
                              "no PVH entry: the kernel was built without CONFIG_PVH");
}

// Where a section of the address space lies in physical memory. 0: nowhere.
static uint64_t physical(const struct elf *elf, uint64_t address, uint64_t length)
{
    for (unsigned i = 0; i < elf->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
            length <= segment->p_memsz && address - segment->p_vaddr <= segment->p_memsz - length)
            return segment->p_paddr + (address - segment->p_vaddr);
    }
    return 0;
}

static void add_range(const struct elf *elf, struct linux_entry *entry, const Elf64_Shdr *section,
                      bool text)
{
    uint64_t base = physical(elf, section->sh_addr, section->sh_size);
    // Whole pages, inwards: what shares a page with something else is not sealed.
    uint64_t first = (base + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    uint64_t end = (base + section->sh_size) & ~(PAGE_BYTES - 1);
    if (!base || end <= first ||
        entry->range_count == sizeof(entry->ranges) / sizeof(entry->ranges[0]))
        return;
    entry->ranges[entry->range_count++] =
        (struct linux_range){.base = first, .length = end - first, .text = text};
}

// Text and read-only data, if the file still has its section headers. A file without them, or with
// odd ones, has no ranges.
static void read_ranges(const struct linux_file *file, const struct elf *elf,
                        struct linux_entry *entry)
{
    static Elf64_Shdr sections[SECTIONS_MAX];
    static char names[NAMES_MAX];
    const Elf64_Ehdr *header = &elf->header;
    unsigned count = header->e_shnum;
    if (!count || count > SECTIONS_MAX || header->e_shentsize != sizeof(Elf64_Shdr) ||
        header->e_shstrndx >= count ||
        linux_file_read(file, header->e_shoff, sections, count * sizeof(Elf64_Shdr), NULL) < 0)
        return;
    const Elf64_Shdr *table = &sections[header->e_shstrndx];
    if (!table->sh_size || table->sh_size > sizeof(names) ||
        linux_file_read(file, table->sh_offset, names, table->sh_size, NULL) < 0)
        return;
    names[table->sh_size - 1] = '\0';
    for (unsigned i = 0; i < count; i++) {
        const char *name = sections[i].sh_name < table->sh_size ? names + sections[i].sh_name : "";
        if (!strcmp(name, ".text") || !strcmp(name, ".rodata"))
            add_range(elf, entry, &sections[i], name[1] == 't');
    }
}

int linux_elf_load(const struct linux_memory *memory, const struct linux_file *file,
                   struct linux_kernel *kernel, struct linux_entry *entry, struct error *err)
{
    struct elf elf;
    if (read_header(file, &elf, err) < 0 || read_entry(file, &elf, &entry->instruction, err) < 0 ||
        load_segments(memory, file, &elf, kernel, err) < 0)
        return -1;
    if (entry->instruction < kernel->base || entry->instruction >= kernel->end)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "the PVH entry lies outside the kernel");
    kernel->initrd_max = LINUX_LOW_END - 1;
    kernel->command_line_max = LINUX_COMMAND_LINE_MAX - 1;
    entry->mode = LINUX_ENTRY_PVH;
    read_ranges(file, &elf, entry);
    return 0;
}
