// SPDX-License-Identifier: Apache-2.0
// What only system calls can tell about a host, and how it is recorded.
#include "host_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define FACTS_FILE "guillotine-facts"

// Older headers do not have them.
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE     62
#define PR_SCHED_CORE_GET 0
#endif
#ifndef KVM_CAP_X86_NOTIFY_VMEXIT
#define KVM_CAP_X86_NOTIFY_VMEXIT 219
#endif

static const char *const names[FACT_COUNT] = {
    [FACT_PROBE_TSC] = "probe-tsc",
    [FACT_PROBE_COUNTERS] = "probe-counters",
    [FACT_PROBE_CPUID] = "probe-cpuid",
    [FACT_PROBE_SYSCALL] = "probe-syscall",
    [FACT_PROBE_PORT_IO] = "probe-port-io",
    [FACT_PROBE_WRITE_CODE] = "probe-write-code",
    [FACT_PROBE_RUN_DATA] = "probe-run-data",
    [FACT_KVM] = "kvm",
    [FACT_MSR_FILTER] = "msr-filter",
    [FACT_BUS_LOCK_EXIT] = "bus-lock-exit",
    [FACT_NOTIFY_EXIT] = "notify-exit",
    [FACT_ROOT] = "root",
    [FACT_CORE_SCHEDULING] = "core-scheduling",
    [FACT_MEMORY_LOCK] = "memory-lock",
    [FACT_REAL_TIME] = "real-time",
    [FACT_STORE_BYPASS] = "store-bypass",
    [FACT_INDIRECT_BRANCH] = "indirect-branch",
};

static void set(struct host_facts *facts, enum host_fact fact, const char *text)
{
    snprintf(facts->text[fact], sizeof(facts->text[fact]), "%s", text);
}

static void set_bool(struct host_facts *facts, enum host_fact fact, bool value)
{
    set(facts, fact, value ? "yes" : "no");
}

static void ask_kvm(struct host_facts *facts)
{
    cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        set(facts, FACT_KVM, strerror(errno));
        return;
    }
    set(facts, FACT_KVM, ioctl(kvm, KVM_GET_API_VERSION, 0) == 12 ? "ok" : "another API version");
    set_bool(facts, FACT_MSR_FILTER, ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) > 0);
    set_bool(facts, FACT_BUS_LOCK_EXIT,
             ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT) > 0);
    set_bool(facts, FACT_NOTIFY_EXIT,
             ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_NOTIFY_VMEXIT) > 0);
}

// CAP_SYS_RESOURCE, which root in a container need not have.
static bool may_raise_limits(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective >> CAP_SYS_RESOURCE & 1);
}

void host_facts_collect(struct host_facts *facts)
{
    struct rlimit limit = {0};
    unsigned long cookie = 0;
    char text[32];
    ask_kvm(facts);
    set_bool(facts, FACT_ROOT, geteuid() == 0);
    set_bool(facts, FACT_CORE_SCHEDULING,
             prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, 0, (unsigned long)&cookie) == 0);
    getrlimit(RLIMIT_MEMLOCK, &limit);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)limit.rlim_max);
    bool unlimited = limit.rlim_max == RLIM_INFINITY || may_raise_limits();
    set(facts, FACT_MEMORY_LOCK, unlimited ? "unlimited" : text);
    getrlimit(RLIMIT_RTPRIO, &limit);
    set_bool(facts, FACT_REAL_TIME, limit.rlim_cur > 0 || geteuid() == 0);
    snprintf(text, sizeof(text), "%d",
             prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0));
    set(facts, FACT_STORE_BYPASS, text);
    snprintf(text, sizeof(text), "%d",
             prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0));
    set(facts, FACT_INDIRECT_BRANCH, text);
}

void host_facts_load(struct host_facts *facts, const struct host_root *root)
{
    char text[8192];
    *facts = (struct host_facts){0};
    if (host_read(root, FACTS_FILE, text, sizeof(text)) <= 0)
        return;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        char *value = strchr(line, ' ');
        if (!value)
            continue;
        *value++ = '\0';
        for (unsigned fact = 0; fact < FACT_COUNT; fact++) {
            if (!strcmp(names[fact], line))
                set(facts, fact, value);
        }
    }
}

int host_facts_store(const struct host_facts *facts, int folder, struct error *err)
{
    cleanup_fd int fd = openat(folder, FACTS_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, FACTS_FILE);
    for (unsigned fact = 0; fact < FACT_COUNT; fact++) {
        char line[160];
        int length = snprintf(line, sizeof(line), "%s %s\n", names[fact], facts->text[fact]);
        if (facts->text[fact][0] && file_write(fd, line, (size_t)length, err) < 0)
            return -1;
    }
    return 0;
}
