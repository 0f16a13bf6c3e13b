// SPDX-License-Identifier: Apache-2.0
// Rows about what a cell can do here: found by trying, in probe cells.
#include <stdio.h>
#include <string.h>

#include "host_rows.h"

static enum host_status look_at_backend(const struct host_view *view, char *value, size_t size)
{
    const char *kvm = view->facts->text[FACT_KVM];
    if (strcmp(kvm, "ok") != 0) {
        snprintf(value, size, "/dev/kvm: %s", *kvm ? kvm : "not there");
        return HOST_ABSENT;
    }
    bool hardware = !strcmp(view->backend, "vmx") || !strcmp(view->backend, "svm");
    snprintf(value, size, "%s%s", view->backend,
             hardware ? "" : ": instructions are not intercepted by the processor");
    return hardware ? HOST_ENFORCED : HOST_BEST_EFFORT;
}

static enum host_status look_at_nesting(const struct host_view *view, char *value, size_t size)
{
    char on[16] = "";
    if (!strcmp(view->backend, "vmx"))
        host_read(view->root, "sys/module/kvm_intel/parameters/ept", on, sizeof(on));
    else if (!strcmp(view->backend, "svm"))
        host_read(view->root, "sys/module/kvm_amd/parameters/npt", on, sizeof(on));
    bool is_on = on[0] == 'Y' || on[0] == '1';
    snprintf(value, size, "%s", is_on ? "on" : "off: KVM shadows the page tables");
    return is_on ? HOST_ENFORCED : HOST_ABSENT;
}

// The status of a probe that has to be stopped.
static enum host_status judge(const struct host_view *view, enum host_fact probe, const char *what,
                              char *value, size_t size)
{
    const char *found = view->facts->text[probe];
    if (!*found) {
        snprintf(value, size, "not probed: no cell could be run");
        return HOST_ABSENT;
    }
    bool stopped = !strncmp(found, "violation:", 10);
    snprintf(value, size, "%s %s%s%s", what, stopped ? "is stopped (" : "works",
             stopped ? found + 10 : "", stopped ? ")" : "");
    return stopped ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_tsc(const struct host_view *view, char *value, size_t size)
{
    return judge(view, FACT_PROBE_TSC, "rdtsc", value, size);
}

static enum host_status look_at_counters(const struct host_view *view, char *value, size_t size)
{
    return judge(view, FACT_PROBE_COUNTERS, "rdpmc", value, size);
}

static enum host_status look_at_port_io(const struct host_view *view, char *value, size_t size)
{
    return judge(view, FACT_PROBE_PORT_IO, "out", value, size);
}

static enum host_status look_at_cpuid(const struct host_view *view, char *value, size_t size)
{
    const char *found = view->facts->text[FACT_PROBE_CPUID];
    bool profile = !strcmp(found, "exit:0");
    snprintf(value, size, "%s",
             !*found   ? "not probed: no cell could be run"
             : profile ? "cells see the fixed profile"
                       : "cells see the host's processor");
    return profile ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_syscall(const struct host_view *view, char *value, size_t size)
{
    const char *found = view->facts->text[FACT_PROBE_SYSCALL];
    enum host_status status = judge(view, FACT_PROBE_SYSCALL, "syscall", value, size);
    // Else it jumps to an address that is not mapped: stopped too, but not by the processor.
    bool disabled = !strcmp(found, "violation:syscall") ||
                    !strcmp(found, "violation:invalid-opcode") ||
                    !strcmp(found, "violation:privileged");
    return status == HOST_ENFORCED && !disabled ? HOST_BEST_EFFORT : status;
}

static enum host_status look_at_code(const struct host_view *view, char *value, size_t size)
{
    char data[96];
    enum host_status code = judge(view, FACT_PROBE_WRITE_CODE, "a store to code", value, size);
    enum host_status run = judge(view, FACT_PROBE_RUN_DATA, "a call into data", data, sizeof(data));
    if (run < code)
        snprintf(value, size, "%s", data);
    return run < code ? run : code;
}

static enum host_status look_at_fact(const struct host_view *view, enum host_fact fact, char *value,
                                     size_t size)
{
    bool there = host_view_says(view, fact);
    snprintf(value, size, "%s", there ? "offered by KVM" : "not offered by KVM");
    return there ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_msrs(const struct host_view *view, char *value, size_t size)
{
    return look_at_fact(view, FACT_MSR_FILTER, value, size);
}

static enum host_status look_at_bus_lock(const struct host_view *view, char *value, size_t size)
{
    return look_at_fact(view, FACT_BUS_LOCK_EXIT, value, size);
}

static enum host_status look_at_notify(const struct host_view *view, char *value, size_t size)
{
    return look_at_fact(view, FACT_NOTIFY_EXIT, value, size);
}

const struct host_rule host_cell_rules[] = {
    {"kvm-backend", look_at_backend,
     "Without KVM no cell runs; a software KVM leaves some instructions to the model.",
     "Load kvm_intel or kvm_amd on bare metal, with VMX or SVM switched on in the firmware.",
     HOST_BEST_EFFORT, HOST_ENFORCED, false},
    {"nested-paging", look_at_nesting,
     "KVM emulates page tables in software: more code that the model can reach.",
     "Remove ept=0 or npt=0 from the module's options (/etc/modprobe.d).", HOST_ABSENT,
     HOST_ENFORCED, false},
    {"code-immutability", look_at_code, "The model could write code of its own and run it.",
     "None: do not run cells here, and report it.", HOST_ENFORCED, HOST_ENFORCED, false},
    {"tsc-access", look_at_tsc, "The model has a clock of nanoseconds, which side channels need.",
     "A KVM that runs on VMX or SVM.", HOST_ABSENT, HOST_ENFORCED, false},
    {"cpuid-interception", look_at_cpuid,
     "The model can tell hosts apart, and find faults of this processor.",
     "A KVM that runs on VMX or SVM.", HOST_ABSENT, HOST_ENFORCED, false},
    {"syscall-entry", look_at_syscall,
     "The model could enter ring 0 of its cell, where no code is meant for it.",
     "A KVM that runs on VMX or SVM.", HOST_BEST_EFFORT, HOST_ENFORCED, false},
    {"port-io", look_at_port_io, "The model could reach devices that KVM emulates.",
     "None: do not run cells here, and report it.", HOST_ENFORCED, HOST_ENFORCED, false},
    {"performance-counters", look_at_counters,
     "The model could measure caches and predictors with the processor's own counters.",
     "None: CR4.PCE is 0; report it.", HOST_ENFORCED, HOST_ENFORCED, false},
    {"msr-filter", look_at_msrs,
     "A model that has reached ring 0 of its cell could use registers that KVM emulates.",
     "A kernel of version 5.10 or later.", HOST_ABSENT, HOST_ENFORCED, false},
    {"bus-lock-exit", look_at_bus_lock,
     "The model could stall every core with locks that span two cache lines.",
     "An Intel processor of 2021 or later (bus lock detection), or split_lock_detect=fatal.",
     HOST_ABSENT, HOST_ABSENT, false},
    {"notify-exit", look_at_notify,
     "The model could keep its core from leaving the guest for long.",
     "An Intel processor of 2023 or later (notify VM exit).", HOST_ABSENT, HOST_ABSENT, false},
};
const unsigned host_cell_rule_count = sizeof(host_cell_rules) / sizeof(host_cell_rules[0]);
