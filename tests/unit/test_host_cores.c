// SPDX-License-Identifier: Apache-2.0
// What is kept off the cores of models, and put back, on hosts that do not exist. The kernel's part
// (moving tasks, partitions) is tested end to end.
#include "cpu_mask.h"
#include "host_cache.h"
#include "host_cores.h"
#include "host_originals.h"
#include "host_tree.h"
#include "support.h"

static struct host_tree tree;

static void setup(void)
{
    host_tree_open(&tree);
    host_tree_online(&tree, "0-7");
    host_tree_write(&tree, "proc/irq/1/smp_affinity_list", "0-7");
    host_tree_write(&tree, "proc/irq/2/smp_affinity_list", "6");
    host_tree_write(&tree, "proc/irq/3/smp_affinity_list", "0-1");
    host_tree_write(&tree, "proc/irq/default_smp_affinity", "ff");
    host_tree_write(&tree, "sys/devices/virtual/workqueue/cpumask", "ff");
}

static void teardown(void)
{
    host_tree_close(&tree);
}

TestSuite(host_cores, .init = setup, .fini = teardown);

static int reserve(const char *id, const char *model, int *lock)
{
    struct host_reservation reservation = {0};
    snprintf(reservation.id, sizeof(reservation.id), "%s", id);
    cr_assert_eq(cpu_list_parse(model, &reservation.model, NULL), 0);
    if (strcmp(id, HOST_CORES_TUNE) != 0)
        cr_assert_eq(cpu_list_parse("0", &reservation.hypervisor, NULL), 0);
    return host_cores_reserve(&tree.root, &reservation, lock, NULL);
}

static void settle(void)
{
    struct host_cores_report report;
    struct error err = {0};
    cr_assert_eq(host_cores_settle(&tree.root, &report, &err), 0, "%s", err.text);
    cr_assert_eq(report.settings_failed, 0);
}

static void expect(const char *path, const char *text)
{
    char found[256];
    cr_assert(host_read(&tree.root, path, found, sizeof(found)) >= 0, "%s", path);
    cr_assert_str_eq(found, text, "%s: %s, not %s", path, found, text);
}

static void expect_all(const char *one, const char *two, const char *three, const char *mask)
{
    expect("proc/irq/1/smp_affinity_list", one);
    expect("proc/irq/2/smp_affinity_list", two);
    expect("proc/irq/3/smp_affinity_list", three);
    expect("proc/irq/default_smp_affinity", mask);
    expect("sys/devices/virtual/workqueue/cpumask", mask);
}

Test(host_cores, moved_and_put_back)
{
    int lock = -1;
    cr_assert_eq(reserve("vm-a", "4-7", &lock), 0);
    settle();
    expect_all("0-3", "0-3", "0-1", "f");
    settle(); // nothing more to do
    expect_all("0-3", "0-3", "0-1", "f");
    host_cores_unreserve(&tree.root, "vm-a");
    close(lock);
    settle();
    expect_all("0-7", "6", "0-1", "ff");
    cr_assert(!host_has(&tree.root, HOST_STATE_FOLDER "/originals"));
}

Test(host_cores, two_vms_in_any_order)
{
    int locks[2] = {-1, -1};
    cr_assert_eq(reserve("vm-a", "6-7", &locks[0]), 0);
    settle();
    cr_assert_eq(reserve("vm-b", "1", &locks[1]), 0);
    settle();
    expect_all("0,2-5", "0,2-5", "0", "3d");
    host_cores_unreserve(&tree.root, "vm-a");
    close(locks[0]);
    settle();
    expect_all("0,2-7", "6", "0", "fd");
    host_cores_unreserve(&tree.root, "vm-b");
    close(locks[1]);
    settle();
    expect_all("0-7", "6", "0-1", "ff");
}

Test(host_cores, a_keeper_that_was_killed)
{
    int lock = -1;
    cr_assert_eq(reserve("vm-a", "4-7", &lock), 0);
    settle();
    close(lock); // nobody took the reservation back
    settle();
    expect_all("0-7", "6", "0-1", "ff");
    cr_assert(!host_has(&tree.root, HOST_STATE_FOLDER "/cores/vm-a"));
}

Test(host_cores, tuning_stays)
{
    int lock = -1;
    cr_assert_eq(reserve(HOST_CORES_TUNE, "7", &lock), 0);
    close(lock);
    settle();
    expect_all("0-6", "6", "0-1", "7f");
    host_cores_unreserve(&tree.root, HOST_CORES_TUNE);
    settle();
    expect_all("0-7", "6", "0-1", "ff");
}

Test(host_cores, all_cpus_are_refused)
{
    int lock = -1;
    struct host_cores_report report;
    struct error err = {0};
    cr_assert_eq(reserve("vm-a", "0-7", &lock), 0);
    cr_assert_neq(host_cores_settle(&tree.root, &report, &err), 0);
    cr_assert_eq(err.status, EXIT_STATUS_HOST_REFUSED);
    expect_all("0-7", "6", "0-1", "ff");
}

Test(host_cores, one_reservation_for_each_id)
{
    int lock = -1;
    int other = -1;
    cr_assert_eq(reserve("vm-a", "4", &lock), 0);
    cr_assert_neq(reserve("vm-a", "5", &other), 0);
}

Test(host_cores, reservations_of_rubbish)
{
    char rubbish[400];
    struct random random = random_start(3);
    for (unsigned i = 0; i < 200; i++) {
        size_t length = (size_t)random_below(&random, sizeof(rubbish) - 1);
        for (size_t k = 0; k < length; k++)
            rubbish[k] = (char)(1 + random_below(&random, 255));
        rubbish[length] = '\0';
        host_tree_write(&tree, HOST_STATE_FOLDER "/cores/tune", "%s", rubbish);
        host_tree_write(&tree, HOST_STATE_FOLDER "/originals", "%s", rubbish);
        struct host_cores_report report;
        host_cores_settle(&tree.root, &report, NULL);
    }
}

Test(host_cores, masks)
{
    static const struct {
        const char *text;
        const char *list;
        const char *again;
    } cases[] = {
        {"3", "0-1", "3"},
        {"00000001,00000000", "32", "1,00000000"},
        {"ffffffff,ffffffff", "0-63", "ffffffff,ffffffff"},
        {"8,00000000,00000001", "0,67", "8,00000000,00000001"},
        {"0", "", "0"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cpu_list cpus;
        char text[CPU_MASK_SIZE];
        cr_assert(cpu_mask_parse(cases[i].text, &cpus));
        cpu_list_format(&cpus, text, sizeof(text));
        cr_assert_str_eq(text, cases[i].list);
        cpu_mask_format(&cpus, text);
        cr_assert_str_eq(text, cases[i].again);
    }
    struct cpu_list cpus;
    cr_assert(!cpu_mask_parse("", &cpus));
    cr_assert(!cpu_mask_parse("0x3", &cpus));
}

static void make_resctrl(void)
{
    host_tree_write(&tree, "sys/fs/resctrl/info/L3/cbm_mask", "fff");
    host_tree_write(&tree, "sys/fs/resctrl/info/L3/min_cbm_bits", "1");
    host_tree_write(&tree, "sys/fs/resctrl/schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff");
    host_tree_write(&tree, "proc/42/task/42/comm", "guillotine-vmm");
    host_tree_write(&tree, "proc/42/task/43/comm", "vcpu");
}

Test(host_cores, a_part_of_the_cache)
{
    struct host_reservation one = {.id = "one"};
    make_resctrl();
    cr_assert_eq(host_state_open(&tree.root, NULL), 0);
    cr_assert_eq(host_cache_assign(&tree.root, &one, 42), 3);
    expect("sys/fs/resctrl/guillotine.one/schemata", "L3:0=7;1=7");
    expect("sys/fs/resctrl/guillotine.one/tasks", "43");
    expect("sys/fs/resctrl/schemata", "L3:0=fc0;1=fc0");
}

Test(host_cores, no_cache_control)
{
    struct host_reservation one = {.id = "one"};
    cr_assert_eq(host_state_open(&tree.root, NULL), 0);
    cr_assert_eq(host_cache_assign(&tree.root, &one, 42), 0);
}
