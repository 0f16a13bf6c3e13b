// SPDX-License-Identifier: Apache-2.0
// Rows about cores, caches and who else runs on them.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "host_cores.h"
#include "host_rows.h"

#define CPU "sys/devices/system/cpu"

static enum host_status look_at_cores(const struct host_view *view, char *value, size_t size)
{
    enum host_cpuset cpuset = host_cpuset_kind(view->root);
    snprintf(value, size, "%u cores that share no private cache", view->domains);
    if (view->domains < 2)
        return HOST_ABSENT;
    return cpuset != HOST_CPUSET_NONE && host_view_says(view, FACT_ROOT) ? HOST_ENFORCED
                                                                         : HOST_BEST_EFFORT;
}

static enum host_status look_at_private_cache(const struct host_view *view, char *value,
                                              size_t size)
{
    bool known = host_has(view->root, CPU "/cpu0/cache/index0/level");
    if (!view->topology || view->domains < 2) {
        snprintf(value, size, "every core shares one");
        return HOST_ABSENT;
    }
    snprintf(value, size, "%s",
             known ? "first and second level of each core are its own" : "sysfs lists no caches");
    return known ? HOST_ENFORCED : HOST_BEST_EFFORT;
}

static enum host_status look_at_smt(const struct host_view *view, char *value, size_t size)
{
    char control[64] = "unknown";
    host_read(view->root, CPU "/smt/control", control, sizeof(control));
    bool active = host_says(view->root, CPU "/smt/active", "1") ||
                  (view->topology && topology_has_smt(view->topology));
    snprintf(value, size, "%s (%s)", active ? "on" : "off", control);
    if (active)
        return host_view_says(view, FACT_CORE_SCHEDULING) ? HOST_BEST_EFFORT : HOST_ABSENT;
    return view->topology ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_core_scheduling(const struct host_view *view, char *value,
                                                size_t size)
{
    bool there = host_view_says(view, FACT_CORE_SCHEDULING);
    snprintf(value, size, "%s", there ? "available" : "not in this kernel, or no hardware threads");
    return there ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_cpuset(const struct host_view *view, char *value, size_t size)
{
    static const char *const kinds[] = {
        [HOST_CPUSET_NONE] = "no cpuset controller",
        [HOST_CPUSET_V1] = "cgroup v1 cpuset",
        [HOST_CPUSET_V2] = "cgroup v2 isolated partition",
    };
    enum host_cpuset kind = host_cpuset_kind(view->root);
    bool may = host_view_says(view, FACT_ROOT);
    snprintf(value, size, "%s%s", kinds[kind], may || !kind ? "" : ", but only root may use it");
    if (!may || kind == HOST_CPUSET_NONE)
        return HOST_ABSENT;
    return kind == HOST_CPUSET_V2 ? HOST_ENFORCED : HOST_BEST_EFFORT;
}

static bool count_interrupt(void *context, const char *name)
{
    unsigned *count = context;
    *count += isdigit((unsigned char)name[0]) != 0;
    return true;
}

static enum host_status look_at_interrupts(const struct host_view *view, char *value, size_t size)
{
    unsigned count = 0;
    host_each(view->root, "proc/irq", count_interrupt, &count);
    snprintf(value, size, "%u interrupts%s", count,
             host_view_says(view, FACT_ROOT) ? "" : ", which only root may move");
    return count && host_view_says(view, FACT_ROOT) ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_list(const struct cpu_list *list, char *value, size_t size)
{
    char cpus[128];
    cpu_list_format(list, cpus, sizeof(cpus));
    snprintf(value, size, "%s%s", cpu_list_count(list) ? "CPUs " : "none", cpus);
    return cpu_list_count(list) ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_tick(const struct host_view *view, char *value, size_t size)
{
    static const struct cpu_list none;
    return look_at_list(view->topology ? &view->topology->nohz_full : &none, value, size);
}

static enum host_status look_at_isolated(const struct host_view *view, char *value, size_t size)
{
    static const struct cpu_list none;
    return look_at_list(view->topology ? &view->topology->isolated : &none, value, size);
}

// The ways of the last-level cache that can be given away: a mask in hexadecimal digits.
static bool read_ways(const struct host_root *root, const char *path, char *mask, size_t size)
{
    return host_read(root, path, mask, size) > 0 &&
           strspn(mask, "0123456789abcdef") == strlen(mask);
}

static enum host_status look_at_cache_parts(const struct host_view *view, char *value, size_t size)
{
    char mask[64];
    if (read_ways(view->root, "sys/fs/resctrl/info/L3/cbm_mask", mask, sizeof(mask)) ||
        read_ways(view->root, "sys/fs/resctrl/info/L3CODE/cbm_mask", mask, sizeof(mask))) {
        snprintf(value, size, "last level, ways %.32s", mask);
        return HOST_ENFORCED;
    }
    if (host_view_has_flag(view, "cat_l3")) {
        snprintf(value, size, "the processor can; resctrl is not mounted");
        return HOST_BEST_EFFORT;
    }
    snprintf(value, size, "%s", host_view_has_flag(view, "cat_l2") ? "second level only" : "none");
    return HOST_ABSENT;
}

static enum host_status look_at_bandwidth(const struct host_view *view, char *value, size_t size)
{
    if (host_has(view->root, "sys/fs/resctrl/info/MB")) {
        snprintf(value, size, "available");
        return HOST_ENFORCED;
    }
    bool can = host_view_has_flag(view, "mba");
    snprintf(value, size, "%s", can ? "the processor can; resctrl is not mounted" : "none");
    return can ? HOST_BEST_EFFORT : HOST_ABSENT;
}

static enum host_status look_at_real_time(const struct host_view *view, char *value, size_t size)
{
    bool may = host_view_says(view, FACT_REAL_TIME);
    snprintf(value, size, "%s", may ? "permitted" : "not permitted");
    return may ? HOST_ENFORCED : HOST_ABSENT;
}

const struct host_rule host_core_rules[] = {
    {"core-isolation", look_at_cores,
     "The model could share a core with the code that mediates it, and watch it through caches, "
     "predictors and timing.",
     "Use a host with at least two physical cores, as root, with the cpuset controller.",
     HOST_BEST_EFFORT, HOST_ENFORCED, true},
    {"private-cache", look_at_private_cache,
     "The model could see which cache sets the hypervisor touches (Prime+Probe in L1 and L2).",
     "Use a host whose second-level caches are not shared between cores.", HOST_BEST_EFFORT,
     HOST_ENFORCED, true},
    {"smt", look_at_smt,
     "Another task on the hardware thread beside the model shares its L1 cache and execution "
     "units.",
     "Kernel parameter nosmt, or switch off SMT (Hyper-Threading) in the firmware.", HOST_ABSENT,
     HOST_BEST_EFFORT, true},
    {"core-scheduling", look_at_core_scheduling,
     "With SMT on, the kernel could run another task beside the model.",
     "A kernel with CONFIG_SCHED_CORE (5.14 or later), or nosmt.", HOST_ABSENT, HOST_ABSENT, true},
    {"cpuset-partition", look_at_cpuset,
     "Other tasks of the host could run on the model's core and be observed by it.",
     "Run as root; mount cgroup v2 with the cpuset controller "
     "(systemd.unified_cgroup_hierarchy=1).",
     HOST_ABSENT, HOST_BEST_EFFORT, false},
    {"irq-affinity", look_at_interrupts,
     "The model could feel the host's devices by the interrupts on its core.",
     "Run as root; do not run irqbalance over the model cores (IRQBALANCE_BANNED_CPULIST).",
     HOST_ABSENT, HOST_ABSENT, true},
    {"isolated-cpus", look_at_isolated,
     "The scheduler may put new tasks on a model core before they are moved away.",
     "Kernel parameter isolcpus=domain,managed_irq,LIST with the model cores.", HOST_ABSENT,
     HOST_ABSENT, true},
    {"timer-tick", look_at_tick,
     "The host's timer interrupts the model several hundred times a second on its own core.",
     "Kernel parameters nohz_full=LIST rcu_nocbs=LIST with the model cores.", HOST_ABSENT,
     HOST_ABSENT, true},
    {"cache-partitioning", look_at_cache_parts,
     "The model could watch the hypervisor, and other VMs, through the last-level cache.",
     "Mount resctrl (mount -t resctrl resctrl /sys/fs/resctrl) on a processor with cat_l3, or "
     "put mediation on another socket.",
     HOST_ABSENT, HOST_ENFORCED, true},
    {"memory-bandwidth", look_at_bandwidth,
     "The model could slow mediation down, and signal to other VMs, by using up the memory bus.",
     "Mount resctrl on a processor with mba.", HOST_ABSENT, HOST_ABSENT, true},
    {"real-time", look_at_real_time, "Under load the kernel may let other tasks delay mediation.",
     "Run as root, or raise RLIMIT_RTPRIO (LimitRTPRIO= in the unit).", HOST_ABSENT, HOST_ABSENT,
     false},
};
const unsigned host_core_rule_count = sizeof(host_core_rules) / sizeof(host_core_rules[0]);
