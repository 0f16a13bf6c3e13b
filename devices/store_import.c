// SPDX-License-Identifier: Apache-2.0
// guillotine store import: files and folders become objects.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "store_command.h"
#include "store_request.h"

#define PIECE_BYTES    (1u << 18)
#define PROGRESS_FILES 1000u
#define DEPTH_MAX      64u

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

// The name of the object that is being made, from the left.
struct name {
    char text[STORE_NAME_MAX + 1];
    size_t length;
};

static bool extend(struct name *name, const char *part, bool slash)
{
    size_t length = strlen(part);
    if (name->length + length + slash > STORE_NAME_MAX)
        return false;
    memcpy(name->text + name->length, part, length);
    name->length += length;
    if (slash)
        name->text[name->length++] = '/';
    name->text[name->length] = '\0';
    return true;
}

static int refuse_name(const char *part, struct error *err)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                     "%s: names of objects have A-Z, a-z, 0-9, '.', '_', '-' and '/' only, at most "
                     "%u of them",
                     part, STORE_NAME_MAX);
}

static int import_file(struct store_import *import, int fd, const struct name *name,
                       struct error *err)
{
    static uint8_t piece[PIECE_BYTES];
    uint64_t done = 0;
    if (!store_name_is_valid(name->text, name->length))
        return refuse_name(name->text, err);
    for (bool first = true;; first = false) {
        ssize_t n = read(fd, piece, PIECE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "read %s", name->text);
        if (n == 0 && !first)
            break;
        uint32_t status =
            store_database_put(import->database, name->text, piece, (uint64_t)n, done > 0, done);
        if (status)
            return store_refuse(status, name->text, err);
        done += (uint64_t)n;
    }
    import->bytes += done;
    if (++import->files % PROGRESS_FILES == 0 && import->progress)
        fprintf(stderr, "guillotine: %llu files, %llu bytes\n", (unsigned long long)import->files,
                (unsigned long long)import->bytes);
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int import_folder(struct store_import *import, int fd, const struct name *name,
                         unsigned depth, struct error *err);

// Takes what `fd` is; `name` is that of the object, or with a slash of the folder's objects.
static int import_entry(struct store_import *import, int folder, const char *entry,
                        const struct name *parent, unsigned depth, struct error *err)
{
    struct stat status;
    struct name name = *parent;
    cleanup_fd int fd = openat(folder, entry, OPEN_FLAGS);
    if (fd < 0 && (errno == ELOOP || errno == ENXIO)) {
        import->skipped++; // a symbolic link, a socket
        return 0;
    }
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s%s", parent->text, entry);
    bool is_folder = S_ISDIR(status.st_mode);
    if (!is_folder && !S_ISREG(status.st_mode)) {
        import->skipped++;
        return 0;
    }
    if (!extend(&name, entry, is_folder))
        return refuse_name(entry, err);
    return is_folder ? import_folder(import, fd, &name, depth, err)
                     : import_file(import, fd, &name, err);
}

static int import_folder(struct store_import *import, int fd, const struct name *name,
                         unsigned depth, struct error *err)
{
    struct dirent **entries = NULL;
    int result = 0;
    if (depth == DEPTH_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: folders are nested too deeply",
                         name->text);
    int count = scandirat(fd, ".", &entries, NULL, by_name); // the same order everywhere
    if (count < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "read folder %s", name->text);
    for (int i = 0; i < count; i++) {
        const char *entry = entries[i]->d_name;
        if (result == 0 && strcmp(entry, ".") != 0 && strcmp(entry, "..") != 0)
            result = import_entry(import, fd, entry, name, depth + 1, err);
        free(entries[i]);
    }
    free(entries);
    return result;
}

// A path that an operator gives may be a symbolic link.
static int import_path(struct store_import *import, const char *path, struct error *err)
{
    struct name name = {0};
    struct stat status;
    const char *slash = strrchr(path, '/');
    if (import->prefix && !extend(&name, import->prefix, false))
        return refuse_name(import->prefix, err);
    cleanup_fd int fd = open(path, OPEN_FLAGS & ~O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (S_ISDIR(status.st_mode))
        return import_folder(import, fd, &name, 0, err);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is neither a file nor a folder", path);
    if (!extend(&name, slash ? slash + 1 : path, false))
        return refuse_name(path, err);
    return import_file(import, fd, &name, err);
}

int store_import_paths(struct store_import *import, char *const *paths, int count,
                       struct error *err)
{
    int result = 0;
    uint32_t status = store_database_begin(import->database);
    if (status)
        return store_refuse(status, "import", err);
    for (int i = 0; i < count && result == 0; i++)
        result = import_path(import, paths[i], err);
    status = store_database_end(import->database, result ? PORT_STATUS_INVALID : PORT_STATUS_OK);
    if (result == 0 && status)
        return store_refuse(status, "import", err);
    return result;
}
