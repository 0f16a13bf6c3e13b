// SPDX-License-Identifier: Apache-2.0
// Keys of VMs, forensic images, sealed weights, scrubbing: on real files and memfds.
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "forensic_core.h"
#include "forensic_image.h"
#include "memory_scrub.h"
#include "sealed_weights.h"
#include "support.h"

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/guillotine-unit-XXXXXX");
    cr_assert(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(forensics, .init = make_folder, .fini = remove_folder);

static int memory(size_t bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert(fd >= 0);
    cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
    return fd;
}

static size_t size_of(int fd)
{
    struct stat status;
    cr_assert_eq(fstat(fd, &status), 0);
    return (size_t)status.st_size;
}

static uint8_t *contents(int fd, size_t *size)
{
    *size = size_of(fd);
    uint8_t *bytes = malloc(*size + 1);
    cr_assert_eq(pread(fd, bytes, *size, 0), (ssize_t)*size);
    return bytes;
}

static int file_of(const uint8_t *bytes, size_t size)
{
    int fd = memory(0);
    cr_assert_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
    return fd;
}

Test(forensics, key_is_made_once_loaded_and_destroyed)
{
    struct vm_key first;
    struct vm_key second;
    struct error err;
    char path[128];
    cr_assert_eq(vm_key_destroy(folder, "vm", &err), 0);
    cr_assert_eq(vm_key_make(folder, "vm", &err), 1, "%s", err.text);
    cr_assert_eq(vm_key_make(folder, "vm", &err), 0);
    cr_assert_eq(vm_key_load(folder, "vm", &first, &err), 0, "%s", err.text);
    cr_assert_eq(vm_key_load(folder, "vm", &second, &err), 0);
    cr_assert_arr_eq(first.bytes, second.bytes, VM_KEY_BYTES);
    cr_assert_not(sodium_is_zero(first.bytes, VM_KEY_BYTES));
    // Whoever still has the file open sees that it was overwritten before it went.
    snprintf(path, sizeof(path), "%s/keys/vm.key", folder);
    int held = open(path, O_RDONLY);
    cr_assert(held >= 0);
    cr_assert_eq(vm_key_destroy(folder, "vm", &err), 1, "%s", err.text);
    cr_assert_eq(pread(held, first.bytes, VM_KEY_BYTES, 0), VM_KEY_BYTES);
    cr_assert(sodium_is_zero(first.bytes, VM_KEY_BYTES));
    cr_assert_eq(vm_key_load(folder, "vm", &first, &err), -1);
    cr_assert_eq(err.code, ENOENT);
    vm_key_wipe(&second);
    cr_assert(sodium_is_zero(second.bytes, VM_KEY_BYTES));
}

Test(forensics, key_files_that_are_not_keys_are_refused)
{
    struct vm_key key;
    struct error err;
    char path[128];
    static const char *const ids[] = {"", "../x", "a/b", "-x", "A", ".x", "log", "state"};
    for (size_t i = 0; i < COUNT(ids); i++)
        cr_assert_eq(vm_key_make(folder, ids[i], &err), -1, "%s", ids[i]);
    cr_assert_eq(vm_key_make(folder, "vm", &err), 1);
    snprintf(path, sizeof(path), "%s/keys/vm.key", folder);
    cr_assert_eq(chmod(path, 0644), 0);
    cr_assert_eq(vm_key_load(folder, "vm", &key, &err), -1, "readable by others");
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(truncate(path, 31), 0);
    cr_assert_eq(vm_key_load(folder, "vm", &key, &err), -1, "too short");
    cr_assert_eq(truncate(path, 33), 0);
    cr_assert_eq(vm_key_load(folder, "vm", &key, &err), -1, "too long");
}

Test(forensics, scrub_leaves_zeros_and_gives_memory_back)
{
    const size_t bytes = 8 << 20;
    struct error err;
    struct stat status;
    uint64_t scrubbed = 0;
    int fd = memory(bytes);
    uint8_t *view = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(view, 0xa5, 4096);
    memset(view + (5 << 20), 0x5a, 700000);
    view[bytes - 1] = 1;
    cr_assert_eq(memory_check_zero(fd, bytes, &err), -1);
    cr_assert_eq(memory_scrub(fd, &scrubbed, &err), 0, "%s", err.text);
    cr_assert_geq(scrubbed, 4096u + 700000u + 1u);
    cr_assert_eq(memory_check_zero(fd, bytes, &err), 0);
    fstat(fd, &status);
    cr_assert_eq(status.st_blocks, 0);
    scrubbed = 0;
    cr_assert_eq(memory_scrub(fd, &scrubbed, &err), 0);
    cr_assert_eq(scrubbed, 0, "nothing is touched any more");
    // Last, since reading through a mapping touches pages.
    cr_assert(sodium_is_zero(view, 4096));
    cr_assert(sodium_is_zero(view + (5 << 20), 700000));
    munmap(view, bytes);
}

Test(forensics, scrub_that_cannot_write_says_so)
{
    struct error err;
    uint64_t scrubbed = 0;
    int fd = memory(4096);
    cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    cr_assert_eq(memory_scrub(fd, &scrubbed, &err), -1);
}

// Images.

static struct vm_key test_key(uint8_t byte)
{
    struct vm_key key;
    memset(key.bytes, byte, sizeof(key.bytes));
    return key;
}

static int image_of(const uint8_t *data, size_t length, const struct vm_key *key,
                    const struct level_key_set *keys)
{
    static struct forensic_writer writer;
    struct forensic_header header = {.id = "vm", .wall_ns = 1};
    struct error err;
    int fd = memory(0);
    cr_assert_eq(forensic_writer_begin(&writer, fd, &header, key, keys, &err), 0, "%s", err.text);
    // In uneven pieces.
    for (size_t at = 0, n; at < length; at += n) {
        n = length - at < 50001 ? length - at : 50001;
        cr_assert_eq(forensic_writer_write(&writer, data + at, n, &err), 0);
    }
    cr_assert_eq(forensic_writer_finish(&writer, &err), 0);
    cr_assert_eq(writer.bytes, size_of(fd));
    cr_assert_leq(size_of(fd), forensic_image_bytes(length));
    forensic_writer_wipe(&writer);
    return fd;
}

static int opens(const uint8_t *bytes, size_t size, const struct vm_key *key, const uint8_t *seed)
{
    struct error err;
    int in = file_of(bytes, size);
    int out = memory(0);
    int result = forensic_image_open(in, key, seed, out, &err);
    close(in);
    close(out);
    return result;
}

Test(forensics, image_gives_back_what_was_written)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 300000};
    static uint8_t data[300000];
    struct vm_key key = test_key(7);
    const struct level_key_set nobody = {0};
    struct error err;
    randombytes_buf(data, sizeof(data));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t size;
        int image = image_of(data, sizes[i], &key, &nobody);
        int out = memory(0);
        cr_assert_eq(forensic_image_open(image, &key, NULL, out, &err), 0, "%s", err.text);
        uint8_t *found = contents(out, &size);
        cr_assert_eq(size, sizes[i]);
        cr_assert_eq(memcmp(found, data, size), 0);
        free(found);
    }
}

Test(forensics, image_needs_an_administrator_and_the_vm)
{
    static uint8_t data[100];
    uint8_t seeds[3][32];
    uint8_t secret[64];
    struct level_key_set keys = {.keys = 2};
    struct vm_key key = test_key(7);
    struct vm_key wrong = test_key(8);
    size_t size;
    for (unsigned i = 0; i < 3; i++) {
        uint8_t public[32];
        memset(seeds[i], (int)i + 1, 32);
        crypto_sign_seed_keypair(public, secret, seeds[i]);
        if (i < 2)
            memcpy(keys.key[i], public, 32);
    }
    uint8_t *image = contents(image_of(data, sizeof(data), &key, &keys), &size);
    cr_assert_eq(opens(image, size, &key, seeds[0]), 0);
    cr_assert_eq(opens(image, size, &key, seeds[1]), 0);
    cr_assert_eq(opens(image, size, &key, seeds[2]), -1, "not an administrator");
    cr_assert_eq(opens(image, size, &key, NULL), -1, "no administrator");
    cr_assert_eq(opens(image, size, &wrong, seeds[0]), -1, "another VM's key");
    free(image);
}

Test(forensics, image_that_was_changed_does_not_open)
{
    static uint8_t data[200000];
    struct vm_key key = test_key(7);
    const struct level_key_set nobody = {0};
    const size_t chunk = FORENSIC_CHUNK_BYTES + crypto_secretstream_xchacha20poly1305_ABYTES;
    size_t size;
    uint8_t *image = contents(image_of(data, sizeof(data), &key, &nobody), &size);
    size_t chunks = (size - FORENSIC_HEADER_BYTES + chunk - 1) / chunk;
    cr_assert_eq(chunks, 4);
    cr_assert_eq(opens(image, size, &key, NULL), 0);
    for (size_t i = 0; i < size; i += i < 700 ? 1 : 997) {
        image[i] ^= 0x10;
        cr_assert_eq(opens(image, size, &key, NULL), -1, "flipped a bit of byte %zu", i);
        image[i] ^= 0x10;
    }
    for (size_t i = 0; i < chunks; i++) {
        size_t at = FORENSIC_HEADER_BYTES + i * chunk;
        cr_assert_eq(opens(image, at, &key, NULL), -1, "cut before chunk %zu", i);
        if (i + 1 == chunks)
            continue;
        uint8_t *other = malloc(size);
        memcpy(other, image, at);
        memcpy(other + at, image + at + chunk, size - at - chunk);
        cr_assert_eq(opens(other, size - chunk, &key, NULL), -1, "dropped chunk %zu", i);
        if (i + 2 < chunks) {
            memcpy(other, image, size);
            memcpy(other + at, image + at + chunk, chunk);
            memcpy(other + at + chunk, image + at, chunk);
            cr_assert_eq(opens(other, size, &key, NULL), -1, "swapped chunk %zu", i);
        }
        free(other);
    }
    image = realloc(image, size + 1);
    image[size] = 0;
    cr_assert_eq(opens(image, size + 1, &key, NULL), -1, "a byte behind the end");
    free(image);
}

// Cores.

static int to_file(void *context, const void *data, size_t length, struct error *err)
{
    (void)err;
    return write(*(int *)context, data, length) == (ssize_t)length ? 0 : -1;
}

static uint8_t *core_of(int fd, const struct forensic_area *area, unsigned vcpus, size_t *size)
{
    const struct forensic_core_source source = {
        .memory_fd = fd, .area = area, .vcpus = vcpus, .vm = "vm", .level = 3};
    struct error err;
    int out = memory(0);
    cr_assert_eq(forensic_core_write(&source, to_file, &out, &err), 0, "%s", err.text);
    uint8_t *core = contents(out, size);
    const Elf64_Ehdr *head = (const void *)core;
    cr_assert_eq(head->e_type, ET_CORE);
    for (unsigned i = 0; i < head->e_phnum; i++) {
        const Elf64_Phdr *p = (const Elf64_Phdr *)(const void *)(core + head->e_phoff) + i;
        cr_assert_leq(p->p_offset, *size);
        cr_assert_leq(p->p_filesz, *size - p->p_offset);
    }
    return core;
}

// The byte at an address of the core, or -1.
static int byte_at(const uint8_t *core, uint64_t address)
{
    const Elf64_Ehdr *head = (const void *)core;
    for (unsigned i = 0; i < head->e_phnum; i++) {
        const Elf64_Phdr *p = (const Elf64_Phdr *)(const void *)(core + head->e_phoff) + i;
        if (p->p_type == PT_LOAD && address >= p->p_vaddr && address - p->p_vaddr < p->p_filesz)
            return core[p->p_offset + (address - p->p_vaddr)];
    }
    return -1;
}

Test(forensics, core_has_touched_memory_where_the_guest_had_it)
{
    static struct forensic_area area;
    size_t size;
    int fd = memory(1 << 20);
    cr_assert_eq(pwrite(fd, "\x11", 1, 0x3010), 1);
    cr_assert_eq(pwrite(fd, "\x22", 1, 0x80020), 1);
    area.mappings[area.mapping_count++] = (struct forensic_mapping){0x400000, 0x3000, 0x1000, 6, 0};
    area.mappings[area.mapping_count++] =
        (struct forensic_mapping){0x600000000000, 0x40000, 0x80000, 5, 0};
    area.vcpus[1].known = 1;
    area.vcpus[1].general[FORENSIC_RIP] = 0x400010;
    uint8_t *core = core_of(fd, &area, 2, &size);
    cr_assert_eq(byte_at(core, 0x400010), 0x11);
    cr_assert_eq(byte_at(core, 0x600000040020), 0x22);
    cr_assert_eq(byte_at(core, FORENSIC_CORE_BACKING + 0x3010), 0x11);
    cr_assert_eq(byte_at(core, FORENSIC_CORE_BACKING + 0x80020), 0x22);
    cr_assert_eq(byte_at(core, FORENSIC_CORE_BACKING + 0x10000), -1, "never touched");
    const Elf64_Phdr *notes = (const void *)(core + sizeof(Elf64_Ehdr));
    const Elf64_Nhdr *note = (const void *)(core + notes->p_offset);
    cr_assert_eq(note->n_type, NT_PRSTATUS);
    uint64_t rip;
    memcpy(&rip, (const uint8_t *)(note + 1) + 8 + 112 + 16 * 8, sizeof(rip));
    cr_assert_eq(rip, 0x400010);
    uint32_t pid;
    memcpy(&pid, (const uint8_t *)(note + 1) + 8 + 32, sizeof(pid));
    cr_assert_eq(pid, 2, "the second vCPU; the first is not known");
    core[size - 1] = 0;
    cr_assert(memmem(core, size, "\"registers\":\"unknown\"", 21));
    free(core);
}

Test(forensics, core_survives_whatever_the_vmm_claims)
{
    static struct forensic_area area;
    struct random random = random_start(1);
    size_t size;
    int fd = memory(1 << 20);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(pwrite(fd, "\x33", 1, i * 0x6000 + 1), 1);
    for (unsigned run = 0; run < 200; run++) {
        for (size_t i = 0; i < sizeof(area) / 8; i++) {
            uint64_t value = random_next(&random);
            // Mostly pages of plausible places, so that more than the first check is reached.
            value = run % 4 ? (value & 0x1ff) << 12 : value;
            memcpy((uint8_t *)&area + 8 * i, &value, 8);
        }
        if (run % 2)
            area.mapping_count = 128;
        for (unsigned i = 0; i < FORENSIC_MAX_VCPUS; i++)
            area.vcpus[i].known = run % 3;
        uint8_t *core = core_of(fd, &area, FORENSIC_MAX_VCPUS, &size);
        for (unsigned i = 0; i < 40; i++)
            cr_assert_eq(byte_at(core, FORENSIC_CORE_BACKING + i * 0x6000 + 1), 0x33,
                         "seed %llu run %u", (unsigned long long)test_seed(), run);
        free(core);
    }
}

// Weights.

static void path_of(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", folder, name);
}

static uint8_t *sealed_file(const uint8_t *data, size_t length, const struct vm_key *key,
                            size_t *size)
{
    char in[128];
    char out[128];
    struct error err;
    path_of(in, "in");
    path_of(out, "out");
    unlink(out);
    int fd = open(in, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert_eq(write(fd, data, length), (ssize_t)length);
    close(fd);
    cr_assert_eq(sealed_weights_seal(in, out, "vm", key, &err), 0, "%s", err.text);
    fd = open(out, O_RDONLY);
    uint8_t *bytes = contents(fd, size);
    close(fd);
    return bytes;
}

static int unseals(const uint8_t *bytes, size_t size, const struct vm_key *key)
{
    struct sealed_memory memory_of;
    struct error err;
    uint64_t scrubbed = 0;
    int fd = file_of(bytes, size);
    int result = sealed_weights_open(fd, key, &memory_of, &err);
    cr_assert(result == 0 || memory_of.fd < 0, "nothing is left after a failure");
    sealed_memory_release(&memory_of, &scrubbed, NULL);
    close(fd);
    return result;
}

Test(forensics, weights_come_back_read_only_and_are_scrubbed)
{
    static const size_t sizes[] = {1, 65536, 65537, 200000};
    static uint8_t data[200000];
    struct vm_key key = test_key(3);
    struct error err;
    randombytes_buf(data, sizeof(data));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct sealed_memory sealed;
        uint64_t scrubbed = 0;
        size_t size;
        uint8_t *bytes = sealed_file(data, sizes[i], &key, &size);
        int fd = file_of(bytes, size);
        cr_assert(sealed_weights_detect(fd));
        cr_assert_eq(sealed_weights_open(fd, &key, &sealed, &err), 0, "%s", err.text);
        cr_assert_eq(sealed.bytes, sizes[i]);
        int reader = sealed_memory_reader(&sealed, &err);
        uint8_t *view = mmap(NULL, sizes[i], PROT_READ, MAP_SHARED, reader, 0);
        cr_assert_eq(memcmp(view, data, sizes[i]), 0);
        cr_assert_eq(pwrite(reader, "x", 1, 0), -1);
        cr_assert_eq(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, reader, 0), MAP_FAILED);
        cr_assert_eq(sealed_memory_release(&sealed, &scrubbed, &err), 0, "%s", err.text);
        cr_assert_geq(scrubbed, sizes[i]);
        cr_assert(sodium_is_zero(view, sizes[i]));
        free(bytes);
    }
}

Test(forensics, weights_that_were_changed_do_not_open)
{
    static uint8_t data[200000];
    struct vm_key key = test_key(3);
    struct vm_key wrong = test_key(4);
    const size_t chunk = SEALED_CHUNK_BYTES + SEALED_TAG_BYTES;
    size_t size;
    size_t other_size;
    uint8_t *bytes = sealed_file(data, sizeof(data), &key, &size);
    uint8_t *other = sealed_file(data, sizeof(data), &key, &other_size);
    cr_assert_eq(size, other_size);
    cr_assert_eq(unseals(bytes, size, &key), 0);
    cr_assert_eq(unseals(bytes, size, &wrong), -1);
    for (size_t i = 0; i < size; i += i < 400 ? 1 : 1009) {
        bytes[i] ^= 1;
        cr_assert_eq(unseals(bytes, size, &key), -1, "flipped a bit of byte %zu", i);
        bytes[i] ^= 1;
    }
    for (size_t i = 0; i < 4; i++) {
        size_t at = SEALED_HEADER_BYTES + i * chunk;
        size_t length = i < 3 ? chunk : size - at;
        uint8_t *copy = malloc(size);
        cr_assert_eq(unseals(bytes, at, &key), -1, "cut before chunk %zu", i);
        memcpy(copy, bytes, size);
        memcpy(copy + at, other + at, length);
        cr_assert_eq(unseals(copy, size, &key), -1, "chunk %zu of another file", i);
        if (i < 3) {
            memcpy(copy, bytes, size);
            memcpy(copy + at, bytes + SEALED_HEADER_BYTES + (i + 1) % 3 * chunk, chunk);
            cr_assert_eq(unseals(copy, size, &key), -1, "chunk %zu from elsewhere", i);
        }
        free(copy);
    }
    // A shorter file whose header says so.
    uint64_t shorter = 3 * SEALED_CHUNK_BYTES;
    memcpy(bytes + offsetof(struct sealed_header, plain_bytes), &shorter, sizeof(shorter));
    cr_assert_eq(unseals(bytes, SEALED_HEADER_BYTES + 3 * chunk, &key), -1);
    free(bytes);
    free(other);
}

// What the weights are full of, never in the clear in this process.
static uint8_t masked[32];
#define MASK 0x5a

static void fill_marked(uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = masked[i % sizeof(masked)] ^ MASK;
}

static bool has_marker(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i + 16 <= length; i++) {
        size_t k = 0;
        while (k < 16 && bytes[i + k] == (masked[k] ^ MASK))
            k++;
        if (k == 16)
            return true;
    }
    return false;
}

// In a process of its own, so that no copy stays here.
static void in_child(void (*function)(void))
{
    int status;
    pid_t pid = fork();
    if (!pid) {
        function();
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
}

static void seal_marked(void)
{
    static uint8_t data[200000];
    char in[128];
    char out[128];
    struct vm_key key;
    struct error err;
    path_of(in, "plain");
    path_of(out, "sealed");
    fill_marked(data, sizeof(data));
    int fd = open(in, O_RDWR | O_CREAT, 0600);
    if (write(fd, data, sizeof(data)) != (ssize_t)sizeof(data) ||
        vm_key_make(folder, "vm", &err) != 1 || vm_key_load(folder, "vm", &key, &err) < 0 ||
        sealed_weights_seal(in, out, "vm", &key, &err) < 0 || unlink(in) < 0)
        _exit(1);
}

// Searches all memory of this process that can be read.
static bool memory_has_marker(void)
{
    char line[512];
    bool found = false;
    uint8_t *buffer = malloc(1 << 20);
    FILE *maps = fopen("/proc/self/maps", "r");
    int mem = open("/proc/self/mem", O_RDONLY);
    cr_assert(maps && mem >= 0);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long start;
        unsigned long end;
        if (sscanf(line, "%lx-%lx", &start, &end) != 2)
            continue;
        for (; start < end; start += (1 << 20) - 64) {
            size_t length = end - start < 1 << 20 ? end - start : 1 << 20;
            ssize_t n = pread(mem, buffer, length, (off_t)start);
            if (n > 0 && (uint8_t *)start != buffer && has_marker(buffer, (size_t)n))
                found = true;
            explicit_bzero(buffer, 1 << 20);
        }
    }
    fclose(maps);
    close(mem);
    free(buffer);
    return found;
}

Test(forensics, destroying_the_key_destroys_the_model)
{
    struct sealed_memory sealed;
    struct vm_key key;
    struct error err;
    char out[128];
    char command[256];
    uint64_t scrubbed = 0;
    size_t size;
    randombytes_buf(masked, sizeof(masked));
    in_child(seal_marked);
    path_of(out, "sealed");
    int fd = open(out, O_RDONLY);
    cr_assert_eq(vm_key_load(folder, "vm", &key, &err), 0, "%s", err.text);
    cr_assert_eq(sealed_weights_open(fd, &key, &sealed, &err), 0, "%s", err.text);
    vm_key_wipe(&key);
    cr_assert(memory_has_marker(), "the search finds what is there");
    cr_assert_eq(sealed_memory_release(&sealed, &scrubbed, &err), 0);
    cr_assert_eq(vm_key_destroy(folder, "vm", &err), 1, "%s", err.text);
    cr_assert_not(memory_has_marker());
    cr_assert_eq(vm_key_load(folder, "vm", &key, &err), -1);
    uint8_t *bytes = contents(fd, &size);
    cr_assert_not(has_marker(bytes, size));
    free(bytes);
    // The plaintext is unlinked, the key gone: one file is left, and nothing opens it.
    snprintf(command, sizeof(command), "test \"$(find %s -type f)\" = %s/sealed", folder, folder);
    cr_assert_eq(system(command), 0);
}
