// SPDX-License-Identifier: Apache-2.0
// Rows about the kernel and the machine.
#include <stdio.h>
#include <string.h>

#include "host_rows.h"

#define VULNERABILITIES "sys/devices/system/cpu/vulnerabilities"

static enum host_status look_at_metal(const struct host_view *view, char *value, size_t size)
{
    char product[64] = "";
    host_read(view->root, "sys/class/dmi/id/product_name", product, sizeof(product));
    snprintf(value, size, "%s%s%s",
             !view->flags[2]     ? "unknown: /proc/cpuinfo does not say"
             : view->virtualised ? "a virtual machine"
                                 : "bare metal",
             *product ? ": " : "", product);
    return view->virtualised ? HOST_ABSENT : HOST_ENFORCED;
}

struct weaknesses {
    const struct host_view *view;
    char names[120]; // of those that the kernel does nothing about, or says nothing known about
    unsigned files;
    unsigned vulnerable;
    unsigned partly;
};

// True if the kernel says that a weakness is not there, or is dealt with. Everything else
// ("Vulnerable", "Unknown", "KVM: Vulnerable", "Processor vulnerable") is not.
static bool is_mended(const char *text)
{
    static const char *const words[] = {"Not affected", "Mitigation: ", "KVM: Mitigation: "};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!strncmp(text, words[i], strlen(words[i])))
            return true;
    }
    return false;
}

static bool look_at_weakness(void *context, const char *name)
{
    struct weaknesses *found = context;
    char path[256];
    char text[512];
    snprintf(path, sizeof(path), VULNERABILITIES "/%s", name);
    if (host_read(found->view->root, path, text, sizeof(text)) <= 0)
        return true;
    found->files++;
    if (is_mended(text)) {
        // "SMT vulnerable", "BHI: Vulnerable", "VMX: vulnerable" behind a mitigation.
        found->partly += strstr(text, "ulnerable") != NULL;
        return true;
    }
    size_t used = strlen(found->names);
    snprintf(found->names + used, sizeof(found->names) - used, "%s%s", used ? ", " : "", name);
    found->vulnerable++;
    return true;
}

static enum host_status look_at_weaknesses(const struct host_view *view, char *value, size_t size)
{
    struct weaknesses found = {.view = view};
    host_each(view->root, VULNERABILITIES, look_at_weakness, &found);
    if (!found.files) {
        snprintf(value, size, "the kernel does not say");
        return HOST_ABSENT;
    }
    if (found.vulnerable)
        snprintf(value, size, "vulnerable: %s", found.names);
    else
        snprintf(value, size, "%u known, none without mitigation%s", found.files,
                 found.partly ? ", some only in part" : "");
    if (found.vulnerable)
        return HOST_ABSENT;
    return found.partly ? HOST_BEST_EFFORT : HOST_ENFORCED;
}

// Whether a process can switch a kind of speculation off for itself (bits of PR_SPEC_*).
static bool is_controllable(const char *fact)
{
    uint64_t state;
    if (number_parse(fact, 0, UINT32_MAX, &state, NULL) < 0)
        return false; // nobody asked, or the kernel does not know the question
    // 0: not affected, 1: per process, 4: off for everybody.
    return state == 0 || (state & (1 | 4));
}

static enum host_status look_at_speculation(const struct host_view *view, char *value, size_t size)
{
    const char *bypass = view->facts->text[FACT_STORE_BYPASS];
    const char *branch = view->facts->text[FACT_INDIRECT_BRANCH];
    bool first = is_controllable(bypass);
    bool second = is_controllable(branch);
    snprintf(value, size, "store bypass: %s, indirect branches: %s", first ? "yes" : "no",
             second ? "yes" : "no");
    if (first && second)
        return HOST_ENFORCED;
    return first || second ? HOST_BEST_EFFORT : HOST_ABSENT;
}

static enum host_status look_at_microcode(const struct host_view *view, char *value, size_t size)
{
    char version[32] = "";
    char old[64] = "";
    host_read(view->root, "sys/devices/system/cpu/cpu0/microcode/version", version,
              sizeof(version));
    host_read(view->root, VULNERABILITIES "/old_microcode", old, sizeof(old));
    // What a guest sees of its microcode is what its host likes to show.
    if (view->virtualised || !*version) {
        snprintf(value, size, "%s",
                 view->virtualised ? "hidden by the outer hypervisor" : "the kernel does not say");
        return HOST_ABSENT;
    }
    snprintf(value, size, "%s%s%s", version, *old ? ", old microcode: " : "", old);
    if (!*old)
        return HOST_BEST_EFFORT;
    return !strcmp(old, "Not affected") ? HOST_ENFORCED : HOST_ABSENT;
}

static bool count_entry(void *context, const char *name)
{
    unsigned *count = context;
    (void)name;
    (*count)++;
    return true;
}

static enum host_status look_at_iommu(const struct host_view *view, char *value, size_t size)
{
    unsigned groups = 0;
    host_each(view->root, "sys/kernel/iommu_groups", count_entry, &groups);
    snprintf(value, size, "%u groups", groups);
    return groups ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_lockdown(const struct host_view *view, char *value, size_t size)
{
    char text[128];
    if (host_read(view->root, "sys/kernel/security/lockdown", text, sizeof(text)) <= 0) {
        snprintf(value, size, "not in this kernel, or securityfs is not mounted");
        return HOST_ABSENT;
    }
    snprintf(value, size, "%.60s", text);
    if (strstr(text, "[confidentiality]"))
        return HOST_ENFORCED;
    return strstr(text, "[integrity]") ? HOST_BEST_EFFORT : HOST_ABSENT;
}

static enum host_status look_at_watchdog(const struct host_view *view, char *value, size_t size)
{
    char identity[64] = "";
    host_read(view->root, "sys/class/watchdog/watchdog0/identity", identity, sizeof(identity));
    bool there = host_has(view->root, "sys/class/watchdog/watchdog0");
    bool software = strstr(identity, "Software") != NULL;
    snprintf(value, size, "%s", !there ? "none" : *identity ? identity : "there");
    if (!there)
        return HOST_ABSENT;
    return software ? HOST_BEST_EFFORT : HOST_ENFORCED;
}

static enum host_status look_at_seccomp(const struct host_view *view, char *value, size_t size)
{
    char actions[256];
    if (host_read(view->root, "proc/sys/kernel/seccomp/actions_avail", actions, sizeof(actions)) <=
            0 ||
        !strstr(actions, "kill_process")) {
        snprintf(value, size, "the kernel has no filters that kill");
        return HOST_ABSENT;
    }
    snprintf(value, size, "filters that kill");
    return HOST_ENFORCED;
}

static enum host_status look_at_namespaces(const struct host_view *view, char *value, size_t size)
{
    uint64_t most = 0;
    uint64_t unprivileged = 1;
    bool root = host_view_says(view, FACT_ROOT);
    bool known = host_read_u64(view->root, "proc/sys/user/max_user_namespaces", &most);
    host_read_u64(view->root, "proc/sys/kernel/unprivileged_userns_clone", &unprivileged);
    bool may = root || (known && most && unprivileged);
    snprintf(value, size, "%s", root ? "by root's rights" : may ? "by a user namespace" : "none");
    return may ? HOST_ENFORCED : HOST_ABSENT;
}

static enum host_status look_at_modules(const struct host_view *view, char *value, size_t size)
{
    uint64_t disabled = 0;
    if (!host_has(view->root, "proc/modules")) {
        snprintf(value, size, "this kernel loads none");
        return host_has(view->root, "proc/sys/kernel") ? HOST_ENFORCED : HOST_ABSENT;
    }
    host_read_u64(view->root, "proc/sys/kernel/modules_disabled", &disabled);
    snprintf(value, size, "%s", disabled ? "no more can be loaded" : "root can load more");
    return disabled ? HOST_ENFORCED : HOST_ABSENT;
}

const struct host_rule host_machine_rules[] = {
    {"bare-metal", look_at_metal,
     "Another hypervisor below this one shares cores and caches with others as it likes: nothing "
     "about topology can be verified.",
     "Rent a bare-metal instance (docs/bare-metal.md).", HOST_ABSENT, HOST_ENFORCED, false},
    {"cpu-vulnerabilities", look_at_weaknesses,
     "The model could read memory of the host through a known fault of the processor.",
     "Update kernel and microcode; do not boot with mitigations=off.", HOST_ABSENT, HOST_ENFORCED,
     false},
    {"speculation-controls", look_at_speculation,
     "The VMM cannot switch speculation off for the thread that runs the model.",
     "Kernel parameters spec_store_bypass_disable=prctl spectre_v2_user=prctl.", HOST_ABSENT,
     HOST_ABSENT, false},
    {"microcode", look_at_microcode,
     "Faults of the processor that an update mends could still be there.",
     "Install amd64-microcode or intel-microcode (non-free-firmware) and reboot.", HOST_ABSENT,
     HOST_ABSENT, false},
    {"iommu", look_at_iommu,
     "A device of the host that the model has taken over could read all memory.",
     "Kernel parameter intel_iommu=on or amd_iommu=on; switch on VT-d or AMD-Vi in the firmware.",
     HOST_ABSENT, HOST_ENFORCED, false},
    {"kernel-lockdown", look_at_lockdown,
     "Whoever becomes root on the host can change the kernel that contains the model.",
     "Kernel parameter lockdown=confidentiality, or Secure Boot.", HOST_ABSENT, HOST_ABSENT, false},
    {"module-loading", look_at_modules,
     "Whoever becomes root on the host can load code into the kernel.",
     "sysctl kernel.modules_disabled=1 once all is loaded.", HOST_ABSENT, HOST_ABSENT, false},
    {"hardware-watchdog", look_at_watchdog, "A host that hangs with a model running is not reset.",
     "Load the driver of the machine's watchdog and use run --watchdog-device.", HOST_ABSENT,
     HOST_ABSENT, false},
    {"seccomp", look_at_seccomp, "A VMM that the model has taken over could make any system call.",
     "A kernel of version 4.14 or later with CONFIG_SECCOMP_FILTER.", HOST_ENFORCED, HOST_ENFORCED,
     false},
    {"namespaces", look_at_namespaces,
     "A VMM that the model has taken over could see the host's files.",
     "Run as root, or sysctl kernel.unprivileged_userns_clone=1.", HOST_ABSENT, HOST_ENFORCED,
     false},
};
const unsigned host_machine_rule_count = sizeof(host_machine_rules) / sizeof(host_machine_rules[0]);
