// SPDX-License-Identifier: Apache-2.0
// What this host guarantees: collects what the rows look at, and asks them.
#include "host_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "host_rows.h"

#define PROBES_FILE "guillotine-facts"

const char *host_status_name(enum host_status status)
{
    static const char *const names[] = {
        [HOST_ABSENT] = "absent",
        [HOST_BEST_EFFORT] = "best-effort",
        [HOST_ENFORCED] = "enforced",
    };
    return names[status];
}

bool host_view_has_flag(const struct host_view *view, const char *flag)
{
    char word[64];
    snprintf(word, sizeof(word), " %s ", flag);
    return strstr(view->flags, word) != NULL;
}

bool host_view_says(const struct host_view *view, enum host_fact fact)
{
    return !strcmp(view->facts->text[fact], "yes");
}

// The value of the first line of /proc/cpuinfo with this key.
static void find_line(const char *text, const char *key, char *value, size_t size)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0)
            continue;
        const char *at = line + length + strspn(line + length, " \t");
        if (*at != ':')
            continue;
        at += 1 + strspn(at + 1, " \t");
        snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
        return;
    }
}

static void read_processor(struct host_view *view, struct host_report *report)
{
    char text[16384];
    char flags[sizeof(view->flags) - 2] = "";
    if (host_read(view->root, "proc/cpuinfo", text, sizeof(text)) > 0) {
        find_line(text, "model name", report->processor, sizeof(report->processor));
        find_line(text, "flags", flags, sizeof(flags));
    }
    snprintf(view->flags, sizeof(view->flags), " %s ", flags);
    // Xen's first domain has no such flag, but says so elsewhere.
    // Who says nothing about the processor could be anything.
    view->virtualised = !*flags || host_view_has_flag(view, "hypervisor") ||
                        host_says(view->root, "sys/hypervisor/type", "xen");
    report->virtualised = view->virtualised;
    host_read(view->root, "proc/sys/kernel/osrelease", report->kernel, sizeof(report->kernel));
}

static void find_backend(struct host_view *view, struct host_report *report)
{
    bool there = !strcmp(view->facts->text[FACT_KVM], "ok");
    const char *name = "none";
    if (there)
        name = host_has(view->root, "sys/module/kvm_pvm") ? "software"
               : host_view_has_flag(view, "vmx") && host_has(view->root, "sys/module/kvm_intel")
                   ? "vmx"
               : host_view_has_flag(view, "svm") && host_has(view->root, "sys/module/kvm_amd")
                   ? "svm"
                   : "software";
    snprintf(view->backend, sizeof(view->backend), "%s", name);
    snprintf(report->backend, sizeof(report->backend), "%s", name);
}

static unsigned count_domains(struct topology *topology)
{
    struct cpu_list seen = {0};
    unsigned count = 0;
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        struct cpu_list one = {0};
        if (!cpu_list_has(&topology->online, cpu) || cpu_list_has(&seen, cpu))
            continue;
        cpu_list_add(&one, cpu);
        struct cpu_list domain = topology_domain(topology, &one);
        cpu_list_join(&seen, &domain);
        count++;
    }
    return count;
}

static void add_rows(const struct host_view *view, const struct host_rule *rules, unsigned count,
                     struct host_report *report)
{
    for (unsigned i = 0; i < count && report->count < HOST_ROWS_MAX; i++) {
        const struct host_rule *rule = &rules[i];
        struct host_row *row = &report->rows[report->count++];
        *row = (struct host_row){
            .id = rule->id,
            .meaning = rule->meaning,
            .remedy = rule->remedy,
            .basic = rule->basic,
            .strict = rule->strict,
        };
        row->status = rule->look(view, row->value, sizeof(row->value));
        // What an outer hypervisor says about cores need not be so.
        if (rule->of_topology && view->virtualised && row->status == HOST_ENFORCED) {
            row->status = HOST_BEST_EFFORT;
            size_t used = strlen(row->value);
            snprintf(row->value + used, sizeof(row->value) - used, ", says the outer hypervisor");
        }
    }
}

// Results of probe cells are good until the next boot, for the same program.
static bool cache_name(const struct host_root *root, char *name, size_t size)
{
    char boot[64];
    struct stat program;
    struct host_root unrecorded = *root; // the boot's id would tell hosts apart
    unrecorded.record = -1;
    if (host_read(&unrecorded, "proc/sys/kernel/random/boot_id", boot, sizeof(boot)) <= 0 ||
        stat("/proc/self/exe", &program) < 0)
        return false;
    snprintf(name, size, "host-probe-%s-%lld-%lld", boot, (long long)program.st_ino,
             (long long)program.st_mtime);
    return true;
}

// True if every probe said something.
static bool is_probed(const struct host_facts *facts)
{
    for (unsigned i = 0; i < FACT_PROBES; i++) {
        if (!facts->text[i][0])
            return false;
    }
    return true;
}

static void probe(const struct host_root *root, const struct host_check_options *options,
                  struct host_facts *facts)
{
    char name[160];
    struct host_facts kept = {0};
    cleanup_fd int folder =
        options->cache ? open(options->cache, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    bool cached = folder >= 0 && cache_name(root, name, sizeof(name));
    if (cached && !options->fresh) {
        struct host_root place = {.fd = openat(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (place.fd >= 0)
            host_facts_load(&kept, &place);
        host_root_close(&place);
    }
    if (!is_probed(&kept)) {
        host_facts_probe(&kept);
        if (cached && is_probed(&kept) && (mkdirat(folder, name, 0700) == 0 || errno == EEXIST)) {
            cleanup_fd int place = openat(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
            host_facts_store(&kept, place, NULL);
        }
    }
    memcpy(facts->text, kept.text, FACT_PROBES * sizeof(kept.text[0]));
}

int host_check_run(struct host_root *root, const struct host_check_options *options,
                   struct host_report *report, struct error *err)
{
    static struct host_facts facts; // large
    struct topology topology = {0};
    static struct host_view view_of_host; // large
    struct host_view *view = &view_of_host;
    cleanup_fd int record = -1;
    *report = (struct host_report){0};
    if (options->record) {
        record = open(options->record, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (record < 0)
            return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", options->record);
        root->record = record;
    }
    if (root->real) {
        facts = (struct host_facts){0};
        host_facts_collect(&facts);
        if (options->probe && !strcmp(facts.text[FACT_KVM], "ok"))
            probe(root, options, &facts);
    } else {
        host_facts_load(&facts, root);
    }
    report->probed = is_probed(&facts);
    *view = (struct host_view){.root = root, .facts = &facts};
    read_processor(view, report);
    find_backend(view, report);
    if (topology_open(&topology, root, NULL) == 0) {
        view->topology = &topology;
        view->domains = count_domains(&topology);
    }
    add_rows(view, host_core_rules, host_core_rule_count, report);
    add_rows(view, host_memory_rules, host_memory_rule_count, report);
    add_rows(view, host_cell_rules, host_cell_rule_count, report);
    add_rows(view, host_machine_rules, host_machine_rule_count, report);
    topology_close(&topology);
    root->record = -1;
    return record >= 0 ? host_facts_store(&facts, record, err) : 0;
}

bool host_report_meets(const struct host_report *report, enum vmm_require require, char *failed,
                       size_t size)
{
    failed[0] = '\0';
    for (unsigned i = 0; i < report->count; i++) {
        const struct host_row *row = &report->rows[i];
        enum host_status wanted = require == VMM_REQUIRE_STRICT  ? row->strict
                                  : require == VMM_REQUIRE_BASIC ? row->basic
                                                                 : HOST_ABSENT;
        size_t used = strlen(failed);
        if (row->status < wanted && used < size)
            snprintf(failed + used, size - used, "%s%s", used ? ", " : "", row->id);
    }
    return !failed[0];
}

unsigned host_report_count(const struct host_report *report, enum host_status status)
{
    unsigned count = 0;
    for (unsigned i = 0; i < report->count; i++)
        count += report->rows[i].status == status;
    return count;
}

int host_check_launch(enum vmm_require require, const char *cache, struct host_report *report,
                      struct error *err)
{
    static const char *const names[] = {
        [VMM_REQUIRE_BASIC] = "basic",
        [VMM_REQUIRE_STRICT] = "strict",
    };
    struct host_root root;
    char failed[400];
    const struct host_check_options options = {
        .probe = require != VMM_REQUIRE_NONE,
        .cache = cache,
    };
    if (host_root_open(&root, NULL, err) < 0)
        return -1;
    int result = host_check_run(&root, &options, report, err);
    host_root_close(&root);
    if (result < 0 || require == VMM_REQUIRE_NONE ||
        host_report_meets(report, require, failed, sizeof(failed)))
        return result;
    return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                     "--require %s: this host does not have: %s (`guillotine host check --explain "
                     "ID` says how to get it)",
                     names[require], failed);
}
