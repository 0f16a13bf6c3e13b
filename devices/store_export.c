// SPDX-License-Identifier: Apache-2.0
// guillotine store export: objects become files, or a tar archive.
//
// Names of objects are checked where they leave the database, and the kernel is told to stay
// beneath the folder: neither relies on the other.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "store_command.h"
#include "store_request.h"

#define PIECE_BYTES (1u << 18)
#define TAR_BLOCK   512u
#define TAR_NAME    100u

// Where objects go.
struct sink {
    struct store_export *export;
    uint8_t *piece;
    int folder; // of files
    int fd;     // of the file, or of the archive
    int (*open)(struct sink *sink, const char *name, uint64_t bytes, struct error *err);
    int (*close)(struct sink *sink, uint64_t bytes, struct error *err);
};

static int copy_object(struct sink *sink, const char *name, uint64_t bytes, struct error *err)
{
    struct store_database *database = sink->export->database;
    if (sink->open(sink, name, bytes, err) < 0)
        return -1;
    for (uint64_t done = 0; done < bytes;) {
        uint64_t got;
        uint64_t whole;
        uint32_t status =
            store_database_read(database, name, done, sink->piece, PIECE_BYTES, &got, &whole);
        if (status || !got || whole != bytes)
            return store_refuse(status ? status : PORT_STATUS_FAILED, name, err);
        if (file_write(sink->fd, sink->piece, got, err) < 0)
            return error_wrap(err, "%s", name);
        done += got;
    }
    sink->export->files++;
    sink->export->bytes += bytes;
    return sink->close(sink, bytes, err);
}

// A page of the list: reading an object is another statement, so names are collected first.
struct page {
    char names[64][STORE_NAME_MAX + 1];
    uint64_t bytes[64];
    unsigned count;
};

static bool take_name(void *context, const char *name, uint64_t bytes)
{
    struct page *page = context;
    if (page->count == 64)
        return false;
    memcpy(page->names[page->count], name, strlen(name) + 1);
    page->bytes[page->count++] = bytes;
    return true;
}

static int export_all(struct sink *sink, struct error *err)
{
    struct store_export *export = sink->export;
    cleanup_free struct page *page = calloc(1, sizeof(*page));
    cleanup_free uint8_t *piece = malloc(PIECE_BYTES);
    char after[STORE_NAME_MAX + 1] = "";
    bool more = true;
    if (!page || !piece)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "export");
    sink->piece = piece;
    while (more) {
        page->count = 0;
        uint32_t status =
            store_database_list(export->database, export->prefix ? export->prefix : "", after, 64,
                                take_name, page, &more);
        if (status)
            return store_refuse(status, "list", err);
        for (unsigned i = 0; i < page->count; i++) {
            if (copy_object(sink, page->names[i], page->bytes[i], err) < 0)
                return -1;
            memcpy(after, page->names[i], sizeof(after));
        }
    }
    return 0;
}

static int open_beneath(int folder, const char *name, uint64_t flags)
{
    const struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .mode = flags & O_CREAT ? 0644 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, folder, name, &how, sizeof(how));
}

// Makes the folders of a name, one by one, and opens its last one.
static int open_parent(int folder, const char *name, const char **last, struct error *err)
{
    cleanup_fd int at = fcntl(folder, F_DUPFD_CLOEXEC, 3);
    const char *slash;
    while (at >= 0 && (slash = strchr(name, '/'))) {
        char part[STORE_NAME_MAX + 1];
        size_t length = (size_t)(slash - name);
        memcpy(part, name, length);
        part[length] = '\0';
        if (mkdirat(at, part, 0755) < 0 && errno != EEXIST)
            break;
        int next = open_beneath(at, part, O_RDONLY | O_DIRECTORY);
        int code = errno;
        close(at);
        errno = code;
        at = next;
        name = slash + 1;
    }
    if (at < 0 || strchr(name, '/'))
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "make a folder for %s", name);
    *last = name;
    return steal_fd(&at);
}

static int open_file(struct sink *sink, const char *name, uint64_t bytes, struct error *err)
{
    const char *last;
    (void)bytes;
    cleanup_fd int parent = open_parent(sink->folder, name, &last, err);
    if (parent < 0)
        return -1;
    uint64_t flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    sink->fd = open_beneath(parent, last, flags | (sink->export->force ? O_TRUNC : O_EXCL));
    if (sink->fd >= 0)
        return 0;
    return error_set(err, EXIT_STATUS_RESOURCES, errno, "make file %s%s", name,
                     errno == EEXIST ? " (--force replaces files)" : "");
}

static int close_file(struct sink *sink, uint64_t bytes, struct error *err)
{
    int result = close(sink->fd);
    (void)bytes;
    sink->fd = -1;
    return result < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "export") : 0;
}

int store_export_folder(struct store_export *export, const char *folder, struct error *err)
{
    struct sink sink = {.export = export, .fd = -1, .open = open_file, .close = close_file};
    if (mkdir(folder, 0755) < 0 && errno != EEXIST)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", folder);
    cleanup_fd int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", folder);
    sink.folder = fd;
    int result = export_all(&sink, err);
    if (sink.fd >= 0)
        close(sink.fd);
    return result;
}

static int write_header(int fd, const char *name, char type, uint64_t bytes, struct error *err)
{
    union {
        char bytes[TAR_BLOCK];
        struct {
            char name[TAR_NAME];
            char mode[8];
            char uid[8];
            char gid[8];
            char size[12];
            char mtime[12];
            char checksum[8];
            char type;
            char linkname[100];
            char magic[8];
        } fields;
    } header = {0};
    unsigned sum = 0;
    size_t length = strlen(name);
    if (bytes >= 1ull << 33)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "%s is too large for a tar archive", name);
    memcpy(header.fields.name, name, length < TAR_NAME ? length : TAR_NAME);
    memcpy(header.fields.mode, "0000644", 8);
    memcpy(header.fields.uid, "0000000", 8);
    memcpy(header.fields.gid, "0000000", 8);
    snprintf(header.fields.size, sizeof(header.fields.size), "%011llo", (unsigned long long)bytes);
    memcpy(header.fields.mtime, "00000000000", 12);
    memset(header.fields.checksum, ' ', sizeof(header.fields.checksum));
    memcpy(header.fields.magic, "ustar\00000", 8);
    header.fields.type = type;
    for (size_t i = 0; i < sizeof(header.bytes); i++)
        sum += (unsigned char)header.bytes[i];
    snprintf(header.fields.checksum, 7, "%06o", sum);
    return file_write(fd, header.bytes, sizeof(header.bytes), err);
}

static int write_padding(struct sink *sink, uint64_t bytes, struct error *err)
{
    static const char zeros[TAR_BLOCK];
    size_t part = bytes % TAR_BLOCK;
    return part ? file_write(sink->fd, zeros, TAR_BLOCK - part, err) : 0;
}

static int open_member(struct sink *sink, const char *name, uint64_t bytes, struct error *err)
{
    size_t length = strlen(name);
    if (length > TAR_NAME && (write_header(sink->fd, "././@LongLink", 'L', length + 1, err) < 0 ||
                              file_write(sink->fd, name, length + 1, err) < 0 ||
                              write_padding(sink, length + 1, err) < 0))
        return -1;
    return write_header(sink->fd, name, '0', bytes, err);
}

int store_export_tar(struct store_export *export, int fd, struct error *err)
{
    static const char end[2 * TAR_BLOCK];
    struct sink sink = {.export = export, .fd = fd, .open = open_member, .close = write_padding};
    if (export_all(&sink, err) < 0)
        return -1;
    return file_write(fd, end, sizeof(end), err);
}
