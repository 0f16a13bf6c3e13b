// SPDX-License-Identifier: Apache-2.0
// The simulated disk under the real monitor/state_file.c: a page cache in front of a medium, and a
// power cut before, in or after every operation. What was not synced survives in part: each piece
// of a dirty page by itself, and one of them torn. A sync that fails leaves its pages clean, as the
// kernel does: they are never written again unless they are written to again.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "failsafe_sim.h"

#define PAGE_BYTES  4096u
#define PIECE_BYTES 64u

// Of an operation: before or in it, and after it.
#define CUT_PER_MILLE 3

static struct sim_file *file_of(const char *name)
{
    size_t length = strlen(name);
    return &w.disk.files[length > 4 && !strcmp(name + length - 4, ".new")];
}

// True if the operation does not happen.
static bool is_off(void)
{
    errno = EIO;
    if (!w.power_cut && sim_chance(CUT_PER_MILLE))
        w.power_cut = true;
    return w.power_cut;
}

static void may_cut(void)
{
    if (sim_chance(CUT_PER_MILLE))
        w.power_cut = true;
}

static int disk_open(void *context, int folder, const char *name, int flags, mode_t mode)
{
    (void)context;
    (void)folder;
    (void)mode;
    if (is_off() || (w.disk.fails && sim_chance(300)))
        return -1;
    struct sim_file *file = file_of(name);
    if (flags & O_TRUNC) {
        *file = (struct sim_file){.exists = true};
        w.disk.opened = file;
    }
    may_cut();
    // A number that is closed without harm.
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static ssize_t disk_pwrite(void *context, int fd, const void *data, size_t length, off_t offset)
{
    (void)context;
    (void)fd;
    struct sim_file *file = w.disk.opened;
    size_t at = (size_t)offset;
    if (at + length > STATE_FILE_BYTES) {
        sim_fail("a write beyond the state file");
        return -1;
    }
    if (is_off() || (w.disk.fails && sim_chance(300)))
        return -1;
    // Less than was asked for is a success, too.
    if (length > 1 && sim_chance(50))
        length = 1 + sim_random(length - 1);
    memcpy(file->cached + at, data, length);
    if (at + length > file->length)
        file->length = at + length;
    for (size_t page = at / PAGE_BYTES; page <= (at + length - 1) / PAGE_BYTES; page++)
        file->dirty[page] = true;
    may_cut();
    return (ssize_t)length;
}

// Writes dirty pages to the medium: whole, or what a power cut or a failure lets through.
static void write_back(struct sim_file *file, bool whole)
{
    for (size_t at = 0; at < STATE_FILE_BYTES; at += PIECE_BYTES) {
        size_t bytes = PIECE_BYTES;
        if (!file->dirty[at / PAGE_BYTES] || !memcmp(file->durable + at, file->cached + at, bytes))
            continue;
        if (!whole && sim_chance(400))
            continue;
        if (!whole && sim_chance(100))
            bytes = sim_random(PIECE_BYTES);
        memcpy(file->durable + at, file->cached + at, bytes);
    }
    // Lengths are metadata: they come with the data or not at all.
    if (whole || sim_chance(500))
        file->durable_length = file->length;
    memset(file->dirty, 0, sizeof(file->dirty));
}

static int disk_fdatasync(void *context, int fd)
{
    (void)context;
    (void)fd;
    if (is_off())
        return -1;
    if (w.disk.fails && sim_chance(700)) {
        write_back(w.disk.opened, false);
        return -1;
    }
    if (w.sabotage != SABOTAGE_SYNC_LIES)
        write_back(w.disk.opened, true);
    may_cut();
    return 0;
}

static int disk_rename(void *context, int folder, const char *from, const char *to)
{
    (void)context;
    (void)folder;
    if (is_off())
        return -1;
    *file_of(to) = *file_of(from);
    *file_of(from) = (struct sim_file){0};
    w.disk.opened = file_of(to);
    may_cut();
    return 0;
}

static int disk_fsync_folder(void *context, int folder)
{
    (void)context;
    (void)folder;
    if (is_off())
        return -1;
    w.disk.files[0].named = true;
    may_cut();
    return 0;
}

static const struct state_ops disk_ops = {
    .open = disk_open,
    .pwrite = disk_pwrite,
    .fdatasync = disk_fdatasync,
    .rename = disk_rename,
    .fsync_folder = disk_fsync_folder,
};

static const uint8_t disk_key[STATE_KEY_BYTES] = {0x6b, 1, 2, 3};

bool sim_disk_has_state(void)
{
    return w.disk.files[0].exists;
}

bool sim_disk_create(struct state_record *record)
{
    struct error err;
    int fd = state_file_create(&disk_ops, -1, "vm.state", record, disk_key, &err);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool sim_disk_write(struct state_record *record)
{
    struct error err;
    w.disk.writes++;
    return state_file_write(&disk_ops, -1, record, disk_key, &err) == 0;
}

bool sim_disk_repair(struct state_record *record)
{
    struct error err;
    w.disk.repairs++;
    w.disk.files[0].length = STATE_FILE_BYTES;
    return state_file_repair(&disk_ops, -1, record, disk_key, &err) == 0;
}

bool sim_disk_read(struct state_record *record)
{
    const struct sim_file *file = &w.disk.files[0];
    w.disk.opened = &w.disk.files[0];
    return state_file_decode(file->cached, file->length, &w.uuid, disk_key, false, record);
}

void sim_disk_power_cut(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sim_file *file = &w.disk.files[i];
        write_back(file, false);
        // A name that was not synced may be there all the same.
        file->exists = file->exists && (file->named || sim_chance(500));
        file->named = file->exists;
        file->length = file->durable_length;
        memcpy(file->cached, file->durable, sizeof(file->cached));
        if (!file->exists)
            *file = (struct sim_file){0};
    }
}

void sim_disk_replace(void)
{
    w.disk.fails = false;
    for (unsigned i = 0; i < 2; i++) {
        struct sim_file *file = &w.disk.files[i];
        file->length = file->durable_length;
        memcpy(file->cached, file->durable, sizeof(file->cached));
        memset(file->dirty, 0, sizeof(file->dirty));
    }
}
