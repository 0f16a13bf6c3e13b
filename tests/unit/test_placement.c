// SPDX-License-Identifier: Apache-2.0
// Where VMs run, on hosts that do not exist: what is shared, what is claimed, what is refused.
#include "host_tree.h"
#include "placement.h"
#include "support.h"

static struct host_tree tree;

static void setup(void)
{
    host_tree_open(&tree);
}

static void teardown(void)
{
    host_tree_close(&tree);
}

TestSuite(placement, .init = setup, .fini = teardown);

// Two packages of two cores of two hardware threads: CPU n and n + 4 are one core.
static void make_two_sockets(void)
{
    static const char *const cores[] = {"0,4", "1,5", "2,6", "3,7"};
    host_tree_online(&tree, "0-7");
    host_tree_node(&tree, 0, "0-1,4-5");
    host_tree_node(&tree, 1, "2-3,6-7");
    for (unsigned cpu = 0; cpu < 8; cpu++)
        host_tree_cpu(&tree, cpu, cores[cpu % 4], cores[cpu % 4],
                      cpu % 4 < 2 ? "0-1,4-5" : "2-3,6-7", cpu % 4 / 2);
}

// `cores` single-threaded cores with one last-level cache for each `share` of them.
static void make_cores(unsigned cores, unsigned share)
{
    char online[32];
    snprintf(online, sizeof(online), cores > 1 ? "0-%u" : "%u", cores - 1);
    host_tree_online(&tree, online);
    host_tree_node(&tree, 0, online);
    for (unsigned cpu = 0; cpu < cores; cpu++) {
        char own[16];
        char last[32];
        snprintf(own, sizeof(own), "%u", cpu);
        snprintf(last, sizeof(last), "%u-%u", cpu / share * share, cpu / share * share + share - 1);
        host_tree_cpu(&tree, cpu, own, own, last, 0);
    }
}

static int choose(struct placement *placement, struct vmm_config *config, unsigned vcpus,
                  const char *model, const char *hypervisor, bool shared, struct error *err)
{
    static struct vm_description vm;
    vm = (struct vm_description){.placement_shared = shared};
    vm.model_cores_given = model != NULL;
    vm.hypervisor_cores_given = hypervisor != NULL;
    if (model)
        cr_assert_eq(cpu_list_parse(model, &vm.model_cores, NULL), 0);
    if (hypervisor)
        cr_assert_eq(cpu_list_parse(hypervisor, &vm.hypervisor_cores, NULL), 0);
    *config = (struct vmm_config){.vcpus = vcpus, .port_count = 1};
    return placement_choose(&tree.root, &vm, config, placement, err);
}

static void expect(const struct cpu_list *cpus, const char *text)
{
    char found[128];
    cpu_list_format(cpus, found, sizeof(found));
    cr_assert_str_eq(found, text);
}

Test(placement, one_socket_and_no_sibling)
{
    struct placement p;
    struct vmm_config config;
    struct error err = {0};
    make_two_sockets();
    cr_assert_eq(choose(&p, &config, 1, NULL, NULL, false, &err), 0, "%s", err.text);
    // CPU 0's core does the housekeeping, so CPU 1; mediation on the other core of the node.
    expect(&p.model, "1");
    expect(&p.reserved, "1,5");
    expect(&p.hypervisor, "0");
    cr_assert_eq(p.node, 0);
    cr_assert_eq(config.model_cpus[0], 1);
    cr_assert_eq(config.hypervisor_cpus[0], 0);
    placement_release(&p);
}

Test(placement, more_vcpus_than_a_node_has_cores)
{
    struct placement p;
    struct vmm_config config;
    struct error err = {0};
    make_two_sockets();
    // Two cores of one node, and mediation on the other one.
    cr_assert_eq(choose(&p, &config, 2, NULL, NULL, false, &err), 0, "%s", err.text);
    expect(&p.model, "0-1");
    expect(&p.hypervisor, "2");
    placement_release(&p);
    // Hardware threads of one core are better than two nodes.
    cr_assert_eq(choose(&p, &config, 4, NULL, NULL, false, &err), 0, "%s", err.text);
    expect(&p.model, "0-1,4-5");
    expect(&p.hypervisor, "2");
    placement_release(&p);
    cr_assert_eq(choose(&p, &config, 6, NULL, NULL, false, &err), 0, "%s", err.text);
    cr_assert_eq(cpu_list_count(&p.model), 6);
    cr_assert(!cpu_list_meets(&p.reserved, &p.hypervisor));
    placement_release(&p);
    cr_assert_eq(choose(&p, &config, 7, NULL, NULL, false, &err), 0, "%s", err.text);
    cr_assert_eq(p.state, PLACEMENT_UNPINNED);
    cr_assert_eq(config.model_cpus[0], -1);
    placement_release(&p);
}

Test(placement, mediation_behind_another_last_level_cache)
{
    struct placement p;
    struct vmm_config config;
    make_cores(16, 4);
    cr_assert_eq(choose(&p, &config, 2, NULL, NULL, false, NULL), 0);
    expect(&p.model, "1-2");
    expect(&p.hypervisor, "4");
    placement_release(&p);
}

Test(placement, isolated_cpus_first_and_fast_ones)
{
    struct placement p;
    struct vmm_config config;
    make_cores(8, 8);
    host_tree_write(&tree, "sys/devices/cpu_core/cpus", "4-7");
    cr_assert_eq(choose(&p, &config, 1, NULL, NULL, false, NULL), 0);
    expect(&p.model, "4");
    placement_release(&p);
    host_tree_write(&tree, "sys/devices/system/cpu/isolated", "6-7");
    cr_assert_eq(choose(&p, &config, 1, NULL, NULL, false, NULL), 0);
    expect(&p.model, "6");
    expect(&p.hypervisor, "7");
    placement_release(&p);
}

Test(placement, efficient_cores_that_share_their_second_level)
{
    struct placement p;
    struct vmm_config config;
    struct error err = {0};
    host_tree_online(&tree, "0-5");
    host_tree_cpu(&tree, 0, "0-1", "0-1", "0-5", 0);
    host_tree_cpu(&tree, 1, "0-1", "0-1", "0-5", 0);
    for (unsigned cpu = 2; cpu < 6; cpu++) {
        char own[16];
        snprintf(own, sizeof(own), "%u", cpu);
        host_tree_cpu(&tree, cpu, own, "2-5", "0-5", 0);
    }
    cr_assert_eq(choose(&p, &config, 4, NULL, NULL, false, &err), 0, "%s", err.text);
    expect(&p.model, "2-5");
    expect(&p.hypervisor, "0");
    placement_release(&p);
    cr_assert_neq(choose(&p, &config, 1, "2", "3", false, &err), 0);
    cr_assert(strstr(err.text, "private cache"), "%s", err.text);
    cr_assert_eq(choose(&p, &config, 1, "2", "3", true, &err), 0, "%s", err.text);
    cr_assert_eq(p.state, PLACEMENT_SHARED);
    placement_release(&p);
}

Test(placement, siblings_are_refused)
{
    struct placement p;
    struct vmm_config config;
    struct error err = {0};
    make_two_sockets();
    cr_assert_neq(choose(&p, &config, 1, "1", "5", false, &err), 0);
    cr_assert_eq(err.status, EXIT_STATUS_USAGE);
    cr_assert_neq(choose(&p, &config, 1, "0-7", NULL, false, &err), 0);
    cr_assert_eq(err.status, EXIT_STATUS_RESOURCES);
    cr_assert_neq(choose(&p, &config, 2, "3", NULL, false, &err), 0);
    cr_assert_neq(choose(&p, &config, 1, "9", NULL, false, &err), 0);
    cr_assert(strstr(err.text, "CPU 9"), "%s", err.text);
}

Test(placement, two_vms_never_share_unless_both_agree)
{
    struct placement first;
    struct placement second;
    struct vmm_config config;
    struct error err = {0};
    make_cores(2, 2);
    cr_assert_eq(choose(&first, &config, 1, NULL, NULL, false, &err), 0, "%s", err.text);
    expect(&first.model, "0");
    for (int shared = 0; shared < 2; shared++) {
        cr_assert_neq(choose(&second, &config, 1, NULL, NULL, shared, &err), 0);
        cr_assert_eq(err.status, EXIT_STATUS_RESOURCES);
        cr_assert_neq(choose(&second, &config, 1, "0", NULL, shared, &err), 0);
        cr_assert_neq(choose(&second, &config, 1, "1", NULL, shared, &err), 0);
        cr_assert_neq(choose(&second, &config, 2, NULL, NULL, shared, &err), 0);
    }
    placement_release(&first);
    cr_assert_eq(choose(&first, &config, 1, NULL, NULL, true, &err), 0, "%s", err.text);
    cr_assert_neq(choose(&second, &config, 1, NULL, NULL, false, &err), 0);
    cr_assert_eq(choose(&second, &config, 1, NULL, NULL, true, &err), 0, "%s", err.text);
    placement_release(&second);
    cr_assert_eq(choose(&second, &config, 2, NULL, NULL, true, &err), 0, "%s", err.text);
    cr_assert_eq(second.state, PLACEMENT_SHARED);
    placement_release(&second);
    placement_release(&first);
}

Test(placement, next_vm_gets_the_next_cores)
{
    struct placement vms[4];
    struct vmm_config config;
    struct cpu_list models = {0};
    make_cores(4, 4);
    // Mediation may share its core: three models and one core for all of their hypervisors.
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(choose(&vms[i], &config, 1, NULL, NULL, false, NULL), 0);
        cr_assert(!cpu_list_meets(&models, &vms[i].reserved));
        cpu_list_join(&models, &vms[i].reserved);
    }
    for (unsigned i = 0; i < 2; i++)
        cr_assert(!cpu_list_meets(&models, &vms[i].hypervisor));
    cr_assert_eq(choose(&vms[2], &config, 1, NULL, "0", false, NULL), -1);
    for (unsigned i = 0; i < 2; i++)
        placement_release(&vms[i]);
}

Test(placement, one_cpu)
{
    static struct vm_description strict = {.require = VMM_REQUIRE_STRICT};
    struct placement p;
    struct placement other;
    struct vmm_config config;
    struct error err = {0};
    make_cores(1, 1);
    cr_assert_eq(choose(&p, &config, 1, NULL, NULL, false, &err), 0, "%s", err.text);
    cr_assert_eq(p.state, PLACEMENT_UNPINNED);
    cr_assert(p.weakness);
    cr_assert_neq(choose(&other, &config, 1, NULL, NULL, false, &err), 0);
    placement_release(&p);
    config = (struct vmm_config){.vcpus = 1};
    cr_assert_neq(placement_choose(&tree.root, &strict, &config, &p, &err), 0);
    cr_assert_eq(err.status, EXIT_STATUS_HOST_REFUSED);
}

Test(placement, a_host_that_says_nothing)
{
    struct placement p;
    struct vmm_config config;
    struct error err = {0};
    cr_assert_neq(choose(&p, &config, 1, NULL, NULL, false, &err), 0);
    cr_assert(strstr(err.text, "online") && strstr(err.text, "shared"), "%s", err.text);
    cr_assert_eq(choose(&p, &config, 1, NULL, NULL, true, &err), 0, "%s", err.text);
    cr_assert_eq(config.model_cpus[0], -1);
    placement_release(&p);
}

// Random hosts and random VMs that come and go: nobody ever shares what it must not.
Test(placement, random_hosts, .timeout = 60)
{
    struct random random = random_start(7);
    struct topology topology;
    unsigned cores = 2 + (unsigned)random_below(&random, 10);
    make_cores(cores, 1 + (unsigned)random_below(&random, 4));
    cr_assert_eq(topology_open(&topology, &tree.root, NULL), 0);
    struct placement vms[8];
    bool lives[8] = {false};
    unsigned placed = 0;
    for (unsigned turn = 0; turn < 120; turn++) {
        unsigned i = (unsigned)random_below(&random, 8);
        struct vmm_config config;
        if (lives[i]) {
            placement_release(&vms[i]);
            lives[i] = false;
            continue;
        }
        lives[i] = choose(&vms[i], &config, 1 + (unsigned)random_below(&random, 3), NULL, NULL,
                          random_below(&random, 3) == 0, NULL) == 0;
        placed += lives[i];
        for (unsigned a = 0; a < 8; a++) {
            if (!lives[a] || vms[a].state != PLACEMENT_ISOLATED)
                continue;
            cr_assert(!cpu_list_meets(&vms[a].reserved, &vms[a].hypervisor));
            for (unsigned b = 0; b < 8; b++) {
                if (b == a || !lives[b])
                    continue;
                cr_assert(!cpu_list_meets(&vms[a].reserved, &vms[b].reserved));
                cr_assert(!cpu_list_meets(&vms[a].reserved, &vms[b].hypervisor));
                cr_assert(vms[b].state != PLACEMENT_UNPINNED);
            }
        }
    }
    cr_assert(placed > 10, "%u", placed);
    for (unsigned i = 0; i < 8; i++) {
        if (lives[i])
            placement_release(&vms[i]);
    }
    topology_close(&topology);
}
