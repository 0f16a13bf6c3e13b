// SPDX-License-Identifier: Apache-2.0
// Overwrites shared memory that nobody uses any more.
//
// Through the descriptor, not a mapping: a page that the hardware lost is an error here, not a
// signal.
#include "memory_scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES (256u << 10)
#define HUGE_BYTES  (2ull << 20)

static const uint8_t zeros[PIECE_BYTES];

static uint64_t piece(uint64_t start, uint64_t end)
{
    return end - start < PIECE_BYTES ? end - start : PIECE_BYTES;
}

int memory_next_data(int fd, uint64_t size, uint64_t *start, uint64_t *end, struct error *err)
{
    if (*start >= size)
        return 0;
    off_t data = lseek(fd, (off_t)*start, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        return 0;
    off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
    if (hole < 0 || hole <= data)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "memory: find data");
    *start = (uint64_t)data;
    *end = (uint64_t)hole < size ? (uint64_t)hole : size;
    return *start < size;
}

// Memory of hugetlbfs cannot be written through its descriptor. A page of it that the hardware lost
// is a signal, which takes the level Offline. Whole pages, as only they can be mapped.
static int zero_mapped(int fd, uint64_t start, uint64_t end, struct error *err)
{
    for (uint64_t at = start / HUGE_BYTES * HUGE_BYTES; at < end; at += HUGE_BYTES) {
        void *page = mmap(NULL, HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
        if (page == MAP_FAILED)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "memory: map at %llu",
                             (unsigned long long)at);
        memset(page, 0, HUGE_BYTES);
        munmap(page, HUGE_BYTES);
    }
    return 0;
}

static int write_zeros(int fd, uint64_t start, uint64_t end, struct error *err)
{
    while (start < end) {
        ssize_t n = pwrite(fd, zeros, piece(start, end), (off_t)start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL)
            return zero_mapped(fd, start, end, err);
        if (n <= 0)
            return error_set(err, EXIT_STATUS_INTERNAL, n < 0 ? errno : 0,
                             "memory: overwrite at %llu", (unsigned long long)start);
        start += (uint64_t)n;
    }
    return 0;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
    // The first byte is zero, and each is like the one before it.
    return !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

static int read_zeros(int fd, uint64_t start, uint64_t end, struct error *err)
{
    static uint8_t buffer[PIECE_BYTES];
    while (start < end) {
        ssize_t n = pread(fd, buffer, piece(start, end), (off_t)start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_INTERNAL, n < 0 ? errno : 0,
                             "memory: read back at %llu", (unsigned long long)start);
        if (!all_zero(buffer, (size_t)n)) {
            explicit_bzero(buffer, sizeof(buffer));
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "memory: not zero near %llu",
                             (unsigned long long)start);
        }
        start += (uint64_t)n;
    }
    return 0;
}

int memory_check_zero(int fd, uint64_t size, struct error *err)
{
    uint64_t start = 0;
    uint64_t end = 0;
    int found;
    while ((found = memory_next_data(fd, size, &start, &end, err)) > 0) {
        if (read_zeros(fd, start, end, err) < 0)
            return -1;
        start = end;
    }
    return found;
}

int memory_scrub(int fd, uint64_t *bytes, struct error *err)
{
    struct stat status;
    uint64_t start = 0;
    uint64_t end = 0;
    int found;
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "memory");
    uint64_t size = (uint64_t)status.st_size;
    while ((found = memory_next_data(fd, size, &start, &end, err)) > 0) {
        if (write_zeros(fd, start, end, err) < 0)
            return -1;
        *bytes += end - start;
        start = end;
    }
    if (found < 0 || memory_check_zero(fd, size, err) < 0)
        return -1;
    // Zeros that stay would only keep the host from using the memory.
    if (size && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "memory: give back");
    return 0;
}
