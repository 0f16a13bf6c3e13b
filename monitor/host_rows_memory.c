// SPDX-License-Identifier: Apache-2.0
// Rows about memory.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_rows.h"

#define HUGE "sys/kernel/mm/hugepages/hugepages-2048kB"
#define THP  "sys/kernel/mm/transparent_hugepage"

static enum host_status look_at_nodes(const struct host_view *view, char *value, size_t size)
{
    unsigned nodes = topology_nodes(view->root);
    snprintf(value, size, "%u node%s", nodes, nodes == 1 ? "" : "s");
    return nodes > 1 ? HOST_ENFORCED : HOST_ABSENT;
}

// The word in brackets of a choice of the kernel: "always [madvise] never".
static bool read_choice(const struct host_root *root, const char *path, char *word, size_t size)
{
    char text[128];
    if (host_read(root, path, text, sizeof(text)) <= 0)
        return false;
    char *begin = strchr(text, '[');
    char *end = begin ? strchr(begin, ']') : NULL;
    if (!end)
        return false;
    snprintf(word, size, "%.*s", (int)(end - begin - 1), begin + 1);
    return true;
}

static enum host_status look_at_huge(const struct host_view *view, char *value, size_t size)
{
    uint64_t pages = 0;
    uint64_t left = 0;
    host_read_u64(view->root, HUGE "/nr_hugepages", &pages);
    host_read_u64(view->root, HUGE "/free_hugepages", &left);
    snprintf(value, size, "%llu of 2 MiB reserved, %llu free", (unsigned long long)pages,
             (unsigned long long)left);
    return pages ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_transparent(const struct host_view *view, char *value, size_t size)
{
    char shared[32] = "none";
    char own[32] = "none";
    bool known = read_choice(view->root, THP "/shmem_enabled", shared, sizeof(shared));
    read_choice(view->root, THP "/enabled", own, sizeof(own));
    snprintf(value, size, "shared memory: %s, private: %s", shared, own);
    if (known && strcmp(shared, "never") != 0 && strcmp(shared, "deny") != 0)
        return HOST_ENFORCED;
    return !strcmp(own, "always") || !strcmp(own, "madvise") ? HOST_BEST_EFFORT : HOST_ABSENT;
}

static enum host_status look_at_ksm(const struct host_view *view, char *value, size_t size)
{
    uint64_t run = 0;
    if (!host_has(view->root, "sys/kernel/mm/ksm/run")) {
        bool known = host_has(view->root, "sys/kernel/mm");
        snprintf(value, size, "%s", known ? "not in this kernel" : "unknown");
        return known ? HOST_ENFORCED : HOST_ABSENT;
    }
    if (!host_read_u64(view->root, "sys/kernel/mm/ksm/run", &run) || run > 2) {
        snprintf(value, size, "unknown: /sys/kernel/mm/ksm/run is no number from 0 to 2");
        return HOST_ABSENT;
    }
    snprintf(value, size, "%s", run == 1 ? "merges pages of who asks for it" : "off");
    return run == 1 ? HOST_BEST_EFFORT : HOST_ENFORCED;
}

static enum host_status look_at_swap(const struct host_view *view, char *value, size_t size)
{
    char text[4096];
    int length = host_read(view->root, "proc/swaps", text, sizeof(text));
    // The first line is the heading.
    if (length < 0 || strncmp(text, "Filename", 8) != 0) {
        snprintf(value, size, "unknown: %s /proc/swaps", length < 0 ? "no" : "nothing known in");
        return HOST_ABSENT;
    }
    bool used = strchr(text, '\n') != NULL;
    snprintf(value, size, "%s", used ? "there is some" : "none");
    return used ? HOST_ABSENT : HOST_ENFORCED;
}

static enum host_status look_at_lock(const struct host_view *view, char *value, size_t size)
{
    const char *limit = view->facts->text[FACT_MEMORY_LOCK];
    bool unlimited = !strcmp(limit, "unlimited");
    unsigned long long bytes = strtoull(limit, NULL, 10);
    if (unlimited)
        snprintf(value, size, "unlimited");
    else
        snprintf(value, size, "%llu KiB", bytes >> 10);
    if (unlimited)
        return HOST_ENFORCED;
    return bytes ? HOST_BEST_EFFORT : HOST_ABSENT;
}

static enum host_status look_at_cores(const struct host_view *view, char *value, size_t size)
{
    uint64_t dumpable = 0;
    if (!host_read_u64(view->root, "proc/sys/fs/suid_dumpable", &dumpable)) {
        snprintf(value, size, "unknown");
        return HOST_ABSENT;
    }
    snprintf(value, size, "the VMM is not dumpable, suid_dumpable is %llu",
             (unsigned long long)dumpable);
    return dumpable == 0 ? HOST_ENFORCED : HOST_BEST_EFFORT;
}

static bool count_controller(void *context, const char *name)
{
    unsigned *count = context;
    *count += !strncmp(name, "mc", 2) && name[2] >= '0' && name[2] <= '9';
    return true;
}

static enum host_status look_at_errors(const struct host_view *view, char *value, size_t size)
{
    unsigned count = 0;
    host_each(view->root, "sys/devices/system/edac/mc", count_controller, &count);
    snprintf(value, size, "%u memory controller%s reported by EDAC", count, count == 1 ? "" : "s");
    return count ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_verity(const struct host_view *view, char *value, size_t size)
{
    bool there = host_has(view->root, "sys/fs/ext4/features/verity") ||
                 host_has(view->root, "sys/fs/f2fs/features/verity");
    snprintf(value, size, "%s", there ? "in this kernel" : "not in this kernel");
    // Whether a file has it is looked at when it is used.
    return there ? HOST_BEST_EFFORT : HOST_ABSENT;
}

const struct host_rule host_memory_rules[] = {
    {"numa", look_at_nodes,
     "Model and hypervisor share one memory controller, whose load each can feel.",
     "Use a host with two sockets, or split the socket in the firmware (NPS2, SNC).", HOST_ABSENT,
     HOST_ABSENT, true},
    {"huge-pages", look_at_huge,
     "Page walks leave traces in caches that are finer than 2 MiB; also, it is slower.",
     "guillotine host tune --apply --huge-pages SIZE, or kernel parameter hugepages=N.",
     HOST_ABSENT, HOST_ABSENT, false},
    {"transparent-huge-pages", look_at_transparent,
     "As huge-pages, for VMs that have no reserved ones.",
     "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled", HOST_ABSENT, HOST_ABSENT,
     false},
    {"ksm", look_at_ksm,
     "The model could learn what others have in memory from the time that a write to a merged "
     "page takes.",
     "guillotine host tune --apply, or echo 2 > /sys/kernel/mm/ksm/run", HOST_ABSENT, HOST_ENFORCED,
     false},
    {"swap", look_at_swap, "The model's memory could be written to a disk, and stay there.",
     "swapoff -a, and remove it from /etc/fstab.", HOST_ABSENT, HOST_ENFORCED, false},
    {"memory-lock", look_at_lock,
     "The kernel could take pages from the model and give them back: the model could time that.",
     "Run as root, or raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity in the unit).", HOST_ABSENT,
     HOST_ENFORCED, false},
    {"core-dumps", look_at_cores, "A crash could leave the model's memory in a file.",
     "sysctl fs.suid_dumpable=0", HOST_ABSENT, HOST_ENFORCED, false},
    {"memory-errors", look_at_errors,
     "The model could flip bits in memory that is not its own (Rowhammer), unnoticed.",
     "Use a host with ECC memory, and load its EDAC driver.", HOST_ABSENT, HOST_ENFORCED, false},
    {"weights-integrity", look_at_verity,
     "Somebody with rights to a weights file could change the model while it runs.",
     "Use private copies (weights: copy) or a file system with fs-verity.", HOST_ABSENT,
     HOST_ABSENT, false},
};
const unsigned host_memory_rule_count = sizeof(host_memory_rules) / sizeof(host_memory_rules[0]);
