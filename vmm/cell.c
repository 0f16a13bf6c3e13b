// SPDX-License-Identifier: Apache-2.0
// A cell's memory: image, stacks, heap, I/O region, weights, system pages, page tables.
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backing.h"
#include "cpu_tables.h"

// Smallest heap that is worth starting a model with.
#define HEAP_MIN_BYTES (2ull << 20)

static uint64_t page_up(uint64_t value)
{
    return (value + GUEST_PAGE_SIZE - 1) & ~(GUEST_PAGE_SIZE - 1);
}

static uint64_t large_page_up(uint64_t value)
{
    return (value + GUEST_LARGE_PAGE_SIZE - 1) & ~(GUEST_LARGE_PAGE_SIZE - 1);
}

static uint64_t line_up(uint64_t value)
{
    return (value + 63) & ~63ull;
}

// Bytes of the port's own buffers: as many largest requests and replies as the port takes at once,
// and at least one for each queue.
static uint64_t port_buffer_bytes(const struct vmm_port_config *port)
{
    uint64_t count = port->in_flight > port->queue_count ? port->in_flight : port->queue_count;
    return page_up(count * (line_up(sizeof(struct port_request_header) + port->max_request_bytes) +
                            line_up(sizeof(struct port_reply_header) + port->max_reply_bytes)));
}

static uint64_t queue_area_bytes(uint64_t size)
{
    return page_up(size * sizeof(struct virtq_descriptor)) + page_up(VIRTQ_AVAILABLE_BYTES(size)) +
           page_up(VIRTQ_USED_BYTES(size));
}

static uint64_t io_bytes(const struct vmm_config *config)
{
    uint64_t bytes = page_up(config->vcpus * sizeof(struct cell_event));
    for (unsigned i = 0; i < config->port_count; i++)
        bytes += config->ports[i].queue_count * queue_area_bytes(config->ports[i].queue_size) +
                 port_buffer_bytes(&config->ports[i]);
    return bytes;
}

static bool is_code(const struct elf_segment *segment)
{
    return !(segment->rights & PAGE_WRITE);
}

// Lays the parts out in guest-physical space; host addresses follow once the memory is mapped.
static int plan(struct cell *cell, const struct vmm_config *config, struct error *err)
{
    uint64_t code = 0;
    uint64_t data = 0;
    for (unsigned i = 0; i < cell->image.count; i++) {
        const struct elf_segment *segment = &cell->image.segments[i];
        uint64_t *sum = is_code(segment) ? &code : &data;
        // Segments are bounded by the address space that images may use: no overflow.
        *sum += segment->length;
    }
    if (code > CELL_CODE_MAX_BYTES)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "image: more than 3 GiB of code");
    uint64_t fixed = large_page_up(data + cell->vcpus * CELL_VCPU_RAM_BYTES);
    if (config->memory_bytes < fixed + HEAP_MIN_BYTES)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "memory_bytes: the image's data and %u stack(s) need %llu bytes, and a "
                         "heap at least %llu more; %llu given",
                         cell->vcpus, (unsigned long long)fixed, HEAP_MIN_BYTES,
                         (unsigned long long)config->memory_bytes);
    uint64_t io = io_bytes(config);
    if (io > CELL_IO_MAX_BYTES)
        return error_set(
            err, EXIT_STATUS_RESOURCES, 0,
            "ports: queues and buffers need %llu MiB, at most %llu fit: lower in_flight or "
            "the largest request and reply",
            (unsigned long long)(io >> 20), (unsigned long long)(CELL_IO_MAX_BYTES >> 20));
    uint64_t ram = config->memory_bytes & ~(GUEST_LARGE_PAGE_SIZE - 1);
    cell->system = (struct cell_part){{CELL_GPA_SYSTEM}, CELL_SYSTEM_BYTES, NULL};
    cell->code = (struct cell_part){{CELL_GPA_CODE}, code, NULL};
    cell->ram = (struct cell_part){{CELL_GPA_RAM}, ram, NULL};
    cell->io = (struct cell_part){{CELL_GPA_RAM + ram}, io, NULL};
    // Its length follows when all mappings are known.
    cell->writable_system = (struct cell_part){{CELL_GPA_RAM + ram + io}, 0, NULL};
    return 0;
}

// Adds a mapping of the model's address space.
static int map_user(struct cell *cell, uint64_t gva, uint64_t gpa, uint64_t length, unsigned rights,
                    struct error *err)
{
    return frame_map_add(&cell->map, (struct gva){gva}, (struct gpa){gpa}, length,
                         rights | PAGE_USER, err);
}

static int map_image(struct cell *cell, struct error *err)
{
    uint64_t code = cell->code.base.value;
    uint64_t data = cell->ram.base.value;
    for (unsigned i = 0; i < cell->image.count; i++) {
        const struct elf_segment *segment = &cell->image.segments[i];
        uint64_t *at = is_code(segment) ? &code : &data;
        if (map_user(cell, segment->base.value, *at, segment->length, segment->rights, err) < 0)
            return error_wrap(err, "image");
        *at += segment->length;
    }
    for (unsigned i = 0; i < cell->vcpus; i++) {
        if (map_user(cell, cell_stack_base(i).value, data, CELL_VCPU_RAM_BYTES, PAGE_WRITE, err) <
            0)
            return -1;
        data += CELL_VCPU_RAM_BYTES;
    }
    uint64_t heap = large_page_up(data);
    return map_user(cell, CELL_GVA_HEAP, heap, cell->ram.length - (heap - cell->ram.base.value),
                    PAGE_WRITE, err);
}

static int map_devices(struct cell *cell, const struct vmm_config *config, struct error *err)
{
    if (map_user(cell, CELL_GVA_CONTROL, CELL_GPA_DEVICE, CELL_CONTROL_PAGES * GUEST_PAGE_SIZE,
                 PAGE_WRITE, err) < 0)
        return -1;
    // The mapping is the capability: a port that is not granted has no doorbell page.
    for (unsigned i = 0; i < config->port_count; i++) {
        if (map_user(cell, cell_doorbell_gva(i).value, cell_doorbell_gpa(i).value, GUEST_PAGE_SIZE,
                     PAGE_WRITE, err) < 0)
            return -1;
    }
    return 0;
}

static int map_system(struct cell *cell, struct error *err)
{
    static const struct {
        uint64_t gva;
        uint64_t offset;
        uint64_t length;
        unsigned rights;
    } pages[] = {
        {CELL_GVA_SYSTEM, CELL_SYSTEM_GDT, 2 * GUEST_PAGE_SIZE, 0}, // GDT and IDT
        {CELL_GVA_SYSTEM + CELL_SYSTEM_STUB, CELL_SYSTEM_STUB, GUEST_PAGE_SIZE, PAGE_EXECUTE},
        {CELL_GVA_SYSTEM + CELL_SYSTEM_TSS, CELL_SYSTEM_TSS, GUEST_PAGE_SIZE, 0},
        {CELL_GVA_INFO, CELL_SYSTEM_INFO, CELL_SYSTEM_INFO_BYTES, PAGE_USER},
        {CELL_GVA_INFO + CELL_SYSTEM_INFO_BYTES, CELL_SYSTEM_ARGUMENTS, CELL_ARGUMENTS_MAX,
         PAGE_USER},
    };
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (frame_map_add(&cell->map, (struct gva){pages[i].gva},
                          (struct gpa){CELL_GPA_SYSTEM + pages[i].offset}, pages[i].length,
                          pages[i].rights, err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < cell->vcpus; i++) {
        if (frame_map_add(&cell->map, cell_system_stack(i),
                          gpa_add(cell->writable_system.base, i * GUEST_PAGE_SIZE), GUEST_PAGE_SIZE,
                          PAGE_WRITE, err) < 0)
            return -1;
    }
    return 0;
}

// Gives each weights file its place: after the RAM in guest-physical, in its stride in
// guest-virtual space.
static int map_weights(struct cell *cell, const struct vmm_config *config, struct error *err)
{
    uint64_t gpa = large_page_up(cell->writable_system.base.value + CELL_TABLES_MAX_BYTES);
    for (unsigned i = 0; i < config->weights_count; i++) {
        uint64_t length = page_up(config->weights[i].bytes);
        if (!length || length > CELL_GVA_WEIGHTS_STRIDE)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "weights %u: empty or too large", i);
        cell->weights[i] = (struct cell_part){{gpa}, length, NULL};
        if (map_user(cell, CELL_GVA_WEIGHTS + i * CELL_GVA_WEIGHTS_STRIDE, gpa, length, 0, err) < 0)
            return -1;
        gpa = large_page_up(gpa + length);
    }
    cell->end = (struct gpa){gpa};
    cell->weights_count = config->weights_count;
    return 0;
}

static uint64_t readonly_bytes(const struct cell *cell)
{
    return cell->system.length + cell->code.length;
}

static uint64_t writable_bytes(const struct cell *cell)
{
    return cell->ram.length + cell->io.length + cell->writable_system.length;
}

// Offset of the read-only slot's bytes in the memfd.
static uint64_t readonly_offset(const struct cell *cell)
{
    return large_page_up(writable_bytes(cell));
}

bool cell_backing_offset(const struct cell *cell, struct gpa base, uint64_t length,
                         uint64_t *offset)
{
    if (range_contains(cell->ram.base.value, writable_bytes(cell), base.value, length)) {
        *offset = base.value - cell->ram.base.value;
        return true;
    }
    if (range_contains(cell->system.base.value, readonly_bytes(cell), base.value, length)) {
        *offset = readonly_offset(cell) + (base.value - cell->system.base.value);
        return true;
    }
    return false;
}

// Sizes, seals and maps the backing memory: one memfd, the writable slot's bytes, then the
// read-only slot's.
static int map_backing(struct cell *cell, int memory_fd, struct error *err)
{
    uint64_t total = readonly_offset(cell) + large_page_up(readonly_bytes(cell));
    if (ftruncate(memory_fd, (off_t)total) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "guest memory of %llu bytes",
                         (unsigned long long)total);
    if (fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "seal guest memory");
    cell->ram.host = backing_map(memory_fd, 0, writable_bytes(cell), cell->memory_flags, err);
    if (!cell->ram.host)
        return -1;
    cell->io.host = cell->ram.host + cell->ram.length;
    cell->writable_system.host = cell->io.host + cell->io.length;
    cell->system.host = backing_map(memory_fd, readonly_offset(cell), readonly_bytes(cell),
                                    cell->memory_flags, err);
    if (!cell->system.host)
        return -1;
    cell->code.host = cell->system.host + cell->system.length;
    return 0;
}

static int load_image(struct cell *cell, int image_fd, struct error *err)
{
    for (unsigned i = 0; i < cell->image.count; i++) {
        const struct elf_segment *segment = &cell->image.segments[i];
        const struct frame_mapping *mapping = frame_map_find(&cell->map, segment->base);
        const struct cell_part *part = is_code(segment) ? &cell->code : &cell->ram;
        uint8_t *target = part->host + (mapping->physical_base.value - part->base.value);
        if (elf_image_load(image_fd, segment, target, err) < 0)
            return error_wrap(err, "image");
    }
    return 0;
}

static void *copy_file(int fd, uint64_t bytes, uint64_t mapped, uint32_t flags, struct error *err)
{
    uint8_t *copy = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "copy of %llu bytes",
                  (unsigned long long)bytes);
        return MAP_FAILED;
    }
    if (flags & VMM_MEMORY_HUGE)
        madvise(copy, mapped, MADV_HUGEPAGE); // before it is touched
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, copy + done, bytes - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error_set(err, EXIT_STATUS_BAD_FILE, n < 0 ? errno : 0,
                      "the file ended at %llu of %llu bytes", (unsigned long long)done,
                      (unsigned long long)bytes);
            munmap(copy, mapped);
            return MAP_FAILED;
        }
        done += (uint64_t)n;
    }
    mprotect(copy, mapped, PROT_READ);
    return copy;
}

static int load_weights(struct cell *cell, const struct vmm_config *config, const int *fds,
                        struct error *err)
{
    for (unsigned i = 0; i < cell->weights_count; i++) {
        const struct vmm_weights_config *weights = &config->weights[i];
        uint64_t length = cell->weights[i].length;
        struct stat status;
        if (fstat(fds[i], &status) < 0 || status.st_size < 0 ||
            (uint64_t)status.st_size < weights->bytes)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "weights %u: the file became shorter",
                             i);
        // The page cache stays where the host has it.
        uint32_t flags = weights->copy ? config->memory_flags : 0;
        void *host = weights->copy ? copy_file(fds[i], weights->bytes, length, flags, err)
                                   : mmap(NULL, length, PROT_READ, MAP_SHARED, fds[i], 0);
        if (host == MAP_FAILED) {
            if (!weights->copy)
                error_set(err, EXIT_STATUS_RESOURCES, errno, "map");
            return error_wrap(err, "weights %u", i);
        }
        if (backing_apply(host, length, flags, err) < 0)
            return error_wrap(err, "weights %u", i);
        cell->weights[i].host = host;
    }
    return 0;
}

// Places one queue at `offset` of the I/O region. Returns the offset behind it.
static uint64_t place_queue(struct cell *cell, uint64_t offset, uint64_t size,
                            struct cell_queue *queue, struct port_queue_layout *layout)
{
    queue->descriptors = gpa_add(cell->io.base, offset);
    layout->descriptors = CELL_GVA_IO + offset;
    offset += page_up(size * sizeof(struct virtq_descriptor));
    queue->available = gpa_add(cell->io.base, offset);
    layout->available = CELL_GVA_IO + offset;
    offset += page_up(VIRTQ_AVAILABLE_BYTES(size));
    queue->used = gpa_add(cell->io.base, offset);
    layout->used = CELL_GVA_IO + offset;
    layout->size = (uint32_t)size;
    return offset + page_up(VIRTQ_USED_BYTES(size));
}

// The I/O region's host view, the queues' places, and the port table of the boot info.
static int place_ports(struct cell *cell, const struct vmm_config *config,
                       struct port_table_entry *table, struct error *err)
{
    uint64_t offset = page_up(config->vcpus * sizeof(struct cell_event));
    cell->events = cell->io.base;
    if (guest_memory_add(&cell->io_memory, cell->io.base, cell->io.length, cell->io.host,
                         GUEST_READ | GUEST_WRITE, err) < 0)
        return -1;
    for (unsigned i = 0; i < config->port_count; i++) {
        const struct vmm_port_config *port = &config->ports[i];
        struct port_table_entry *entry = &table[i];
        for (unsigned k = 0; k < port->queue_count; k++) {
            offset =
                place_queue(cell, offset, port->queue_size, &cell->queues[i][k], &entry->queues[k]);
            entry->queues[k].vcpu = k % config->vcpus;
        }
        entry->buffers = CELL_GVA_IO + offset;
        entry->buffers_bytes = port_buffer_bytes(port);
        offset += entry->buffers_bytes;
        memcpy(entry->name, port->name, sizeof(entry->name) - 1);
        entry->kind = port->kind;
        entry->queue_count = port->queue_count;
        entry->doorbell = cell_doorbell_gva(i).value;
        entry->max_request_bytes = port->max_request_bytes;
        entry->max_reply_bytes = port->max_reply_bytes;
        entry->features = port->features;
        entry->in_flight = port->in_flight;
    }
    return 0;
}

static int write_boot_info(struct cell *cell, const struct vmm_config *config,
                           const char *arguments, struct error *err)
{
    struct cell_boot_info *info = (void *)(cell->system.host + CELL_SYSTEM_INFO);
    const struct frame_mapping *heap = frame_map_find(&cell->map, (struct gva){CELL_GVA_HEAP});
    _Static_assert(sizeof(*info) + CELL_MAX_PORTS * sizeof(struct port_table_entry) <=
                       CELL_SYSTEM_INFO_BYTES,
                   "the boot info fits its pages");
    *info = (struct cell_boot_info){
        .format = CELL_ABI_FORMAT,
        .size = (uint32_t)(sizeof(*info) + config->port_count * sizeof(struct port_table_entry)),
        .vcpus = config->vcpus,
        .heap = CELL_GVA_HEAP,
        .heap_bytes = heap->length,
        .io = CELL_GVA_IO,
        .io_physical = cell->io.base.value,
        .io_bytes = cell->io.length,
        .events = CELL_GVA_IO,
        .park_page = CELL_GVA_CONTROL + CELL_CONTROL_PARK * GUEST_PAGE_SIZE,
        .unpark_page = CELL_GVA_CONTROL + CELL_CONTROL_UNPARK * GUEST_PAGE_SIZE,
        .exit_page = CELL_GVA_CONTROL + CELL_CONTROL_EXIT * GUEST_PAGE_SIZE,
        .stack_bytes = CELL_STACK_BYTES,
        .thread_bytes = CELL_THREAD_BYTES,
        .port_count = config->port_count,
        .weights_count = config->weights_count,
        .argument_count = config->argument_count,
        .arguments_bytes = config->arguments_bytes,
        .arguments = CELL_GVA_INFO + CELL_SYSTEM_INFO_BYTES,
    };
    for (unsigned i = 0; i < config->weights_count; i++)
        info->weights[i] = (struct cell_weights){
            CELL_GVA_WEIGHTS + i * CELL_GVA_WEIGHTS_STRIDE,
            config->weights[i].bytes,
        };
    memcpy(cell->system.host + CELL_SYSTEM_ARGUMENTS, arguments, config->arguments_bytes);
    return place_ports(cell, config, (struct port_table_entry *)(info + 1), err);
}

int cell_build(struct cell *cell, const struct vmm_config *config, const char *arguments,
               int image_fd, int memory_fd, const int *weights_fds, struct error *err)
{
    *cell = (struct cell){
        .vcpus = config->vcpus,
        .stack_frames = config->vcpus,
        .arguments_bytes = config->arguments_bytes,
        .memory_flags = config->memory_flags,
    };
    if (elf_image_read(image_fd, &cell->image, err) < 0)
        return error_wrap(err, "image");
    if (plan(cell, config, err) < 0 || map_image(cell, err) < 0 ||
        map_devices(cell, config, err) < 0 || map_system(cell, err) < 0 ||
        map_user(cell, CELL_GVA_IO, cell->io.base.value, cell->io.length, PAGE_WRITE, err) < 0 ||
        map_weights(cell, config, err) < 0)
        return -1;

    uint64_t frames = page_table_frames_needed(&cell->map);
    uint64_t writable_system = (cell->stack_frames + frames) * GUEST_PAGE_SIZE;
    if (writable_system > CELL_TABLES_MAX_BYTES)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "page tables of %llu frames are too large",
                         (unsigned long long)frames);
    cell->writable_system.length = writable_system;
    if (map_backing(cell, memory_fd, err) < 0 || load_image(cell, image_fd, err) < 0 ||
        load_weights(cell, config, weights_fds, err) < 0 ||
        write_boot_info(cell, config, arguments, err) < 0)
        return -1;

    cpu_tables_write(cell->system.host, cell->vcpus);
    cell->tables = (struct page_table){
        .host =
            (uint64_t *)(void *)(cell->writable_system.host + cell->stack_frames * GUEST_PAGE_SIZE),
        .base = gpa_add(cell->writable_system.base, cell->stack_frames * GUEST_PAGE_SIZE),
        .frames = frames,
    };
    return page_table_build(&cell->tables, &cell->map, err);
}

int cell_add_slots(const struct cell *cell, struct kvm_vm *vm, struct error *err)
{
    if (vm->gpa_bits < 64 && cell->end.value >> vm->gpa_bits)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "memory and weights exceed the %u-bit physical addresses of this host",
                         vm->gpa_bits);
    if (kvm_add_slot(vm, cell->system.base, readonly_bytes(cell), cell->system.host, 1, err) < 0 ||
        kvm_add_slot(vm, cell->ram.base, writable_bytes(cell), cell->ram.host, 0, err) < 0)
        return -1;
    for (unsigned i = 0; i < cell->weights_count; i++) {
        const struct cell_part *part = &cell->weights[i];
        if (kvm_add_slot(vm, part->base, part->length, part->host, 1, err) < 0)
            return -1;
    }
    return 0;
}

// What cell_verify compares: three runs of bytes, kept one after the other in `reference`.
struct verified_run {
    const uint8_t *host;
    uint64_t length;
};

static void verified_runs(const struct cell *cell, struct verified_run runs[3])
{
    // Beyond the arguments in use the system region holds zeros that nobody reads.
    runs[0] =
        (struct verified_run){cell->system.host, CELL_SYSTEM_ARGUMENTS + cell->arguments_bytes};
    runs[1] = (struct verified_run){(const uint8_t *)cell->tables.host,
                                    cell->tables.used_frames * GUEST_PAGE_SIZE};
    runs[2] = (struct verified_run){cell->code.host, cell->code.length};
}

int cell_freeze(struct cell *cell, uint64_t isa, struct error *err)
{
    struct cell_boot_info *info = (void *)(cell->system.host + CELL_SYSTEM_INFO);
    info->isa = isa;
    struct verified_run runs[3];
    verified_runs(cell, runs);
    for (unsigned i = 0; i < 3; i++)
        cell->reference_bytes += runs[i].length;
    cell->reference = mmap(NULL, cell->reference_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (cell->reference == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "reference copy");
    uint8_t *at = cell->reference;
    for (unsigned i = 0; i < 3; i++) {
        if (runs[i].length)
            memcpy(at, runs[i].host, runs[i].length);
        at += runs[i].length;
    }
    if (mprotect(cell->reference, cell->reference_bytes, PROT_READ) < 0 ||
        mprotect(cell->system.host, large_page_up(readonly_bytes(cell)), PROT_READ) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "write-protect code");
    return 0;
}

bool cell_verify(const struct cell *cell)
{
    struct verified_run runs[3];
    verified_runs(cell, runs);
    const uint8_t *at = cell->reference;
    for (unsigned i = 0; i < 3; i++) {
        if (runs[i].length && memcmp(at, runs[i].host, runs[i].length))
            return false;
        at += runs[i].length;
    }
    return true;
}
