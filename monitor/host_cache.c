// SPDX-License-Identifier: Apache-2.0
// Parts of the last-level cache that a model has alone.
#include "host_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_originals.h"

#define RESCTRL "sys/fs/resctrl"
#define PREFIX  "guillotine."

// The lines of a schemata file that speak of the last level: with code and data apart, two.
static const char *const resources[] = {"L3", "L3CODE", "L3DATA"};

struct slice_search {
    const struct host_root *root;
    bool taken[HOST_CACHE_SLICES];
    unsigned groups;
};

static bool look_at_group(void *context, const char *name)
{
    struct slice_search *search = context;
    char path[256];
    uint64_t slice;
    if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
        return true;
    search->groups++;
    // Which slice it has stands beside the reservations: a group has no room for it.
    snprintf(path, sizeof(path), HOST_STATE_FOLDER "/cache-%s", name + sizeof(PREFIX) - 1);
    if (host_read_u64(search->root, path, &slice) && slice < HOST_CACHE_SLICES)
        search->taken[slice] = true;
    return true;
}

static bool read_mask(const struct host_root *root, const char *resource, uint64_t *mask,
                      uint64_t *minimum)
{
    char path[128];
    char text[64];
    snprintf(path, sizeof(path), RESCTRL "/info/%s/cbm_mask", resource);
    if (host_read(root, path, text, sizeof(text)) <= 0)
        return false;
    *mask = strtoull(text, NULL, 16);
    snprintf(path, sizeof(path), RESCTRL "/info/%s/min_cbm_bits", resource);
    return *mask && host_read_u64(root, path, minimum);
}

// The ways of a slice, or of everybody else (slice -1). Zero: the cache has too few.
static uint64_t ways_of(uint64_t mask, uint64_t minimum, int slice)
{
    unsigned ways = (unsigned)__builtin_popcountll(mask);
    unsigned each = ways / 2 / HOST_CACHE_SLICES;
    if (!each || each < minimum || ways > 63)
        return 0;
    if (slice >= 0)
        return ((1ull << each) - 1) << ((unsigned)slice * each);
    return mask & ~((1ull << (each * HOST_CACHE_SLICES)) - 1);
}

// Writes the masks of one resource for every cache there is, as the root group lists them. False if
// the host has no such resource or refuses.
static bool write_schemata(const struct host_root *root, const char *group, const char *resource,
                           int slice)
{
    char text[HOST_SETTING_MAX * 4];
    char line[HOST_SETTING_MAX];
    char name[32];
    uint64_t mask;
    uint64_t minimum;
    if (!read_mask(root, resource, &mask, &minimum) ||
        host_read(root, RESCTRL "/schemata", text, sizeof(text)) <= 0)
        return false;
    uint64_t ways = slice == -2 ? mask : ways_of(mask, minimum, slice);
    snprintf(name, sizeof(name), "%s:", resource);
    char *rest = text;
    for (char *found = strsep(&rest, "\n"); found; found = strsep(&rest, "\n")) {
        found += strspn(found, " ");
        if (strncmp(found, name, strlen(name)) != 0 || !ways)
            continue;
        size_t used = (size_t)snprintf(line, sizeof(line), "%s", name);
        char *caches = found + strlen(name);
        for (char *cache = strsep(&caches, ";"); cache; cache = strsep(&caches, ";")) {
            unsigned long id = strtoul(cache, NULL, 10);
            int n = snprintf(line + used, sizeof(line) - used, "%s%lu=%llx",
                             line[used - 1] == ':' ? "" : ";", id, (unsigned long long)ways);
            if (n < 0 || (size_t)n >= sizeof(line) - used - 1)
                return false;
            used += (size_t)n;
        }
        line[used] = '\n';
        line[used + 1] = '\0';
        char path[256];
        snprintf(path, sizeof(path), RESCTRL "%s/schemata", group);
        return host_write(root, path, line) == 0;
    }
    return false;
}

struct tasks_move {
    const struct host_root *root;
    const char *group;
    pid_t vmm;
    unsigned moved;
};

static bool move_vcpu(void *context, const char *name)
{
    struct tasks_move *move = context;
    char path[256];
    snprintf(path, sizeof(path), "proc/%d/task/%s/comm", move->vmm, name);
    if (!host_says(move->root, path, "vcpu"))
        return true;
    snprintf(path, sizeof(path), RESCTRL "%s/tasks", move->group);
    move->moved += host_write(move->root, path, name) == 0;
    return true;
}

// Everybody else: half of the ways while any VM has a part, all of them otherwise.
static bool restrict_others(const struct host_root *root, bool restricted)
{
    bool done = false;
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
        done = write_schemata(root, "", resources[i], restricted ? -1 : -2) || done;
    return done;
}

unsigned host_cache_assign(const struct host_root *root, const struct host_reservation *reservation,
                           pid_t vmm)
{
    struct slice_search search = {.root = root};
    char group[128];
    char path[256];
    char text[16];
    uint64_t mask;
    uint64_t minimum;
    if (!host_each(root, RESCTRL, look_at_group, &search))
        return 0;
    unsigned slice = 0;
    while (slice < HOST_CACHE_SLICES && search.taken[slice])
        slice++;
    if (slice == HOST_CACHE_SLICES)
        return 0;
    snprintf(group, sizeof(group), "/" PREFIX "%s", reservation->id);
    snprintf(path, sizeof(path), RESCTRL "%s", group);
    if (mkdirat(root->fd, path, 0755) < 0)
        return 0;
    snprintf(path, sizeof(path), HOST_STATE_FOLDER "/cache-%s", reservation->id);
    snprintf(text, sizeof(text), "%u", slice);
    int file = openat(root->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0)
        close(file);
    unsigned ways = 0;
    bool written = host_write(root, path, text) == 0;
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]) && written; i++) {
        if (write_schemata(root, group, resources[i], (int)slice) &&
            read_mask(root, resources[i], &mask, &minimum))
            ways = (unsigned)__builtin_popcountll(ways_of(mask, minimum, (int)slice));
    }
    struct tasks_move move = {.root = root, .group = group, .vmm = vmm};
    snprintf(path, sizeof(path), "proc/%d/task", vmm);
    host_each(root, path, move_vcpu, &move);
    if (ways && move.moved && restrict_others(root, true))
        return ways;
    host_cache_release(root, reservation->id);
    return 0;
}

void host_cache_release(const struct host_root *root, const char *id)
{
    struct slice_search search = {.root = root};
    char path[256];
    snprintf(path, sizeof(path), RESCTRL "/" PREFIX "%s", id);
    unlinkat(root->fd, path, AT_REMOVEDIR);
    snprintf(path, sizeof(path), HOST_STATE_FOLDER "/cache-%s", id);
    unlinkat(root->fd, path, 0);
    if (host_each(root, RESCTRL, look_at_group, &search) && !search.groups)
        restrict_others(root, false);
}
