// SPDX-License-Identifier: Apache-2.0
// Hosts that do not exist: folders with the files of /sys and /proc that a test wants.
#ifndef TESTS_UNIT_HOST_TREE_H
#define TESTS_UNIT_HOST_TREE_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_root.h"

struct host_tree {
    char folder[64];
    struct host_root root;
};

static inline int host_tree_remove_one(const char *path, const struct stat *status, int type,
                                       struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

static inline void host_tree_open(struct host_tree *tree)
{
    snprintf(tree->folder, sizeof(tree->folder), "/tmp/test-host-XXXXXX");
    cr_assert(mkdtemp(tree->folder));
    cr_assert_eq(host_root_open(&tree->root, tree->folder, NULL), 0);
}

static inline void host_tree_close(struct host_tree *tree)
{
    host_root_close(&tree->root);
    nftw(tree->folder, host_tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// Writes a file, with the folders that it is in.
static inline void host_tree_write(const struct host_tree *tree, const char *path,
                                   const char *format, ...) __attribute__((format(printf, 3, 4)));
static inline void host_tree_write(const struct host_tree *tree, const char *path,
                                   const char *format, ...)
{
    char full[512];
    va_list arguments;
    snprintf(full, sizeof(full), "%s/%s", tree->folder, path);
    for (char *at = full + strlen(tree->folder) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(full, 0755);
        *at = '/';
    }
    FILE *file = fopen(full, "we");
    cr_assert(file, "%s", full);
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fputc('\n', file);
    fclose(file);
}

// A CPU whose core has the CPUs `core`; second-level cache of `second`, third level of `third`
// ("": has none), on a node.
static inline void host_tree_cpu(const struct host_tree *tree, unsigned cpu, const char *core,
                                 const char *second, const char *third, unsigned node)
{
    static const char *const levels[] = {"1", "2", "3"};
    const char *const shared[] = {core, second, third};
    char path[160];
    snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/core_cpus_list", cpu);
    host_tree_write(tree, path, "%s", core);
    snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/core_id", cpu);
    host_tree_write(tree, path, "%u", cpu);
    snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/physical_package_id", cpu);
    host_tree_write(tree, path, "%u", node);
    for (unsigned i = 0; i < 3; i++) {
        if (!*shared[i])
            continue;
        snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/cache/index%u/level", cpu, i);
        host_tree_write(tree, path, "%s", levels[i]);
        snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/cache/index%u/shared_cpu_list",
                 cpu, i);
        host_tree_write(tree, path, "%s", shared[i]);
    }
}

static inline void host_tree_online(const struct host_tree *tree, const char *cpus)
{
    host_tree_write(tree, "sys/devices/system/cpu/online", "%s", cpus);
}

static inline void host_tree_node(const struct host_tree *tree, unsigned node, const char *cpus)
{
    char path[96];
    snprintf(path, sizeof(path), "sys/devices/system/node/node%u/cpulist", node);
    host_tree_write(tree, path, "%s", cpus);
}

#endif
