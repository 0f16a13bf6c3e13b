// SPDX-License-Identifier: Apache-2.0
// Host check on damaged hosts: whatever is in its files, every row has an id and a value, and what
// is required is refused with the rows that lack. What rows say of sound hosts is tested end to
// end.
#include "host_check.h"
#include "host_tree.h"
#include "support.h"

#define ROUNDS 400u

// How many files are damaged in one host.
#define DAMAGED 6u

static struct host_tree tree;

static const struct {
    const char *path;
    const char *text;
} files[] = {
    {"sys/devices/system/cpu/online", "0-7"},
    {"sys/devices/system/cpu/isolated", "2-7"},
    {"sys/devices/system/cpu/nohz_full", "2-7"},
    {"sys/devices/system/cpu/smt/control", "off"},
    {"sys/devices/system/cpu/smt/active", "0"},
    {"sys/devices/system/cpu/cpu0/topology/core_cpus_list", "0"},
    {"sys/devices/system/cpu/cpu0/cache/index0/level", "1"},
    {"sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0"},
    {"sys/devices/system/cpu/cpu0/microcode/version", "0x2b000571"},
    {"sys/devices/system/cpu/vulnerabilities/mds", "Mitigation: Clear CPU buffers; SMT vulnerable"},
    {"sys/devices/system/cpu/vulnerabilities/old_microcode", "Not affected"},
    {"sys/devices/system/node/has_memory", "0-1"},
    {"sys/devices/system/node/node0/cpulist", "0-7"},
    {"proc/cpuinfo", "processor\t: 0\nmodel name\t: Example\nflags\t\t: vmx cat_l3 mba"},
    {"proc/irq/9/smp_affinity_list", "0-7"},
    {"proc/swaps", "Filename\tType\tSize\tUsed\tPriority"},
    {"proc/sys/fs/suid_dumpable", "0"},
    {"proc/sys/kernel/osrelease", "6.1.0-example"},
    {"proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread trap errno allow"},
    {"sys/class/watchdog/watchdog0/identity", "iTCO_wdt"},
    {"sys/class/dmi/id/product_name", "Example"},
    {"sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids"},
    {"sys/fs/resctrl/info/L3/cbm_mask", "fff"},
    {"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512"},
    {"sys/kernel/mm/ksm/run", "0"},
    {"sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"},
    {"sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [advise] never"},
    {"sys/kernel/security/lockdown", "none integrity [confidentiality]"},
    {"sys/module/kvm_intel/parameters/ept", "Y"},
    {"guillotine-facts", "probe-tsc violation:privileged\nprobe-cpuid exit:0\nkvm ok\nroot yes\n"
                         "memory-lock unlimited\nstore-bypass 3\nindirect-branch 3"},
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

static void setup(void)
{
    host_tree_open(&tree);
    for (size_t i = 0; i < FILE_COUNT; i++)
        host_tree_write(&tree, files[i].path, "%s", files[i].text);
}

static void teardown(void)
{
    host_tree_close(&tree);
}

TestSuite(host_check, .init = setup, .fini = teardown);

// xorshift64*: the same hosts in every run.
static uint64_t next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717u;
}

// Writes a beginning of the text, with bytes changed, and rubbish of many lengths behind it.
static void damage(uint64_t *state)
{
    static char text[80000]; // longer than any buffer of the rows
    static const char letters[] = "0123456789,- \n\t[]:aV";
    static const size_t lengths[] = {0, 1, 60, 200, 600, 9000, 20000, 70000};
    const size_t index = next(state) % FILE_COUNT;
    size_t length = next(state) % (strlen(files[index].text) + 1);
    size_t rubbish = lengths[next(state) % (sizeof(lengths) / sizeof(lengths[0]))];
    bool printable = next(state) % 2;
    memcpy(text, files[index].text, length);
    if (length && next(state) % 2)
        text[next(state) % length] ^= (char)(1u << next(state) % 8);
    for (size_t i = 0; i < rubbish; i++)
        text[length + i] =
            printable ? letters[next(state) % (sizeof(letters) - 1)] : (char)next(state);
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", tree.folder, files[index].path);
    FILE *file = fopen(path, "we");
    cr_assert(file, "%s", path);
    fwrite(text, 1, length + rubbish, file);
    fclose(file);
}

static void restore(void)
{
    for (size_t i = 0; i < FILE_COUNT; i++)
        host_tree_write(&tree, files[i].path, "%s", files[i].text);
}

static void look(struct host_report *report)
{
    const struct host_check_options options = {0};
    struct error err = {0};
    cr_assert_eq(host_check_run(&tree.root, &options, report, &err), 0, "%s", err.text);
}

// Every row is whole, and no other than in `sound`.
static void expect_whole(const struct host_report *report, const struct host_report *sound)
{
    cr_assert_eq(report->count, sound->count);
    for (unsigned i = 0; i < report->count; i++) {
        const struct host_row *row = &report->rows[i];
        cr_assert_str_eq(row->id, sound->rows[i].id);
        cr_assert(row->status <= HOST_ENFORCED, "%s", row->id);
        size_t length = strnlen(row->value, sizeof(row->value));
        cr_assert(length && length < sizeof(row->value), "%s", row->id);
    }
    cr_assert(strnlen(report->kernel, sizeof(report->kernel)) < sizeof(report->kernel));
    cr_assert(strnlen(report->processor, sizeof(report->processor)) < sizeof(report->processor));
}

// What is refused names exactly the rows that lack.
static void expect_refusal(const struct host_report *report)
{
    char failed[1024];
    bool met = host_report_meets(report, VMM_REQUIRE_STRICT, failed, sizeof(failed));
    char wanted[1024] = "";
    for (unsigned i = 0; i < report->count; i++) {
        const struct host_row *row = &report->rows[i];
        size_t used = strlen(wanted);
        if (row->status < row->strict)
            snprintf(wanted + used, sizeof(wanted) - used, "%s%s", used ? ", " : "", row->id);
    }
    cr_assert_str_eq(failed, wanted);
    cr_assert_eq(met, !*wanted);
    // A list that does not fit is cut, never written behind its end.
    char few[16];
    memset(few, 'x', sizeof(few));
    host_report_meets(report, VMM_REQUIRE_STRICT, few, 8);
    cr_assert(memchr(few, '\0', 8) && few[8] == 'x');
}

Test(host_check, damaged_files)
{
    static struct host_report sound; // large
    static struct host_report found;
    look(&sound);
    cr_assert(sound.count >= 15);
    uint64_t state = 20261123;
    unsigned differ = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < DAMAGED; i++)
            damage(&state);
        look(&found);
        expect_whole(&found, &sound);
        expect_refusal(&found);
        for (unsigned i = 0; i < found.count; i++)
            differ += found.rows[i].status != sound.rows[i].status;
        restore();
    }
    // Damage is noticed, not only survived.
    cr_assert(differ > ROUNDS, "%u", differ);
    look(&found);
    for (unsigned i = 0; i < found.count; i++)
        cr_assert_eq(found.rows[i].status, sound.rows[i].status, "%s", found.rows[i].id);
}

// Ids are what scripts hold on to.
Test(host_check, ids)
{
    static struct host_report report;
    look(&report);
    for (unsigned i = 0; i < report.count; i++) {
        const char *id = report.rows[i].id;
        cr_assert_eq(strspn(id, "abcdefghijklmnopqrstuvwxyz-"), strlen(id), "%s", id);
        for (unsigned k = i + 1; k < report.count; k++)
            cr_assert_str_neq(id, report.rows[k].id);
        cr_assert(report.rows[i].basic <= report.rows[i].strict, "%s: basic wants more", id);
        cr_assert(*report.rows[i].meaning && *report.rows[i].remedy, "%s", id);
    }
}

// A record has what was read, and reads as the host did.
Test(host_check, recorded)
{
    static struct host_report here; // large
    static struct host_report there;
    char folder[] = "/tmp/test-record-XXXXXX";
    struct host_root record;
    const struct host_check_options options = {.record = mkdtemp(folder)};
    cr_assert(options.record);
    cr_assert_eq(host_check_run(&tree.root, &options, &here, NULL), 0);
    cr_assert_eq(host_root_open(&record, folder, NULL), 0);
    const struct host_check_options none = {0};
    cr_assert_eq(host_check_run(&record, &none, &there, NULL), 0);
    cr_assert_eq(here.count, there.count);
    for (unsigned i = 0; i < here.count; i++) {
        cr_assert_eq(here.rows[i].status, there.rows[i].status, "%s", here.rows[i].id);
        cr_assert_str_eq(here.rows[i].value, there.rows[i].value);
    }
    host_root_close(&record);
    nftw(folder, host_tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
