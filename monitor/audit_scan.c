// SPDX-License-Identifier: Apache-2.0
// Reads a log's files. Everything in them is hostile.
#include "audit_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void audit_scan_file_name(char *text, size_t size, const char *name, uint64_t index)
{
    if (index)
        snprintf(text, size, "%s.%llu", name, (unsigned long long)index);
    else
        snprintf(text, size, "%s", name);
}

void audit_scan_init(struct audit_scan *scan, int folder, const char *name, bool forgives_tail)
{
    memset(scan, 0, offsetof(struct audit_scan, buffer));
    scan->folder = folder;
    snprintf(scan->name, sizeof(scan->name), "%s", name);
    scan->forgives_tail = forgives_tail;
    scan->hashes = true;
    scan->fd = -1;
}

static int wrong(struct audit_scan *scan, const char *what, struct error *err)
{
    char name[280];
    scan->torn = true;
    audit_scan_file_name(name, sizeof(name), scan->name, scan->index);
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: record %llu, at byte %lld: %s", name,
                     (unsigned long long)scan->tree.size, (long long)scan->end, what);
}

static int system_error(const struct audit_scan *scan, struct error *err)
{
    char name[280];
    audit_scan_file_name(name, sizeof(name), scan->name, scan->index);
    return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", name);
}

// Opens file `index`. Returns 1, 0 if there is none, or -1.
static int open_file(struct audit_scan *scan, uint64_t index, struct error *err)
{
    char name[280];
    struct stat status;
    audit_scan_file_name(name, sizeof(name), scan->name, index);
    int fd = openat(scan->folder, name,
                    (scan->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY |
                        O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && index)
        return 0;
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", name);
    if (scan->fd >= 0)
        close(scan->fd);
    scan->fd = fd;
    scan->index = index;
    scan->end = 0;
    scan->buffer_length = 0;
    if (fstat(fd, &status) < 0)
        return system_error(scan, err);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is not a regular file", name);
    scan->file_bytes = status.st_size;
    return 1;
}

// Bytes at scan->end that are in memory; reads if there are fewer than `wanted`.
static size_t view(struct audit_scan *scan, size_t wanted, const uint8_t **bytes)
{
    size_t skip = (size_t)(scan->end - scan->buffer_at);
    if (scan->end < scan->buffer_at || skip > scan->buffer_length ||
        scan->buffer_length - skip < wanted) {
        size_t used = 0;
        ssize_t n = 1;
        while (used < wanted && n > 0) {
            n = pread(scan->fd, scan->buffer + used, sizeof(scan->buffer) - used,
                      scan->end + (off_t)used);
            used += n > 0 ? (size_t)n : 0;
        }
        scan->buffer_at = scan->end;
        scan->buffer_length = used;
        skip = 0;
    }
    *bytes = scan->buffer + skip;
    return scan->buffer_length - skip;
}

// Checks the header at the file's beginning. Returns 1, 0 for a forgiven torn one, or -1.
static int take_header(struct audit_scan *scan, struct error *err)
{
    struct audit_file_header expected = {
        .format = AUDIT_FORMAT "\n", .first_leaf = scan->tree.size, .index = scan->index};
    struct merkle_hash root;
    const uint8_t *bytes;
    char name[280];
    merkle_tree_root(&scan->tree, &root);
    memcpy(expected.root, root.bytes, sizeof(expected.root));
    size_t length = view(scan, sizeof(expected), &bytes);
    bool same =
        scan->hashes
            ? !memcmp(bytes, &expected, length < sizeof(expected) ? length : sizeof(expected))
            : !strncmp((const char *)bytes, expected.format,
                       length < sizeof(expected.format) ? length : sizeof(expected.format));
    audit_scan_file_name(name, sizeof(name), scan->name, scan->index);
    if (same && length >= sizeof(expected)) {
        scan->end = sizeof(expected);
        scan->bytes += sizeof(expected);
        return 1;
    }
    if (same && scan->forgives_tail && scan->file_bytes < (off_t)sizeof(expected)) {
        scan->torn = true;
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s ends inside its header", name);
        return 0;
    }
    bool is_log =
        length >= sizeof(AUDIT_FORMAT) && !memcmp(bytes, AUDIT_FORMAT "\n", sizeof(AUDIT_FORMAT));
    return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                     is_log ? "%s does not continue the file before it (format %s)"
                            : "%s exists and is not a whole audit log of format %s",
                     name, AUDIT_FORMAT);
}

static const char *find_fault(const struct audit_scan *scan, const struct audit_record *record,
                              size_t there)
{
    if (there < sizeof(*record))
        return "the file ends inside a record";
    if (!audit_size_is_valid(record->size))
        return "its size is none that a record has";
    if (record->size > there)
        return "the file ends inside a record";
    if (record->sequence != scan->tree.size)
        return "it does not follow the one before it: its number is another";
    return NULL;
}

// Takes the records of the file that is open.
static int take_records(struct audit_scan *scan, audit_scan_function take, void *context,
                        struct error *err)
{
    static struct audit_record_data record; // one scan at a time
    const uint8_t *bytes;
    for (;;) {
        size_t there = view(scan, sizeof(record), &bytes);
        if (!there)
            return 0;
        memcpy(&record.record, bytes,
               there < sizeof(record.record) ? there : sizeof(record.record));
        const char *fault = find_fault(scan, &record.record, there);
        if (fault)
            return wrong(scan, fault, err);
        memcpy(&record, bytes, record.record.size);
        struct merkle_hash leaf = {{0}};
        if (scan->hashes && record.record.type == AUDIT_SEAL)
            merkle_tree_root(&scan->tree, &scan->root_before);
        if (scan->hashes) {
            merkle_leaf(&record, record.record.size, &leaf);
            merkle_tree_add(&scan->tree, &leaf);
        } else {
            scan->tree.size++;
        }
        scan->end += record.record.size;
        scan->bytes += record.record.size;
        int result = take(context, scan, &record, &leaf, err);
        if (result)
            return result;
    }
}

static bool has_next(const struct audit_scan *scan)
{
    char name[280];
    audit_scan_file_name(name, sizeof(name), scan->name, scan->index + 1);
    return faccessat(scan->folder, name, F_OK, 0) == 0;
}

// The file that is open, and those behind it. A fault is forgiven only in the last one.
static int run(struct audit_scan *scan, audit_scan_function take, void *context, struct error *err)
{
    for (;;) {
        scan->torn = false;
        int result = scan->end ? 1 : take_header(scan, err);
        if (result > 0)
            result = take_records(scan, take, context, err);
        if (result > 0 || (result < 0 && !(scan->torn && scan->forgives_tail)))
            return result;
        if (scan->torn)
            return has_next(scan) ? -1 : 0;
        int opened = open_file(scan, scan->index + 1, err);
        if (opened <= 0)
            return opened;
    }
}

int audit_scan_run(struct audit_scan *scan, audit_scan_function take, void *context,
                   struct error *err)
{
    int opened = open_file(scan, 0, err);
    return opened < 0 ? -1 : run(scan, take, context, err);
}

int audit_scan_more(struct audit_scan *scan, audit_scan_function take, void *context,
                    struct error *err)
{
    scan->buffer_length = 0;
    return run(scan, take, context, err);
}

void audit_scan_close(struct audit_scan *scan)
{
    if (scan->fd >= 0)
        close(scan->fd);
    scan->fd = -1;
}
