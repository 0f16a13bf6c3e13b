// SPDX-License-Identifier: Apache-2.0
// Writes a log. The order of writes is what keeps it readable after a crash:
// - a log has a checkpoint, if only of nothing, before its first record;
// - a checkpoint is durable only after the records that it covers;
// - a file gets a successor only when all its records are covered.
// So only the last file's end, behind the last checkpoint, can be torn.
#include "audit_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit_scan.h"
#include "cleanup.h"

static int host_openat(const struct audit_files *files, int folder, const char *name, int flags,
                       mode_t mode)
{
    (void)files;
    return openat(folder, name, flags, mode);
}

static ssize_t host_pwrite(const struct audit_files *files, int fd, const void *data, size_t length,
                           off_t offset)
{
    (void)files;
    return pwrite(fd, data, length, offset);
}

static int host_fdatasync(const struct audit_files *files, int fd)
{
    (void)files;
    return fdatasync(fd);
}

static int host_fsync(const struct audit_files *files, int fd)
{
    (void)files;
    return fsync(fd);
}

static int host_ftruncate(const struct audit_files *files, int fd, off_t length)
{
    (void)files;
    return ftruncate(fd, length);
}

static int host_renameat(const struct audit_files *files, int folder, const char *from,
                         const char *to)
{
    (void)files;
    return renameat(folder, from, folder, to);
}

const struct audit_files audit_files_host = {
    .openat = host_openat,
    .pwrite = host_pwrite,
    .fdatasync = host_fdatasync,
    .fsync = host_fsync,
    .ftruncate = host_ftruncate,
    .renameat = host_renameat,
};

static int fail(const struct audit_writer *w, const char *what, struct error *err)
{
    return error_set(err, EXIT_STATUS_ISOLATED, errno, "audit log %s: %s", w->path, what);
}

static int refuse(const struct audit_writer *w, const char *what, struct error *err)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                     "audit log %s: %s: check it with guillotine audit verify and move it away, "
                     "with its other files",
                     w->path, what);
}

static int write_all(const struct audit_writer *w, int fd, const void *data, size_t length,
                     off_t offset)
{
    const uint8_t *at = data;
    while (length) {
        ssize_t n = w->files->pwrite(w->files, fd, at, length, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : ENOSPC;
            return -1;
        }
        at += n;
        offset += n;
        length -= (size_t)n;
    }
    return 0;
}

int audit_writer_sync(struct audit_writer *w, struct error *err)
{
    if (w->dirty && w->files->fdatasync(w->files, w->fd) < 0)
        return fail(w, "make durable", err);
    w->dirty = false;
    return 0;
}

static unsigned sign(const struct audit_writer *w, char text[NOTE_MAX_BYTES])
{
    struct checkpoint checkpoint = {.size = w->tree.size};
    memcpy(checkpoint.origin, w->origin, sizeof(checkpoint.origin));
    merkle_tree_root(&w->tree, &checkpoint.root);
    return checkpoint_sign(&checkpoint, w->secret, text);
}

// For an observer elsewhere. The checkpoint itself is durable already.
static int tell_witness(const struct audit_writer *w, const char *text, unsigned length)
{
    if (w->witness < 0)
        return 0;
    return write(w->witness, text, length) == (ssize_t)length ? 0 : -1;
}

int audit_writer_checkpoint(struct audit_writer *w, struct error *err)
{
    char text[NOTE_MAX_BYTES];
    char name[AUDIT_WRITER_NAME_SIZE + 16];
    char temporary[AUDIT_WRITER_NAME_SIZE + 32];
    if (audit_writer_sync(w, err) < 0)
        return -1;
    unsigned length = sign(w, text);
    snprintf(name, sizeof(name), "%s.checkpoint", w->name);
    snprintf(temporary, sizeof(temporary), "%s.new", name);
    cleanup_fd int fd =
        w->files->openat(w->files, w->folder, temporary,
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (fd < 0 || write_all(w, fd, text, length, 0) < 0 || w->files->fsync(w->files, fd) < 0 ||
        w->files->renameat(w->files, w->folder, temporary, name) < 0 ||
        w->files->fsync(w->files, w->folder) < 0)
        return fail(w, "write the checkpoint", err);
    if (tell_witness(w, text, length) < 0)
        return fail(w, "write to the witness file", err);
    w->covered = w->tree.size;
    return 0;
}

static void fill_header(const struct audit_writer *w, struct audit_file_header *header)
{
    struct merkle_hash root;
    *header = (struct audit_file_header){
        .format = AUDIT_FORMAT "\n", .first_leaf = w->tree.size, .index = w->index};
    merkle_tree_root(&w->tree, &root);
    memcpy(header->root, root.bytes, sizeof(header->root));
}

// Not durable yet.
static int write_header(struct audit_writer *w, struct error *err)
{
    struct audit_file_header header;
    fill_header(w, &header);
    if (write_all(w, w->fd, &header, sizeof(header), 0) < 0)
        return fail(w, "begin a file", err);
    w->end = sizeof(header);
    w->bytes += sizeof(header);
    w->dirty = true;
    return 0;
}

static int begin_file(struct audit_writer *w, struct error *err)
{
    if (write_header(w, err) < 0 || audit_writer_sync(w, err) < 0)
        return -1;
    return w->files->fsync(w->files, w->folder) < 0 ? fail(w, "begin a file", err) : 0;
}

static int rotate(struct audit_writer *w, struct error *err)
{
    char name[AUDIT_WRITER_NAME_SIZE + 16];
    if (audit_writer_checkpoint(w, err) < 0)
        return -1;
    if (w->index + 1 == AUDIT_WRITER_MAX_FILES)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "audit log %s: too many files", w->name);
    audit_scan_file_name(name, sizeof(name), w->name, w->index + 1);
    int fd = w->files->openat(w->files, w->folder, name,
                              O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(w, "begin its next file", err);
    close(w->fd);
    w->fd = fd;
    w->index++;
    return begin_file(w, err);
}

// Writes records that fit the file.
static int write_records(struct audit_writer *w, const uint8_t *data, size_t length,
                         const struct merkle_tree *before, struct error *err)
{
    if (!length)
        return 0;
    if (write_all(w, w->fd, data, length, w->end) < 0) {
        fail(w, "write", err);
        // No torn record: the log ends where it was whole.
        w->tree = *before;
        if (w->files->ftruncate(w->files, w->fd, w->end) < 0)
            return error_wrap(err, "and it cannot be cut back to its last record");
        return -1;
    }
    w->end += (off_t)length;
    w->bytes += length;
    w->dirty = true;
    return 0;
}

int audit_writer_append(struct audit_writer *w, void *data, size_t length, struct error *err)
{
    struct merkle_tree before = w->tree;
    uint8_t *bytes = data;
    size_t written = 0;
    for (size_t at = 0; at < length;) {
        struct audit_record record;
        if (length - at < sizeof(record))
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "audit log: half a record");
        memcpy(&record, bytes + at, sizeof(record));
        if (!audit_size_is_valid(record.size) || record.size > length - at)
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "audit log: a record of %u bytes",
                             record.size);
        off_t end = w->end + (off_t)(at - written + record.size);
        if (w->rotate_bytes && (uint64_t)end > w->rotate_bytes && w->tree.size) {
            if (write_records(w, bytes + written, at - written, &before, err) < 0)
                return -1;
            written = at;
            if (w->end > (off_t)AUDIT_FILE_HEADER_BYTES && rotate(w, err) < 0)
                return -1;
            before = w->tree;
        }
        struct merkle_hash leaf;
        memcpy(bytes + at + offsetof(struct audit_record, sequence), &w->tree.size,
               sizeof(w->tree.size));
        merkle_leaf(bytes + at, record.size, &leaf);
        merkle_tree_add(&w->tree, &leaf);
        w->last_now_ns = record.now_ns;
        w->last_wall_ns = record.wall_ns;
        at += record.size;
    }
    return write_records(w, bytes + written, length - written, &before, err);
}

// A record of the recorder's own. Its time is that of the record before, so that nothing in it
// is the recorder's to choose.
static int append_own(struct audit_writer *w, struct audit_record *record, const void *data,
                      uint32_t length, struct error *err)
{
    struct audit_record_data own = {.record = *record};
    own.record.size = audit_record_size(length);
    own.record.port = AUDIT_NO_PORT;
    own.record.length = length;
    own.record.source = AUDIT_SOURCE_RECORDER;
    own.record.now_ns = w->last_now_ns;
    own.record.wall_ns = w->last_wall_ns;
    memcpy(own.data, data, length);
    return audit_writer_append(w, &own, own.record.size, err);
}

int audit_writer_seal(struct audit_writer *w, struct error *err)
{
    char text[NOTE_MAX_BYTES];
    struct audit_record record = {.type = AUDIT_SEAL};
    unsigned length = sign(w, text);
    if (append_own(w, &record, text, length, err) < 0)
        return -1;
    return audit_writer_checkpoint(w, err);
}

// What audit_writer_open learns from the files.
struct opening {
    struct audit_writer *w;
    struct checkpoint checkpoint;
    bool agrees;
    uint64_t said; // records when progress was last told
};

static int take_scanned(void *context, const struct audit_scan *scan,
                        const struct audit_record_data *record, const struct merkle_hash *leaf,
                        struct error *err)
{
    struct opening *opening = context;
    struct audit_writer *w = opening->w;
    (void)leaf;
    w->last_now_ns = record->record.now_ns;
    if (record->record.type == AUDIT_STATE && record->record.cookie == w->state_cookie)
        w->state_generation = record->record.argument;
    w->last_wall_ns = record->record.wall_ns;
    if (scan->tree.size == opening->checkpoint.size) {
        struct merkle_hash root;
        merkle_tree_root(&scan->tree, &root);
        opening->agrees = !memcmp(&root, &opening->checkpoint.root, sizeof(root));
        if (!opening->agrees)
            return refuse(w, "its records are not those of its last checkpoint", err);
    }
    if (w->progress && scan->tree.size - opening->said >= 1000000) {
        opening->said = scan->tree.size;
        w->progress(w->progress_context, scan->tree.size);
    }
    return 0;
}

static int read_checkpoint(struct audit_writer *w, struct checkpoint *checkpoint, struct error *err)
{
    char text[NOTE_MAX_BYTES];
    char name[AUDIT_WRITER_NAME_SIZE + 16];
    snprintf(name, sizeof(name), "%s.checkpoint", w->name);
    cleanup_fd int fd = openat(w->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t length = fd < 0 ? -1 : pread(fd, text, sizeof(text), 0);
    if (length < 0)
        return fail(w, "read its checkpoint", err);
    if (checkpoint_open(checkpoint, text, (size_t)length, &w->secret->key, err) < 0)
        return error_wrap(err, "audit log %s", w->path);
    if (strcmp(checkpoint->origin, w->origin) != 0)
        return refuse(w, "its checkpoint is of another log", err);
    return 1;
}

// Takes over what was found, and cuts what a crash left.
static int adopt(struct audit_writer *w, struct opening *opening, struct audit_scan *scan,
                 struct error *err)
{
    if (scan->tree.size < opening->checkpoint.size)
        return refuse(w, "it is shorter than its last checkpoint says", err);
    w->tree = scan->tree;
    w->index = scan->index;
    w->end = scan->end;
    w->bytes = scan->bytes;
    w->covered = opening->checkpoint.size;
    uint64_t behind = scan->tree.size - opening->checkpoint.size;
    uint64_t torn = (uint64_t)(scan->file_bytes - scan->end);
    if (torn && (w->files->ftruncate(w->files, w->fd, w->end) < 0 ||
                 w->files->fdatasync(w->files, w->fd) < 0))
        return fail(w, "cut back to whole records", err);
    if (!w->end && begin_file(w, err) < 0)
        return -1;
    if (!behind && !torn)
        return 0;
    struct audit_record note = {
        .type = AUDIT_CONFIG,
        .detail = AUDIT_CONFIG_CRASH_TAIL,
        .argument = torn,
        .request = behind,
    };
    return append_own(w, &note, "", 0, err) < 0 ? -1 : audit_writer_checkpoint(w, err);
}

int audit_writer_open(struct audit_writer *w, int fd, struct error *err)
{
    struct opening opening = {.w = w};
    static struct audit_scan scan; // large; one log a process
    w->lock = fd;
    w->fd = -1;
    w->tree.size = 0;
    w->index = w->bytes = w->covered = 0;
    w->end = 0;
    w->dirty = false;
    int has_checkpoint = read_checkpoint(w, &opening.checkpoint, err);
    if (has_checkpoint < 0)
        return -1;
    audit_scan_init(&scan, w->folder, w->name, true);
    scan.writable = true;
    int result = audit_scan_run(&scan, take_scanned, &opening, err);
    w->fd = steal_fd(&scan.fd);
    if (result < 0) {
        error_wrap(err, "audit log %s", w->path);
    } else if (!has_checkpoint && scan.tree.size) {
        result = refuse(w, "its checkpoint is missing", err);
    } else if (!has_checkpoint) {
        if (scan.file_bytes && w->files->ftruncate(w->files, w->fd, 0) < 0)
            result = fail(w, "begin", err);
        else
            // The checkpoint makes its folder durable, and thereby the log's name.
            result = write_header(w, err) < 0 ? -1 : audit_writer_checkpoint(w, err);
    } else {
        result = adopt(w, &opening, &scan, err);
    }
    audit_scan_close(&scan);
    return result;
}

void audit_writer_close(struct audit_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    if (w->lock >= 0)
        close(w->lock);
    w->fd = w->lock = -1;
}
