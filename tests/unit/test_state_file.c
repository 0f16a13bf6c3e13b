// SPDX-License-Identifier: Apache-2.0
// The durable level: power cuts at every step, torn writes, flipped bits.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "state_file.h"

static const uint8_t key[STATE_KEY_BYTES] = {7, 1, 2, 3};
static const struct uuid uuid = {{1, 2, 3, 4, 5, 6, 0x40, 8, 0x80, 10}};

// A disk that remembers what is durable and what was written since, and loses power after a number
// of operations. It has one file under two names in turn.
#define MAX_WRITES 8

struct write {
    off_t offset;
    size_t length;
    uint8_t data[STATE_FILE_BYTES];
};

static struct disk {
    uint8_t durable[STATE_FILE_BYTES];
    size_t durable_length;
    bool named;         // the rename is in the folder
    bool named_durable; // and the folder was synced
    struct write writes[MAX_WRITES];
    unsigned pending;
    unsigned operations;
    unsigned cut_after; // operations that still happen
    int fail;           // errno of what happens after that, 0: power is off and EIO is seen
} disk;

static bool off(void)
{
    errno = disk.fail ? disk.fail : EIO;
    return disk.operations++ >= disk.cut_after;
}

static int disk_open(void *context, int folder, const char *name, int flags, mode_t mode)
{
    (void)context;
    (void)folder;
    (void)name;
    (void)flags;
    (void)mode;
    return off() ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
}

static ssize_t disk_pwrite(void *context, int fd, const void *data, size_t length, off_t offset)
{
    (void)context;
    (void)fd;
    cr_assert_lt(disk.pending, MAX_WRITES);
    cr_assert_leq(offset + length, STATE_FILE_BYTES);
    // A write that the power cut interrupts may be on its way.
    bool cut = off();
    if (cut && disk.operations > disk.cut_after + 1)
        return -1;
    struct write *write = &disk.writes[disk.pending++];
    write->offset = offset;
    write->length = length;
    memcpy(write->data, data, length);
    return cut ? -1 : (ssize_t)length;
}

static void apply_write(uint8_t *image, size_t *length, const struct write *write, size_t bytes)
{
    memcpy(image + write->offset, write->data, bytes);
    if (write->offset + bytes > *length)
        *length = write->offset + bytes;
}

static int disk_fdatasync(void *context, int fd)
{
    (void)context;
    (void)fd;
    if (off())
        return -1;
    for (unsigned i = 0; i < disk.pending; i++)
        apply_write(disk.durable, &disk.durable_length, &disk.writes[i], disk.writes[i].length);
    disk.pending = 0;
    return 0;
}

static int disk_rename(void *context, int folder, const char *from, const char *to)
{
    (void)context;
    (void)folder;
    cr_assert_str_eq(from, "x.state.new");
    cr_assert_str_eq(to, "x.state");
    if (off())
        return -1;
    // What is renamed is durable, or a power cut could leave a name without contents.
    cr_assert_eq(disk.pending, 0);
    disk.named = true;
    return 0;
}

static int disk_fsync_folder(void *context, int folder)
{
    (void)context;
    (void)folder;
    if (off())
        return -1;
    disk.named_durable = disk.named;
    return 0;
}

static const struct state_ops ops = {
    .open = disk_open,
    .pwrite = disk_pwrite,
    .fdatasync = disk_fdatasync,
    .rename = disk_rename,
    .fsync_folder = disk_fsync_folder,
};

static void disk_init(unsigned cut_after)
{
    memset(&disk, 0, sizeof(disk));
    disk.cut_after = cut_after;
}

// What a run makes durable, one write each.
struct step {
    unsigned level;
    bool running;
};

static const struct step steps[] = {
    {LEVEL_STANDARD, true},      {LEVEL_PROBATION, true},
    {LEVEL_SEVERED, true},       {LEVEL_PROBATION, true}, // an order lowers
    {LEVEL_OFFLINE, true},       {LEVEL_OFFLINE, false},
    {LEVEL_DECAPITATION, false}, {LEVEL_IMMOLATION, false},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

// Plays the run until the power goes. *durable: the last step whose write returned success;
// *tried: the one that was under way. -1: the file had no name yet.
static void play(int *durable, int *tried)
{
    struct state_record record = {.uuid = uuid};
    *durable = *tried = -2;
    int fd = state_file_create(&ops, 0, "x.state", &record, key, NULL);
    if (fd < 0)
        return;
    *durable = *tried = -1;
    for (unsigned i = 0; i < STEPS; i++) {
        *tried = (int)i;
        record.level = steps[i].level;
        record.running = steps[i].running;
        if (state_file_write(&ops, fd, &record, key, NULL) < 0)
            break;
        *durable = (int)i;
    }
    close(fd);
}

static unsigned least_after(int step)
{
    if (step < 0)
        return LEVEL_STANDARD;
    unsigned level = steps[step].level;
    return steps[step].running && level < LEVEL_OFFLINE ? LEVEL_OFFLINE : level;
}

static void check_image(const uint8_t *image, size_t length, int durable, int tried, size_t torn)
{
    struct state_record record;
    state_file_decode(image, length, &uuid, key, false, &record);
    // A lowering that was under way may have reached the disk or not.
    unsigned least = least_after(durable);
    if (tried > durable && least_after(tried) < least)
        least = least_after(tried);
    cr_assert_geq(record.level, least, "cut at %u, %zu bytes: level %u, at least %u",
                  disk.cut_after, torn, record.level, least);
    cr_assert_lt(record.level, LEVEL_COUNT);
    if (record.level > least_after(durable) && record.level > least_after(tried))
        cr_assert_eq(record.level, LEVEL_OFFLINE, "doubt is Offline, not more");
}

Test(state_file, power_cut_at_every_operation_with_every_tear)
{
    unsigned all;
    int durable;
    int tried;
    disk_init(~0u);
    play(&durable, &tried);
    cr_assert_eq(durable, (int)STEPS - 1);
    all = disk.operations;
    cr_assert_eq(all, 5 + 2 * STEPS, "a change of the level is one write and one sync");
    unsigned cases = 0;
    for (unsigned cut = 0; cut < all; cut++) {
        disk_init(cut);
        play(&durable, &tried);
        if (!disk.named)
            continue; // there is no file: nothing ran, nothing was registered
        cr_assert_eq(disk.durable_length, STATE_FILE_BYTES, "a name without contents");
        cr_assert_leq(disk.pending, 1);
        size_t length = disk.pending ? disk.writes[0].length : 0;
        // Nothing of the write reached the disk, some of it from either end, or all.
        for (size_t torn = 0; torn <= length; torn += 64, cases++) {
            uint8_t image[STATE_FILE_BYTES];
            size_t bytes = sizeof(image);
            memcpy(image, disk.durable, sizeof(image));
            if (disk.pending)
                apply_write(image, &bytes, &disk.writes[0], torn);
            check_image(image, sizeof(image), durable, tried, torn);
            memcpy(image, disk.durable, sizeof(image));
            if (disk.pending)
                memcpy(image + disk.writes[0].offset + length - torn,
                       disk.writes[0].data + length - torn, torn);
            check_image(image, sizeof(image), durable, tried, torn);
        }
    }
    cr_assert_gt(cases, 100);
}

Test(state_file, a_failed_write_leaves_the_slot_that_is_durable)
{
    for (int fail = 0; fail < 2; fail++) {
        struct state_record record = {.uuid = uuid};
        struct state_record read;
        disk_init(~0u);
        int fd = state_file_create(&ops, 0, "x.state", &record, key, NULL);
        record.level = LEVEL_SEVERED;
        cr_assert_eq(state_file_write(&ops, fd, &record, key, NULL), 0);
        // The disk is full, or the sync fails: again and again, the same slot.
        for (unsigned i = 0; i < 4; i++) {
            struct state_record next = record;
            disk.cut_after = disk.operations + fail;
            disk.fail = ENOSPC;
            next.level = LEVEL_STANDARD;
            cr_assert_eq(state_file_write(&ops, fd, &next, key, NULL), -1);
            cr_assert_eq(next.generation, record.generation);
            state_file_decode(disk.durable, disk.durable_length, &uuid, key, false, &read);
            cr_assert_eq(read.level, LEVEL_SEVERED);
        }
        close(fd);
    }
}

// A file with two slots: Probation, and before it Standard.
static void make_image(uint8_t *image, unsigned writes, bool running)
{
    struct state_record record = {.uuid = uuid, .sequence = 5, .reason = "because"};
    disk_init(~0u);
    int fd = state_file_create(&ops, 0, "x.state", &record, key, NULL);
    record.level = LEVEL_PROBATION;
    record.running = running;
    for (unsigned i = 0; i < writes; i++)
        cr_assert_eq(state_file_write(&ops, fd, &record, key, NULL), 0);
    close(fd);
    memcpy(image, disk.durable, STATE_FILE_BYTES);
}

Test(state_file, a_whole_file_says_what_was_written)
{
    uint8_t image[STATE_FILE_BYTES];
    struct state_record record;
    make_image(image, 1, false);
    cr_assert(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_PROBATION);
    cr_assert_eq(record.generation, 2);
    cr_assert_eq(record.sequence, 5);
    cr_assert_str_eq(record.reason, "because");
    make_image(image, 0, false);
    cr_assert(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_STANDARD);
}

Test(state_file, a_running_mark_without_a_process_is_offline)
{
    uint8_t image[STATE_FILE_BYTES];
    struct state_record record;
    make_image(image, 1, true);
    cr_assert(state_file_decode(image, sizeof(image), &uuid, key, true, &record));
    cr_assert_eq(record.level, LEVEL_PROBATION);
    cr_assert(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_OFFLINE);
    cr_assert(strstr(record.reason, "cleanly"));
}

Test(state_file, every_flipped_bit_is_offline)
{
    for (unsigned writes = 0; writes < 3; writes++) {
        uint8_t image[STATE_FILE_BYTES];
        struct state_record record;
        make_image(image, writes, false);
        for (size_t bit = 0; bit < sizeof(image) * 8; bit++) {
            image[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_assert_not(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
            cr_assert_eq(record.level, LEVEL_OFFLINE, "bit %zu: level %u", bit, record.level);
            cr_assert(record.reason[0]);
            image[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

Test(state_file, every_truncation_and_any_other_size_is_offline)
{
    uint8_t image[STATE_FILE_BYTES + 1] = {0};
    struct state_record record;
    make_image(image, 1, false);
    for (size_t length = 0; length <= sizeof(image); length++) {
        if (length == STATE_FILE_BYTES)
            continue;
        cr_assert_not(state_file_decode(image, length, &uuid, key, false, &record));
        cr_assert_eq(record.level, LEVEL_OFFLINE);
    }
}

Test(state_file, slots_that_do_not_belong_together_are_offline)
{
    uint8_t image[STATE_FILE_BYTES];
    uint8_t older[STATE_FILE_BYTES];
    uint8_t other_key[STATE_KEY_BYTES] = {9};
    const struct uuid other = {{9}};
    struct state_record record;
    make_image(older, 1, false);
    make_image(image, 4, false);
    // One slot from an older file.
    memcpy(image, older, STATE_SLOT_BYTES);
    cr_assert_not(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_OFFLINE);
    // A slot in the other's place.
    make_image(image, 1, false);
    memcpy(image + STATE_SLOT_STRIDE, image, STATE_SLOT_BYTES);
    cr_assert_not(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_OFFLINE);
    // Only the first write, without the second slot: a slot was wiped.
    make_image(image, 2, false);
    memset(image, 0, STATE_SLOT_BYTES);
    cr_assert_not(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_OFFLINE);
    // Another VM, another installation.
    cr_assert_not(state_file_decode(older, sizeof(older), &other, key, false, &record));
    cr_assert_eq(record.level, LEVEL_OFFLINE);
    cr_assert_not(state_file_decode(older, sizeof(older), &uuid, other_key, false, &record));
    cr_assert_eq(record.level, LEVEL_OFFLINE);
}

Test(state_file, doubt_never_hides_a_higher_level)
{
    uint8_t image[STATE_FILE_BYTES];
    struct state_record record = {.uuid = uuid, .level = LEVEL_IMMOLATION};
    disk_init(~0u);
    int fd = state_file_create(&ops, 0, "x.state", &record, key, NULL);
    cr_assert_eq(state_file_write(&ops, fd, &record, key, NULL), 0);
    close(fd);
    memcpy(image, disk.durable, sizeof(image));
    image[10] ^= 1;
    cr_assert_not(state_file_decode(image, sizeof(image), &uuid, key, false, &record));
    cr_assert_eq(record.level, LEVEL_IMMOLATION);
}

Test(state_file, repair_makes_a_damaged_file_whole_at_its_level)
{
    static const unsigned damages[] = {0, 10, 600, STATE_SLOT_STRIDE + 5};
    for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct state_record record = {0};
        struct state_record read;
        make_image(disk.durable, 1, false);
        disk.durable[damages[i]] ^= 0xff;
        if (i == 0)
            memset(disk.durable, 0xff, STATE_FILE_BYTES);
        cr_assert_not(
            state_file_decode(disk.durable, STATE_FILE_BYTES, &uuid, key, false, &record));
        record.level = LEVEL_SEVERED;
        cr_assert_eq(state_file_repair(&ops, 0, &record, key, NULL), 0);
        cr_assert(state_file_decode(disk.durable, STATE_FILE_BYTES, &uuid, key, false, &read));
        cr_assert_eq(read.level, LEVEL_SEVERED);
    }
}

Test(state_file, written_to_both_slots_no_loss_of_one_hides_a_level)
{
    for (unsigned slot = 0; slot < 2; slot++) {
        struct state_record record = {.uuid = uuid};
        struct state_record read;
        disk_init(~0u);
        int fd = state_file_create(&ops, 0, "x.state", &record, key, NULL);
        record.level = LEVEL_IMMOLATION;
        record.sequence = 9;
        cr_assert_eq(state_file_write_both(&ops, fd, &record, key, NULL), 0);
        close(fd);
        cr_assert(state_file_decode(disk.durable, STATE_FILE_BYTES, &uuid, key, false, &read));
        disk.durable[slot * STATE_SLOT_STRIDE + 50] ^= 1;
        cr_assert_not(state_file_decode(disk.durable, STATE_FILE_BYTES, &uuid, key, false, &read));
        cr_assert_eq(read.level, LEVEL_IMMOLATION);
        cr_assert_eq(read.sequence, 9);
    }
}

Test(state_file, a_file_in_place_of_a_lost_one_goes_on_counting)
{
    for (uint64_t generation = 7; generation < 9; generation++) {
        struct state_record record = {
            .uuid = uuid,
            .generation = generation,
            .level = LEVEL_OFFLINE,
            .orders_from_s = 77,
            .keys = {.version = 3, .sha256 = {1, 2, [31] = 9}},
        };
        struct state_record read;
        disk_init(~0u);
        int fd = state_file_create(&ops, 0, "x.state", &record, key, NULL);
        cr_assert(state_file_decode(disk.durable, STATE_FILE_BYTES, &uuid, key, false, &read));
        cr_assert_eq(read.generation, generation + 2);
        cr_assert_eq(read.orders_from_s, 77);
        cr_assert_eq(read.keys.version, 3);
        cr_assert_arr_eq(read.keys.sha256, record.keys.sha256, 32);
        cr_assert_eq(state_file_write(&ops, fd, &record, key, NULL), 0);
        cr_assert(state_file_decode(disk.durable, STATE_FILE_BYTES, &uuid, key, false, &read));
        close(fd);
    }
}
