// SPDX-License-Identifier: Apache-2.0
// Writes a dead VM's memory and registers as an ELF64 core file.
#include "forensic_core.h"

#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory_scrub.h"

#define PAGE 4096ull

// Program headers are counted in 16 bits. Memory that is touched in more pieces than this is
// written with the holes between them.
#define MAX_EXTENTS 2048u
#define MAX_HEADERS 16384u

// struct elf_prstatus of x86-64, as gdb reads it.
#define PRSTATUS_BYTES     336u
#define PRSTATUS_PID       32u
#define PRSTATUS_REGISTERS 112u

#define NOTE_TEXT_MAX 16384u
#define NOTES_MAX     (32768u)

// Highest guest-virtual address of a model; above, the memfd itself is shown.
#define USER_END (1ull << 47)

struct extent {
    uint64_t start; // in the memfd
    uint64_t end;
    uint64_t file; // its place in the core file
};

struct layout {
    struct extent extents[MAX_EXTENTS];
    unsigned extent_count;
    Elf64_Phdr headers[MAX_HEADERS];
    unsigned header_count;
    uint8_t notes[NOTES_MAX];
    size_t notes_bytes;
    uint64_t data_offset;
};

static uint64_t page_up(uint64_t value)
{
    return (value + PAGE - 1) & ~(PAGE - 1);
}

uint64_t forensic_core_overhead(void)
{
    return page_up(sizeof(Elf64_Ehdr) + MAX_HEADERS * sizeof(Elf64_Phdr) + NOTES_MAX);
}

static int find_extents(struct layout *layout, int fd, struct error *err)
{
    struct stat status;
    uint64_t start = 0;
    uint64_t end = 0;
    int found;
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "guest memory");
    uint64_t size = (uint64_t)status.st_size & ~(PAGE - 1);
    while ((found = memory_next_data(fd, size, &start, &end, err)) > 0) {
        start &= ~(PAGE - 1);
        end = page_up(end);
        struct extent *last =
            layout->extent_count ? &layout->extents[layout->extent_count - 1] : NULL;
        if (last && (start <= last->end || layout->extent_count == MAX_EXTENTS))
            last->end = end;
        else
            layout->extents[layout->extent_count++] = (struct extent){.start = start, .end = end};
        start = end;
    }
    return found;
}

static void add_header(struct layout *layout, const struct extent *extent, uint64_t start,
                       uint64_t end, uint64_t address, uint32_t flags)
{
    if (layout->header_count == MAX_HEADERS)
        return; // only views that a lying VMM described: the memory itself is in
    layout->headers[layout->header_count++] = (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_flags = flags,
        .p_offset = extent->file + (start - extent->start),
        .p_vaddr = address,
        .p_filesz = end - start,
        .p_memsz = end - start,
        .p_align = PAGE,
    };
}

// What is left of a claim once it is bounded. Returns false if nothing is.
static bool mapping_is_sound(const struct forensic_mapping *mapping)
{
    uint64_t ignored;
    return mapping->length && !(mapping->length & (PAGE - 1)) && !(mapping->address & (PAGE - 1)) &&
           !(mapping->offset & (PAGE - 1)) && mapping->address < USER_END &&
           mapping->length <= USER_END - mapping->address &&
           !__builtin_add_overflow(mapping->offset, mapping->length, &ignored);
}

static void add_mapping(struct layout *layout, const struct forensic_mapping *mapping)
{
    uint32_t flags = PF_R | (mapping->rights & 1 ? PF_W : 0) | (mapping->rights & 2 ? PF_X : 0);
    if (!mapping_is_sound(mapping))
        return;
    uint64_t end = mapping->offset + mapping->length;
    for (unsigned i = 0; i < layout->extent_count; i++) {
        const struct extent *extent = &layout->extents[i];
        uint64_t from = extent->start > mapping->offset ? extent->start : mapping->offset;
        uint64_t to = extent->end < end ? extent->end : end;
        if (from < to)
            add_header(layout, extent, from, to, mapping->address + (from - mapping->offset),
                       flags);
    }
}

static void add_note(struct layout *layout, const char *name, uint32_t type, const void *data,
                     size_t length)
{
    const Elf64_Nhdr head = {
        .n_namesz = (uint32_t)strlen(name) + 1,
        .n_descsz = (uint32_t)length,
        .n_type = type,
    };
    size_t name_bytes = (head.n_namesz + 3u) & ~3u;
    size_t bytes = sizeof(head) + name_bytes + ((length + 3) & ~(size_t)3);
    if (bytes > NOTES_MAX - layout->notes_bytes)
        return;
    uint8_t *at = layout->notes + layout->notes_bytes;
    memcpy(at, &head, sizeof(head));
    memcpy(at + sizeof(head), name, head.n_namesz);
    memcpy(at + sizeof(head) + name_bytes, data, length);
    layout->notes_bytes += bytes;
}

// The order of struct user_regs_struct.
static void add_registers(struct layout *layout, unsigned index, const struct forensic_vcpu *vcpu)
{
    const uint64_t *r = vcpu->general;
    const uint64_t registers[27] = {
        r[FORENSIC_R15], r[FORENSIC_R14], r[FORENSIC_R13], r[FORENSIC_R12],    r[FORENSIC_RBP],
        r[FORENSIC_RBX], r[FORENSIC_R11], r[FORENSIC_R10], r[FORENSIC_R9],     r[FORENSIC_R8],
        r[FORENSIC_RAX], r[FORENSIC_RCX], r[FORENSIC_RDX], r[FORENSIC_RSI],    r[FORENSIC_RDI],
        UINT64_MAX,      r[FORENSIC_RIP], vcpu->cs,        r[FORENSIC_RFLAGS], r[FORENSIC_RSP],
        vcpu->ss,        vcpu->fs_base,   vcpu->gs_base,   vcpu->ds,           vcpu->es,
        vcpu->fs,        vcpu->gs,
    };
    uint8_t status[PRSTATUS_BYTES] = {0};
    uint32_t pid = index + 1;
    memcpy(status + PRSTATUS_PID, &pid, sizeof(pid));
    memcpy(status + PRSTATUS_REGISTERS, registers, sizeof(registers));
    add_note(layout, "CORE", NT_PRSTATUS, status, sizeof(status));
}

struct text {
    char bytes[NOTE_TEXT_MAX];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void print(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n =
        vsnprintf(text->bytes + text->used, sizeof(text->bytes) - text->used, format, arguments);
    va_end(arguments);
    if (n > 0 && (size_t)n < sizeof(text->bytes) - text->used)
        text->used += (size_t)n;
}

static void describe(struct text *text, const struct forensic_core_source *source)
{
    print(text,
          "{\"format\":\"guillotine-core/1\",\"vm\":\"%s\",\"level\":%u,\"wall_ns\":%llu,"
          "\"backing_address\":\"0x%llx\",\"vcpus\":[",
          source->vm, source->level, (unsigned long long)source->wall_ns, FORENSIC_CORE_BACKING);
    for (unsigned i = 0; i < source->vcpus; i++) {
        const struct forensic_vcpu *vcpu = &source->area->vcpus[i];
        if (vcpu->known != 1) {
            print(text, "%s{\"registers\":\"unknown\"}", i ? "," : "");
            continue;
        }
        print(text,
              "%s{\"registers\":\"as the VMM said\",\"cr0\":\"0x%llx\",\"cr2\":\"0x%llx\","
              "\"cr3\":\"0x%llx\",\"cr4\":\"0x%llx\",\"efer\":\"0x%llx\"}",
              i ? "," : "", (unsigned long long)vcpu->cr0, (unsigned long long)vcpu->cr2,
              (unsigned long long)vcpu->cr3, (unsigned long long)vcpu->cr4,
              (unsigned long long)vcpu->efer);
    }
    print(text, "]}\n");
}

static int fill_notes(struct layout *layout, const struct forensic_core_source *source,
                      struct error *err)
{
    cleanup_free struct text *text = calloc(1, sizeof(*text));
    if (!text)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "core");
    for (unsigned i = 0; i < source->vcpus; i++) {
        if (source->area->vcpus[i].known == 1)
            add_registers(layout, i, &source->area->vcpus[i]);
    }
    describe(text, source);
    add_note(layout, FORENSIC_CORE_NOTE, FORENSIC_CORE_NOTE_TYPE, text->bytes, text->used);
    return 0;
}

static uint64_t head_bytes(const struct layout *layout)
{
    return sizeof(Elf64_Ehdr) + layout->header_count * sizeof(Elf64_Phdr) + layout->notes_bytes;
}

// Places the memory from `at` in the file on, and describes it.
static void place(struct layout *layout, const struct forensic_area *area, uint64_t at)
{
    layout->data_offset = at;
    for (unsigned i = 0; i < layout->extent_count; i++) {
        layout->extents[i].file = at;
        at += layout->extents[i].end - layout->extents[i].start;
    }
    layout->header_count = 1; // the notes
    for (unsigned i = 0; i < layout->extent_count; i++) {
        const struct extent *extent = &layout->extents[i];
        add_header(layout, extent, extent->start, extent->end,
                   FORENSIC_CORE_BACKING + extent->start, PF_R);
    }
    uint32_t count = area->mapping_count;
    for (uint32_t i = 0; i < count && i < FORENSIC_MAX_MAPPINGS; i++)
        add_mapping(layout, &area->mappings[i]);
    layout->headers[0] = (Elf64_Phdr){
        .p_type = PT_NOTE,
        .p_offset = sizeof(Elf64_Ehdr) + layout->header_count * sizeof(Elf64_Phdr),
        .p_filesz = layout->notes_bytes,
        .p_align = 4,
    };
}

static int write_zeros(uint64_t length, forensic_core_sink sink, void *context, struct error *err)
{
    static const uint8_t zeros[PAGE];
    for (uint64_t n; length; length -= n) {
        n = length < PAGE ? length : PAGE;
        if (sink(context, zeros, n, err) < 0)
            return -1;
    }
    return 0;
}

static int write_head(const struct layout *layout, forensic_core_sink sink, void *context,
                      struct error *err)
{
    const Elf64_Ehdr head = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(head),
        .e_ehsize = sizeof(head),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = (uint16_t)layout->header_count,
    };
    if (sink(context, &head, sizeof(head), err) < 0 ||
        sink(context, layout->headers, layout->header_count * sizeof(Elf64_Phdr), err) < 0 ||
        sink(context, layout->notes, layout->notes_bytes, err) < 0)
        return -1;
    return write_zeros(layout->data_offset - head_bytes(layout), sink, context, err);
}

static int write_extent(const struct extent *extent, int fd, forensic_core_sink sink, void *context,
                        struct error *err)
{
    static uint8_t buffer[64u << 10];
    uint64_t at = extent->start;
    int result = 0;
    while (result == 0 && at < extent->end) {
        size_t wanted = extent->end - at < sizeof(buffer) ? extent->end - at : sizeof(buffer);
        ssize_t n = pread(fd, buffer, wanted, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EIO || errno == EHWPOISON)) {
            // A page that the hardware lost: the rest of the evidence is worth more than an end.
            n = (ssize_t)(PAGE < wanted ? PAGE : wanted);
            memset(buffer, 0, (size_t)n);
        } else if (n <= 0) {
            result = error_set(err, EXIT_STATUS_INTERNAL, n < 0 ? errno : 0, "read guest memory");
            break;
        }
        result = sink(context, buffer, (size_t)n, err);
        at += (uint64_t)n;
    }
    explicit_bzero(buffer, sizeof(buffer));
    return result;
}

int forensic_core_write(const struct forensic_core_source *source, forensic_core_sink sink,
                        void *context, struct error *err)
{
    cleanup_free struct layout *layout = calloc(1, sizeof(*layout));
    if (!layout)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "core");
    if (find_extents(layout, source->memory_fd, err) < 0 || fill_notes(layout, source, err) < 0)
        return -1;
    // How many headers there are does not depend on where the data begins, but where it begins does
    // on their number.
    place(layout, source->area, 0);
    place(layout, source->area, page_up(head_bytes(layout)));
    if (write_head(layout, sink, context, err) < 0)
        return -1;
    for (unsigned i = 0; i < layout->extent_count; i++) {
        if (write_extent(&layout->extents[i], source->memory_fd, sink, context, err) < 0)
            return -1;
    }
    return 0;
}
