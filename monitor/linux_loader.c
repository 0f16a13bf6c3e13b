// SPDX-License-Identifier: Apache-2.0
// A Linux guest's memory: kernel, initrd, and what the kernel is told.
#include "linux_loader.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define PAGE_BYTES 4096ull

bool linux_memory_has(const struct linux_memory *memory, uint64_t address, uint64_t length)
{
    return address >= LINUX_GPA_KERNEL_MIN && address <= memory->bytes &&
           length <= memory->bytes - address;
}

int linux_file_read(const struct linux_file *file, uint64_t offset, void *target, uint64_t length,
                    struct error *err)
{
    if (offset > file->bytes || length > file->bytes - offset)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%llu bytes at %llu are not in the file: is it whole?",
                         (unsigned long long)length, (unsigned long long)offset);
    for (uint64_t done = 0; done < length;) {
        ssize_t n =
            pread(file->fd, (uint8_t *)target + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, n < 0 ? errno : 0, "read");
        done += (uint64_t)n;
    }
    return 0;
}

int linux_file_load(const struct linux_memory *memory, const struct linux_file *file,
                    uint64_t offset, uint64_t address, uint64_t length, struct error *err)
{
    uint64_t done = 0;
    if (offset <= file->bytes && length <= file->bytes - offset && memory->fd >= 0 &&
        lseek(memory->fd, (off_t)address, SEEK_SET) == (off_t)address) {
        off_t at = (off_t)offset;
        ssize_t n = 1;
        while (done < length && n > 0) {
            n = sendfile(memory->fd, file->fd, &at, length - done);
            done += n > 0 ? (uint64_t)n : 0;
        }
    }
    // What is left, and the errors, are linux_file_read's.
    return linux_file_read(file, offset + done, memory->host + address + done, length - done, err);
}

// As high as the kernel allows: what it needs to start grows upwards from its own place.
static int load_initrd(const struct linux_memory *memory, const struct linux_kernel *kernel,
                       const struct linux_file *file, uint64_t *place, struct error *err)
{
    uint64_t end = memory->bytes;
    if (kernel->initrd_max < end)
        end = (kernel->initrd_max + 1) & ~(PAGE_BYTES - 1);
    if (file->bytes > end || ((end - file->bytes) & ~(PAGE_BYTES - 1)) < kernel->end)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "%llu MiB of memory have no room for the kernel, which needs %llu MiB to "
                         "start, and an initrd of %llu MiB",
                         (unsigned long long)(memory->bytes >> 20),
                         (unsigned long long)(kernel->end >> 20),
                         (unsigned long long)(file->bytes >> 20));
    *place = (end - file->bytes) & ~(PAGE_BYTES - 1);
    return linux_file_load(memory, file, 0, *place, file->bytes, err);
}

int linux_load_all(const struct linux_memory *memory, const struct linux_load *load,
                   const char *command_line, const struct linux_file *kernel_file,
                   const struct linux_file *initrd_file, struct linux_entry *entry,
                   struct error *err)
{
    struct linux_kernel kernel = {0};
    struct linux_boot boot = {.load = load, .command_line = command_line};
    int result = linux_is_bzimage(kernel_file)
                     ? linux_bzimage_load(memory, kernel_file, &kernel, entry, err)
                     : linux_elf_load(memory, kernel_file, &kernel, entry, err);
    if (result < 0)
        return -1;
    if (strlen(command_line) > kernel.command_line_max)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the kernel takes a command line of %llu characters, this one has %zu",
                         (unsigned long long)kernel.command_line_max, strlen(command_line));
    if (load->has_initrd) {
        boot.initrd_bytes = initrd_file->bytes;
        if (load_initrd(memory, &kernel, initrd_file, &boot.initrd, err) < 0)
            return error_wrap(err, "initrd");
    }
    boot.rsdp = linux_acpi_write(memory, load->vcpus, load->devices, err);
    return boot.rsdp ? linux_boot_data_write(memory, &kernel, &boot, entry, err) : -1;
}
