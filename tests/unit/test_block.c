// SPDX-License-Identifier: Apache-2.0
// The block backend: ranges, a disk that became shorter, what a file system cannot do.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.h"
#include "support.h"

#define SECTORS 64u
#define BYTES   (SECTORS * BLOCK_SECTOR_BYTES)

static struct block disk;
static uint8_t payload[BYTES + 64], reply[BYTES];

static void setup(void)
{
    disk = (struct block){memfd_create("disk", 0), {BYTES, 1, 1}};
    cr_assert_eq(ftruncate(disk.fd, BYTES + 4096), 0); // longer than the grant
    memset(reply, 0xee, sizeof(reply));
}

TestSuite(block, .init = setup);

static struct port_request ask(uint32_t operation, uint64_t sector, uint32_t sectors,
                               uint32_t extra)
{
    struct block_range range = {sector, sectors, 0};
    memcpy(payload, &range, sizeof(range));
    struct port_request request = {
        .operation = operation,
        .payload = payload,
        .length = operation == BLOCK_FLUSH ? 0 : (uint32_t)sizeof(range) + extra,
        .reply = reply,
        .reply_capacity = sizeof(reply),
    };
    cr_assert_eq(block_backend.submit(&disk, &request), PORT_DONE);
    if (request.status)
        cr_expect_eq(request.reply_length, 0u);
    return request;
}

Test(block, writes_and_reads_back)
{
    for (unsigned i = 0; i < 3 * 512; i++)
        payload[sizeof(struct block_range) + i] = (uint8_t)(i * 7);
    cr_expect_eq(ask(BLOCK_WRITE, 5, 3, 3 * 512).status, 0u);
    cr_expect_eq(ask(BLOCK_FLUSH, 0, 0, 0).status, 0u);
    struct port_request read = ask(BLOCK_READ, 5, 3, 0);
    cr_expect_eq(read.status, 0u);
    cr_expect_eq(read.reply_length, 3u * 512);
    cr_expect_arr_eq(reply, payload + sizeof(struct block_range), 3 * 512);
    cr_expect_eq(ask(BLOCK_READ, 0, SECTORS, 0).reply_length, BYTES);
}

Test(block, ranges_end_with_the_grant)
{
    const struct {
        uint64_t sector;
        uint32_t sectors;
    } bad[] = {
        {SECTORS, 1},    {SECTORS - 1, 2},         {0, SECTORS + 1}, {0, 0},
        {UINT64_MAX, 1}, {UINT64_MAX, UINT32_MAX}, {1ull << 55, 1},  {UINT64_MAX / 512 + 1, 1},
    };
    for (unsigned i = 0; i < COUNT(bad); i++) {
        for (uint32_t operation = BLOCK_READ; operation <= BLOCK_WRITE_ZEROES; operation++) {
            if (operation != BLOCK_FLUSH)
                cr_expect_eq(ask(operation, bad[i].sector, bad[i].sectors, 0).status,
                             (uint32_t)PORT_STATUS_INVALID, "operation %u, case %u", operation, i);
        }
    }
    cr_expect_eq(lseek(disk.fd, 0, SEEK_END), BYTES + 4096, "nothing grows the file");
}

Test(block, malformed_requests)
{
    struct port_request request = {
        .operation = BLOCK_READ, .payload = payload, .reply = reply, .reply_capacity = BYTES};
    for (uint32_t length = 0; length < sizeof(struct block_range); length++) {
        request.length = length;
        cr_assert_eq(block_backend.submit(&disk, &request), PORT_DONE);
        cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    }
    // More or fewer bytes than the range has.
    cr_expect_eq(ask(BLOCK_WRITE, 0, 2, 512).status, (uint32_t)PORT_STATUS_INVALID);
    cr_expect_eq(ask(BLOCK_WRITE, 0, 1, 513).status, (uint32_t)PORT_STATUS_INVALID);
    struct block_range range = {0, 1, 1}; // the field that must be 0
    memcpy(payload, &range, sizeof(range));
    request.length = sizeof(range);
    cr_assert_eq(block_backend.submit(&disk, &request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    request.reply_capacity = 511;
    range.pad = 0;
    memcpy(payload, &range, sizeof(range));
    cr_assert_eq(block_backend.submit(&disk, &request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_TOO_LARGE);
}

Test(block, a_file_that_became_shorter_fails)
{
    cr_assert_eq(ftruncate(disk.fd, BYTES / 2), 0);
    cr_expect_eq(ask(BLOCK_READ, 0, 1, 0).status, 0u);
    cr_expect_eq(ask(BLOCK_READ, SECTORS / 2, 1, 0).status, (uint32_t)PORT_STATUS_FAILED);
    cr_expect_eq(ask(BLOCK_READ, SECTORS / 2 - 1, 2, 0).status, (uint32_t)PORT_STATUS_FAILED);
}

Test(block, zeros_and_discards)
{
    memset(payload, 0xaa, sizeof(payload));
    cr_expect_eq(ask(BLOCK_WRITE, 0, 32, 32 * 512).status, 0u);
    cr_expect_eq(ask(BLOCK_WRITE_ZEROES, 3, 20, 0).status, 0u); // not all of it whole pages
    cr_expect_eq(ask(BLOCK_READ, 0, 32, 0).status, 0u);
    for (unsigned i = 0; i < 32 * 512; i++)
        cr_assert_eq(reply[i], i >= 3 * 512 && i < 23 * 512 ? 0 : 0xaa, "byte %u", i);
    cr_expect_eq(ask(BLOCK_DISCARD, 24, 8, 0).status, 0u);
    cr_expect_eq(ask(BLOCK_READ, 24, 8, 0).status, 0u);
    cr_expect_eq(reply[0], 0);
    disk.grant.discards = 0;
    cr_expect_eq(ask(BLOCK_DISCARD, 0, 3, 0).status, 0u, "advice that is not taken");
    cr_expect_eq(ask(BLOCK_READ, 0, 1, 0).status, 0u);
    cr_expect_eq(reply[0], 0xaa);
    // Where nothing of this can be done: a pipe is no disk.
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    disk.fd = fds[1];
    disk.grant.discards = 1;
    cr_expect_eq(ask(BLOCK_DISCARD, 0, 1, 0).status, (uint32_t)PORT_STATUS_FAILED);
    cr_expect_eq(ask(BLOCK_READ, 0, 1, 0).status, (uint32_t)PORT_STATUS_FAILED);
}
