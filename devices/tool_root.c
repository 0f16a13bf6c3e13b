// SPDX-License-Identifier: Apache-2.0
// The file system that an MCP server sees.
#include "tool_root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Where the new root is put together. What the host has there is taken along before.
#define WORKPLACE "/tmp"

#define TEMPORARY_OPTIONS "size=64m,nr_inodes=16384,mode=1777"

#define MAX_TREES (2 * TOOL_MAX_PATHS + 32)

// Flags of AT_* functions that musl's headers lack.
#define TREE_RECURSIVE 0x8000u // AT_RECURSIVE

#define UNMOUNT_DETACH 2 // MNT_DETACH; <sys/mount.h> and <linux/mount.h> exclude each other

// A part of the host's file system on its way into the new root.
struct tree {
    const char *path;
    int fd;
    bool is_folder;
    bool is_writable;
};

struct trees {
    struct tree list[MAX_TREES];
    unsigned count;
};

static int fail(struct error *err, const char *what, const char *path)
{
    return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "the server's sandbox: %s %s", what,
                     path);
}

// Nothing in a server's view has set-user-ID bits or devices that work; what it may write, it may
// not execute.
static uint64_t attributes_of(bool is_writable, bool is_device)
{
    uint64_t attributes = MOUNT_ATTR_NOSUID;
    if (!is_device)
        attributes |= MOUNT_ATTR_NODEV;
    return attributes | (is_writable ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_RDONLY);
}

static int take_tree(struct trees *trees, const char *path, bool is_writable, struct error *err)
{
    struct stat status;
    if (trees->count == MAX_TREES)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the server's sandbox: too many mounts");
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | TREE_RECURSIVE);
    if (fd < 0 || fstat(fd, &status) < 0)
        return fail(err, "look at", path);
    bool is_device = S_ISCHR(status.st_mode);
    struct mount_attr attributes = {.attr_set = attributes_of(is_writable, is_device)};
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | TREE_RECURSIVE, &attributes,
                sizeof(attributes)) < 0)
        return fail(err, "restrict", path);
    trees->list[trees->count++] = (struct tree){path, fd, S_ISDIR(status.st_mode), is_writable};
    return 0;
}

// Makes the folders above a path of the new root, which is the current folder. `path` begins with
// a slash.
static int make_parents(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof(part))
        return -1;
    memcpy(part, path, length + 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part + 1, 0755) < 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return 0;
}

static int put_tree(const struct tree *tree, struct error *err)
{
    const char *target = tree->path + 1;
    if (make_parents(tree->path) < 0)
        return fail(err, "make room for", tree->path);
    if (tree->is_folder) {
        if (mkdir(target, 0755) < 0 && errno != EEXIST)
            return fail(err, "make room for", tree->path);
    } else {
        int fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 && errno != EEXIST)
            return fail(err, "make room for", tree->path);
        close(fd);
    }
    if (syscall(SYS_move_mount, tree->fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail(err, "show", tree->path);
    close(tree->fd);
    return 0;
}

static int take_system(struct trees *trees, bool network, struct error *err)
{
    static const struct {
        const char *path;
        bool for_network;
    } parts[] = {
        {"/usr", false},
        {"/etc/ld.so.cache", false},
        {"/etc/alternatives", false},
        {"/etc/localtime", false},
        {"/dev/null", false},
        {"/dev/zero", false},
        {"/dev/full", false},
        {"/dev/random", false},
        {"/dev/urandom", false},
        {"/etc/ssl", true},
        {"/etc/hosts", true},
        {"/etc/resolv.conf", true},
        {"/etc/nsswitch.conf", true},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if ((network || !parts[i].for_network) && access(parts[i].path, F_OK) == 0 &&
            take_tree(trees, parts[i].path, false, err) < 0)
            return -1;
    }
    return 0;
}

// Folders that are links into /usr today, and were folders once.
static const char *const merged[] = {"/bin", "/sbin", "/lib", "/lib64"};

static int take_merged(struct trees *trees, struct error *err)
{
    struct stat status;
    for (size_t i = 0; i < sizeof(merged) / sizeof(merged[0]); i++) {
        if (lstat(merged[i], &status) == 0 && S_ISDIR(status.st_mode) &&
            take_tree(trees, merged[i], false, err) < 0)
            return -1;
    }
    return 0;
}

static int link_merged(struct error *err)
{
    for (size_t i = 0; i < sizeof(merged) / sizeof(merged[0]); i++) {
        char target[PATH_MAX];
        ssize_t length = readlink(merged[i], target, sizeof(target) - 1);
        if (length < 0)
            continue;
        target[length] = '\0';
        if (symlink(target, merged[i] + 1) < 0)
            return fail(err, "link", merged[i]);
    }
    return 0;
}

static int mount_new(const char *type, const char *path, const char *options, uint64_t attributes)
{
    int result = -1;
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0)
        return -1;
    char list[128];
    char *rest = list;
    snprintf(list, sizeof(list), "%s", options);
    for (char *option; (option = strsep(&rest, ","));) {
        char *value = strchr(option, '=');
        if (!value)
            continue;
        *value++ = '\0';
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, option, value, 0);
    }
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        int fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
        if (fd >= 0)
            result = (int)syscall(SYS_move_mount, fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
        if (fd >= 0)
            close(fd);
    }
    close(context);
    return result;
}

static int make_places(struct error *err)
{
    const uint64_t plain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    static const char *const folders[] = {"tmp", "run", "proc", "dev", "etc"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (mkdir(folders[i], 0755) < 0)
            return fail(err, "make", folders[i]);
    }
    if (mount_new("tmpfs", "tmp", TEMPORARY_OPTIONS, plain) < 0)
        return fail(err, "mount", "/tmp");
    // Its own processes, nothing of the host. Containers may deny it: then there is none.
    (void)mount_new("proc", "proc", "subset=pid", plain);
    return 0;
}

static int swap_roots(struct error *err)
{
    struct mount_attr sealed = {.attr_set = MOUNT_ATTR_RDONLY};
    if (syscall(SYS_pivot_root, ".", ".") < 0 || syscall(SYS_umount2, ".", UNMOUNT_DETACH) < 0 ||
        chdir("/") < 0)
        return fail(err, "enter", "the new root");
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &sealed, sizeof(sealed)) < 0)
        return fail(err, "seal", "the new root");
    return 0;
}

int tool_root_enter(const struct tool_grant_view *view, struct error *err)
{
    struct trees trees = {.count = 0};
    const struct tool_grant *grant = view->grant;
    struct mount_attr private = {.propagation = 1u << 18}; // MS_PRIVATE
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/", TREE_RECURSIVE, &private, sizeof(private)) < 0)
        return fail(err, "separate", "/");
    if (take_system(&trees, grant->network, err) < 0 || take_merged(&trees, err) < 0)
        return -1;
    for (uint32_t i = 0; i < grant->read_count + grant->write_count; i++) {
        if (take_tree(&trees, view->paths[i], i >= grant->read_count, err) < 0)
            return -1;
    }
    if (mount_new("tmpfs", WORKPLACE, "size=1m,nr_inodes=4096,mode=0755",
                  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) < 0 ||
        chdir(WORKPLACE) < 0)
        return fail(err, "mount", "the new root");
    if (make_places(err) < 0 || link_merged(err) < 0)
        return -1;
    for (unsigned i = 0; i < trees.count; i++) {
        if (put_tree(&trees.list[i], err) < 0)
            return -1;
    }
    return swap_roots(err);
}
