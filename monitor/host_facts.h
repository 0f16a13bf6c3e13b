// SPDX-License-Identifier: Apache-2.0
// What only system calls and probe cells can tell about a host: as texts, so that a recorded host
// has the same.
#ifndef MONITOR_HOST_FACTS_H
#define MONITOR_HOST_FACTS_H

#include "host_root.h"

#define HOST_PROBE_FAULT " by a page fault"

enum host_fact {
    // What probe cells came to: "exit:N", "violation:KIND" (with HOST_PROBE_FAULT if that was a
    // page fault), or "" if none ran.
    FACT_PROBE_TSC,
    FACT_PROBE_COUNTERS,
    FACT_PROBE_CPUID,
    FACT_PROBE_SYSCALL,
    FACT_PROBE_PORT_IO,
    FACT_PROBE_WRITE_CODE,
    FACT_PROBE_RUN_DATA,
    FACT_PROBES, // end of those

    FACT_KVM = FACT_PROBES, // "ok", or why /dev/kvm cannot be used
    FACT_MSR_FILTER,        // of KVM: "yes" or "no"
    FACT_BUS_LOCK_EXIT,
    FACT_NOTIFY_EXIT,
    FACT_ROOT,            // "yes" if the caller may change the host
    FACT_CORE_SCHEDULING, // "yes", "no"
    FACT_MEMORY_LOCK,     // bytes, or "unlimited"
    FACT_REAL_TIME,       // "yes" if real-time priorities are permitted
    FACT_STORE_BYPASS,    // PR_GET_SPECULATION_CTRL, a number
    FACT_INDIRECT_BRANCH,
    FACT_COUNT,
};

struct host_facts {
    char text[FACT_COUNT][96];
};

// Asks the kernel and KVM.
void host_facts_collect(struct host_facts *facts);

// Runs a probe cell for each of FACT_PROBE_*, about 10 ms each. Those that cannot run stay empty.
// `programs` is where guillotine is; the cells leave nothing behind.
void host_facts_probe(struct host_facts *facts);

// Reads, or writes, the facts of a recorded host: lines "NAME VALUE" in guillotine-facts. What is
// not in there is empty.
void host_facts_load(struct host_facts *facts, const struct host_root *root);
int host_facts_store(const struct host_facts *facts, int folder, struct error *err);

#endif
