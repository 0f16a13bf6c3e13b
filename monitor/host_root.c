// SPDX-License-Identifier: Apache-2.0
// The host's files, below a folder that can be replaced.
#include "host_root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

int host_root_open(struct host_root *root, const char *folder, struct error *err)
{
    root->real = !folder || !strcmp(folder, "/");
    root->record = -1;
    root->fd = open(folder ? folder : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root->fd < 0 ? error_set(err, EXIT_STATUS_BAD_FILE, errno, "root folder %s", folder) : 0;
}

void host_root_close(struct host_root *root)
{
    if (root->fd >= 0)
        close(root->fd);
    *root = HOST_ROOT_NONE;
}

// Makes the folders that `path` is in, below the record.
static void record_folders(const struct host_root *root, const char *path)
{
    char part[512];
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(at - path), path);
        mkdirat(root->record, part, 0755);
    }
}

// Copies what was read, or makes an empty file for what only exists. A record that cannot be
// written is incomplete; the caller finds out when it writes its own part.
static void record_text(const struct host_root *root, const char *path, const char *text)
{
    record_folders(root, path);
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (text ? O_TRUNC : 0);
    cleanup_fd int fd = openat(root->record, path, flags, 0644);
    if (fd < 0 || !text)
        return;
    struct error ignored;
    file_write(fd, text, strlen(text), &ignored);
    file_write(fd, "\n", 1, &ignored);
}

int host_read(const struct host_root *root, const char *path, char *text, size_t size)
{
    // A recording may hold anything: a FIFO must not stop us.
    cleanup_fd int fd = openat(root->fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    size_t length = 0;
    while (length < size - 1) {
        ssize_t n = read(fd, text + length, size - 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        length += (size_t)n;
    }
    text[length] = '\0';
    // A recording may hold anything: whatever follows a terminator would be counted, but not seen.
    length = strlen(text);
    while (length && text[length - 1] == '\n')
        text[--length] = '\0';
    if (root->record >= 0)
        record_text(root, path, text);
    return (int)length;
}

bool host_read_u64(const struct host_root *root, const char *path, uint64_t *value)
{
    char text[64];
    return host_read(root, path, text, sizeof(text)) > 0 &&
           number_parse(text, 0, UINT64_MAX, value, NULL) == 0;
}

bool host_read_cpus(const struct host_root *root, const char *path, struct cpu_list *cpus)
{
    char text[8192];
    *cpus = (struct cpu_list){0};
    int length = host_read(root, path, text, sizeof(text));
    return length == 0 || (length > 0 && cpu_list_parse(text, cpus, NULL) == 0);
}

bool host_says(const struct host_root *root, const char *path, const char *text)
{
    char found[256];
    return host_read(root, path, found, sizeof(found)) >= 0 && !strcmp(found, text);
}

bool host_has(const struct host_root *root, const char *path)
{
    struct stat status;
    if (fstatat(root->fd, path, &status, 0) < 0)
        return false;
    if (root->record >= 0) {
        record_folders(root, path);
        if (S_ISDIR(status.st_mode))
            mkdirat(root->record, path, 0755);
        else
            record_text(root, path, NULL);
    }
    return true;
}

int host_write(const struct host_root *root, const char *path, const char *text)
{
    // Files of the kernel exist; those of a recording may have to be made, and may be anything.
    int make = root->real ? 0 : O_CREAT | O_NONBLOCK;
    cleanup_fd int fd =
        openat(root->fd, path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY | make, 0644);
    if (fd < 0)
        return -1;
    size_t length = strlen(text);
    ssize_t n = write(fd, text, length);
    if (n >= 0 && (size_t)n != length)
        errno = EIO;
    return n == (ssize_t)length ? 0 : -1;
}

struct names {
    char **list;
    size_t count;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool add_name(struct names *names, const char *name)
{
    // Room doubles at each power of two.
    if (!(names->count & (names->count - 1))) {
        size_t room = names->count ? names->count * 2 : 1;
        char **list = realloc(names->list, room * sizeof(*list));
        if (!list)
            return false;
        names->list = list;
    }
    names->list[names->count] = strdup(name);
    return names->list[names->count++] != NULL;
}

static void read_names(DIR *folder, struct names *names)
{
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] != '.' && !add_name(names, entry->d_name))
            break;
    }
    if (names->count)
        qsort(names->list, names->count, sizeof(*names->list), compare_names);
}

bool host_each(const struct host_root *root, const char *path,
               bool (*each)(void *context, const char *name), void *context)
{
    struct names names = {0};
    int fd = openat(root->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    read_names(folder, &names);
    closedir(folder);
    bool more = true;
    for (size_t i = 0; i < names.count; i++) {
        if (more && root->record >= 0) {
            char entry_path[512];
            snprintf(entry_path, sizeof(entry_path), "%s/%s", path, names.list[i]);
            host_has(root, entry_path);
        }
        more = more && names.list[i] && each(context, names.list[i]);
        free(names.list[i]);
    }
    free(names.list);
    return true;
}
