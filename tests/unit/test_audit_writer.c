// SPDX-License-Identifier: Apache-2.0
// A log after a power cut at every write: it opens again, no durable record is lost, and nothing is
// signed that was not written.
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_scan.h"
#include "audit_writer.h"
#include "support.h"

#define MOST_STEPS 512u
#define MOST_DATA  (1u << 16)

enum step_kind { STEP_CREATE, STEP_TRUNCATE, STEP_WRITE, STEP_SYNC, STEP_RENAME, STEP_DURABLE };

// What was done to files, in order. STEP_DURABLE: the writer said that `length` records are.
struct step {
    enum step_kind kind;
    char name[64];
    char to[64];
    off_t offset;
    size_t length;
    const uint8_t *data;
};

static struct step steps[MOST_STEPS];
static unsigned step_count;
static uint8_t arena[MOST_DATA];
static size_t arena_used;

static struct step *add_step(enum step_kind kind, const char *name)
{
    cr_assert_lt(step_count, MOST_STEPS);
    struct step *step = &steps[step_count++];
    *step = (struct step){.kind = kind};
    snprintf(step->name, sizeof(step->name), "%s", name);
    return step;
}

static int note_openat(const struct audit_files *files, int folder, const char *name, int flags,
                       mode_t mode)
{
    int fd = audit_files_host.openat(files, folder, name, flags, mode);
    add_step(STEP_CREATE, name);
    if (flags & O_TRUNC)
        add_step(STEP_TRUNCATE, name);
    return fd;
}

// The writer opens what is there itself: such a descriptor is known by its file.
static const char *name_of(int fd)
{
    static char path[256];
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static ssize_t note_pwrite(const struct audit_files *files, int fd, const void *data, size_t length,
                           off_t offset)
{
    struct step *step = add_step(STEP_WRITE, name_of(fd));
    cr_assert_leq(arena_used + length, sizeof(arena));
    memcpy(arena + arena_used, data, length);
    step->data = arena + arena_used;
    step->length = length;
    step->offset = offset;
    arena_used += length;
    return audit_files_host.pwrite(files, fd, data, length, offset);
}

static int note_sync(const struct audit_files *files, int fd)
{
    (void)files;
    add_step(STEP_SYNC, name_of(fd));
    return 0;
}

static int note_ftruncate(const struct audit_files *files, int fd, off_t length)
{
    add_step(STEP_TRUNCATE, name_of(fd))->offset = length;
    return audit_files_host.ftruncate(files, fd, length);
}

static int note_renameat(const struct audit_files *files, int folder, const char *from,
                         const char *to)
{
    struct step *step = add_step(STEP_RENAME, from);
    snprintf(step->to, sizeof(step->to), "%s", to);
    return audit_files_host.renameat(files, folder, from, to);
}

static const struct audit_files noting = {
    .openat = note_openat,
    .pwrite = note_pwrite,
    .fdatasync = note_sync,
    .fsync = note_sync,
    .ftruncate = note_ftruncate,
    .renameat = note_renameat,
};

static struct note_secret secret;
static char folder_path[64];

static int make_folder(void)
{
    strcpy(folder_path, "/tmp/guillotine-writer-XXXXXX");
    cr_assert_not_null(mkdtemp(folder_path));
    return open(folder_path, O_RDONLY | O_DIRECTORY);
}

static void remove_folder(int folder)
{
    DIR *files = fdopendir(folder);
    for (struct dirent *entry; (entry = readdir(files));)
        unlinkat(dirfd(files), entry->d_name, 0);
    closedir(files);
    rmdir(folder_path);
}

static int open_writer(struct audit_writer *w, int folder, const struct audit_files *files,
                       struct error *err)
{
    *w = (struct audit_writer){
        .files = files, .folder = folder, .witness = -1, .rotate_bytes = 1000, .secret = &secret};
    strcpy(w->name, "x.audit");
    snprintf(w->origin, sizeof(w->origin), "%s/x", secret.key.name);
    return audit_writer_open(w, openat(folder, "x.audit", O_RDWR | O_CREAT, 0600), err);
}

static void append(struct audit_writer *w, unsigned count)
{
    struct audit_record records[8];
    struct error err;
    memset(records, 0, sizeof(records));
    for (unsigned i = 0; i < count; i++)
        records[i] = (struct audit_record){
            .size = sizeof(records[0]), .type = AUDIT_REQUEST, .now_ns = 5, .wall_ns = 6};
    cr_assert_eq(audit_writer_append(w, records, count * sizeof(records[0]), &err), 0, "%s",
                 err.text);
}

static void durable(const struct audit_writer *w)
{
    add_step(STEP_DURABLE, "")->length = w->tree.size;
}

// The steps of a run with syncs, checkpoints, rotations and a seal.
static void record_run(void)
{
    struct audit_writer w;
    struct error err;
    static const uint8_t seed[NOTE_SEED_BYTES] = {7};
    note_secret_make(&secret, seed);
    int folder = make_folder();
    cr_assert_eq(open_writer(&w, folder, &noting, &err), 0, "%s", err.text);
    for (unsigned round = 0; round < 12; round++) {
        append(&w, 1 + round % 5);
        if (round % 3 == 0) {
            cr_assert_eq(audit_writer_sync(&w, &err), 0);
            durable(&w);
        }
        if (round % 4 == 1) {
            cr_assert_eq(audit_writer_checkpoint(&w, &err), 0);
            durable(&w);
        }
    }
    cr_assert_eq(audit_writer_seal(&w, &err), 0);
    durable(&w);
    cr_assert_gt(w.index, 1u, "several files");
    audit_writer_close(&w);
    remove_folder(folder);
}

// Does the first `count` steps again; of the last one, if it is a write, `part` bytes. Writes of
// log files that no sync followed are left out if `lose` is set.
static uint64_t replay(int folder, unsigned count, size_t part, bool lose)
{
    uint64_t promised = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        bool synced = !lose;
        for (unsigned k = i + 1; k < count && !synced; k++)
            synced = steps[k].kind == STEP_SYNC && !strcmp(steps[k].name, step->name);
        int fd = -1;
        if (step->kind == STEP_CREATE || step->kind == STEP_WRITE || step->kind == STEP_TRUNCATE)
            fd = openat(folder, step->name, O_RDWR | O_CREAT, 0600);
        if (step->kind == STEP_WRITE && synced)
            cr_assert_geq(pwrite(fd, step->data,
                                 i + 1 == count && part < step->length ? part : step->length,
                                 step->offset),
                          0);
        if (step->kind == STEP_TRUNCATE)
            cr_assert_eq(ftruncate(fd, step->offset), 0);
        if (step->kind == STEP_RENAME)
            cr_assert_eq(renameat(folder, step->name, folder, step->to), 0);
        if (step->kind == STEP_DURABLE)
            promised = step->length;
        if (fd >= 0)
            close(fd);
    }
    return promised;
}

static int count_records(void *context, const struct audit_scan *scan,
                         const struct audit_record_data *record, const struct merkle_hash *leaf,
                         struct error *err)
{
    uint64_t *kept = context;
    (void)scan;
    (void)leaf;
    (void)err;
    *kept += record->record.type == AUDIT_REQUEST || record->record.type == AUDIT_SEAL;
    return 0;
}

static void check_cut(unsigned count, size_t part, bool lose)
{
    static struct audit_scan scan;
    struct audit_writer w;
    struct error err = {0};
    uint64_t kept = 0;
    int folder = make_folder();
    uint64_t promised = replay(folder, count, part, lose);
    cr_assert_eq(open_writer(&w, folder, &audit_files_host, &err), 0,
                 "cut at step %u, %zu bytes, lose %d: %s", count, part, lose, err.text);
    append(&w, 2);
    cr_assert_eq(audit_writer_seal(&w, &err), 0);
    uint64_t size = w.tree.size;
    audit_writer_close(&w);
    audit_scan_init(&scan, folder, "x.audit", false);
    cr_assert_eq(audit_scan_run(&scan, count_records, &kept, &err), 0, "%s", err.text);
    cr_assert_eq(scan.tree.size, size);
    cr_assert_geq(kept, promised + 3, "cut at step %u: %llu durable records, %llu kept", count,
                  (unsigned long long)promised, (unsigned long long)kept - 3);
    audit_scan_close(&scan);
    remove_folder(folder);
}

Test(audit_writer, power_cut_at_every_step)
{
    record_run();
    for (unsigned count = 0; count <= step_count; count++) {
        const struct step *last = count ? &steps[count - 1] : NULL;
        check_cut(count, SIZE_MAX, false);
        check_cut(count, SIZE_MAX, true);
        if (last && last->kind == STEP_WRITE) {
            check_cut(count, 1, false);
            check_cut(count, last->length / 2, false);
            check_cut(count, last->length - 1, false);
        }
    }
}

// A disk that fills up: the log ends with a whole record, and goes on later.
static unsigned writes_left;

static ssize_t full_pwrite(const struct audit_files *files, int fd, const void *data, size_t length,
                           off_t offset)
{
    if (writes_left--)
        return audit_files_host.pwrite(files, fd, data, length, offset);
    writes_left = 0;
    errno = ENOSPC;
    return -1;
}

Test(audit_writer, full_disk)
{
    struct audit_files full = audit_files_host;
    struct audit_writer w;
    struct error err;
    static struct audit_record records[4];
    full.pwrite = full_pwrite;
    note_secret_make(&secret, (const uint8_t[NOTE_SEED_BYTES]){7});
    int folder = make_folder();
    writes_left = 1000;
    cr_assert_eq(open_writer(&w, folder, &full, &err), 0);
    append(&w, 3);
    cr_assert_eq(audit_writer_checkpoint(&w, &err), 0);
    writes_left = 0;
    records[0] = records[1] = (struct audit_record){.size = 80, .type = AUDIT_REQUEST};
    cr_assert_eq(audit_writer_append(&w, records, 160, &err), -1);
    cr_expect(strstr(err.text, "No space left"), "%s", err.text);
    cr_expect_eq(w.tree.size, 3u);
    audit_writer_close(&w);
    writes_left = 1000;
    cr_assert_eq(open_writer(&w, folder, &full, &err), 0, "%s", err.text);
    cr_expect_eq(w.tree.size, 3u);
    audit_writer_close(&w);
    remove_folder(folder);
}
