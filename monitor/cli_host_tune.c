// SPDX-License-Identifier: Apache-2.0
// guillotine host tune: what can be changed, and put back, while the host runs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "host_cores.h"
#include "host_originals.h"
#include "topology.h"

#define HUGE_PAGES      "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define HUGE_PAGE_BYTES (2ull << 20)
#define KSM             "sys/kernel/mm/ksm/run"
#define KSM_UNMERGE     "2"

struct tune_options {
    const char *root;
    const char *model_cores;
    const char *huge_pages;
    bool apply;
    bool revert;
    bool cloud_init;
    bool help;
};

// What is to be done.
struct tune_plan {
    struct cpu_list model;
    struct cpu_list others; // online CPUs that no model has
    struct cpu_list beside; // of those, what shares a core or private cache with a model core
    uint64_t huge_pages;    // of 2 MiB; UINT64_MAX: as they are
    bool ksm;               // merging is to be stopped
};

static int help(void)
{
    printf(
        "Usage: guillotine host tune [--apply | --revert | --cloud-init] [--model-cores CPUS]\n"
        "                            [--huge-pages SIZE]\n"
        "\n"
        "Prepares this host for models, as far as that can be undone: keeps tasks, interrupts and\n"
        "unbound work of the kernel off the model cores, reserves huge pages, stops the merging "
        "of\n"
        "pages (KSM). Without --apply it prints what it would do. VMs do the first part by\n"
        "themselves while they run; tuned cores are theirs before they start.\n"
        "\n"
        "Options:\n"
        "  --model-cores CPUS   cores for models (default: all but one for the host and one for\n"
        "                       mediation)\n"
        "  --huge-pages SIZE    memory to reserve in pages of 2 MiB, e.g. 8GiB\n"
        "  --apply              do it; lasts until --revert or the next boot\n"
        "  --revert             put everything back, also what a killed VM left\n"
        "  --cloud-init         print the part that needs a boot, for cloud-init\n"
        "                       (docs/bare-metal.md); CPU 0 boots and cannot be a model core then\n"
        "  --root DIR           change the files below DIR (for tests)\n"
        "\n"
        "Exit status: 0; 77 if the host does not permit it, or has no such CPUs.\n"
        "\n"
        "Examples:\n"
        "  guillotine host tune --model-cores 2-7 --huge-pages 16GiB\n"
        "  guillotine host tune --apply --model-cores 2-7\n"
        "  guillotine host tune --revert\n");
    return EXIT_STATUS_OK;
}

// All cores but the one of CPU 0, which is the host's, and the last, which mediates; of two, the
// first, as VMs choose, but for a boot the second: CPU 0 starts all others.
static int choose_cores(struct topology *topology, bool for_boot, struct cpu_list *model,
                        struct error *err)
{
    struct cpu_list domains[2];
    struct cpu_list seen = {0};
    unsigned count = 0;
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        struct cpu_list one = {0};
        if (!cpu_list_has(&topology->online, cpu) || cpu_list_has(&seen, cpu))
            continue;
        cpu_list_add(&one, cpu);
        struct cpu_list domain = topology_domain(topology, &one);
        cpu_list_join(&seen, &domain);
        domains[count ? 1 : 0] = domain;
        count++;
    }
    if (count < 2)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "this host has one core: nothing can be kept for models");
    *model = count > 2 ? topology->online : domains[for_boot];
    if (count > 2) {
        cpu_list_remove(model, &domains[0]);
        cpu_list_remove(model, &domains[1]);
    }
    return 0;
}

// The cores that the caller named: not more than there are, nor all.
static int check_cores(const struct topology *topology, bool for_boot, const struct tune_plan *plan,
                       struct error *err)
{
    char cpus[256];
    struct cpu_list offline = plan->model;
    cpu_list_remove(&offline, &topology->online);
    if (cpu_list_count(&offline)) {
        cpu_list_format(&offline, cpus, sizeof(cpus));
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--model-cores: this host has no CPU %s online", cpus);
    }
    if (!cpu_list_count(&plan->others))
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--model-cores: these are all CPUs; leave one for the host");
    if (for_boot && cpu_list_has(&plan->model, 0))
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--model-cores: CPU 0 boots the host and cannot be isolated from the "
                         "start; name others");
    return 0;
}

static int plan_cores(const struct host_root *root, const struct tune_options *options,
                      struct tune_plan *plan, struct error *err)
{
    struct topology topology;
    if (options->model_cores && cpu_list_parse(options->model_cores, &plan->model, err) < 0)
        return error_wrap(err, "--model-cores");
    if (topology_open(&topology, root, err) < 0)
        return -1;
    int result =
        options->model_cores ? 0 : choose_cores(&topology, options->cloud_init, &plan->model, err);
    plan->others = topology.online;
    cpu_list_remove(&plan->others, &plan->model);
    if (result == 0)
        result = check_cores(&topology, options->cloud_init, plan, err);
    if (result == 0) {
        plan->beside = topology_domain(&topology, &plan->model);
        cpu_list_remove(&plan->beside, &plan->model);
    }
    topology_close(&topology);
    return result;
}

static int make_plan(const struct host_root *root, const struct tune_options *options,
                     struct tune_plan *plan, struct error *err)
{
    uint64_t bytes;
    *plan = (struct tune_plan){.huge_pages = UINT64_MAX};
    if (plan_cores(root, options, plan, err) < 0)
        return -1;
    if (options->huge_pages) {
        if (number_parse_size(options->huge_pages, &bytes, err) < 0)
            return error_wrap(err, "--huge-pages");
        plan->huge_pages = (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES;
    }
    plan->ksm = host_says(root, KSM, "1");
    return 0;
}

// Half a core is nobody's own.
static void print_beside(const struct tune_plan *plan)
{
    char cpus[512];
    if (!cpu_list_count(&plan->beside))
        return;
    cpu_list_format(&plan->beside, cpus, sizeof(cpus));
    printf("warning    CPUs %s share a core or private cache with these: name them too\n", cpus);
}

static void print_plan(const struct tune_plan *plan)
{
    char cpus[512];
    cpu_list_format(&plan->model, cpus, sizeof(cpus));
    printf("cores      keep tasks, interrupts and unbound kernel work off CPUs %s\n", cpus);
    print_beside(plan);
    if (plan->huge_pages != UINT64_MAX)
        printf("memory     reserve %llu pages of 2 MiB (/%s)\n",
               (unsigned long long)plan->huge_pages, HUGE_PAGES);
    if (plan->ksm)
        printf("KSM        stop merging pages, and take them apart (/%s)\n", KSM);
}

static void print_cloud_init(const struct tune_plan *plan)
{
    char cpus[512];
    char others[512];
    cpu_list_format(&plan->model, cpus, sizeof(cpus));
    cpu_list_format(&plan->others, others, sizeof(others));
    printf("#cloud-config\n"
           "# What needs a boot. The kernel then keeps the model cores free from the start.\n"
           "write_files:\n"
           "  - path: /etc/default/grub.d/90-guillotine.cfg\n"
           "    content: |\n"
           "      GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX isolcpus=domain,managed_irq,%s "
           "nohz_full=%s rcu_nocbs=%s irqaffinity=%s nosmt mitigations=auto,nosmt "
           "intel_iommu=on amd_iommu=on transparent_hugepage=madvise",
           cpus, cpus, cpus, others);
    if (plan->huge_pages != UINT64_MAX)
        printf(" hugepagesz=2M hugepages=%llu", (unsigned long long)plan->huge_pages);
    printf("\"\n"
           "  - path: /etc/systemd/system/sys-fs-resctrl.mount\n"
           "    content: |\n"
           "      [Mount]\n"
           "      What=resctrl\n"
           "      Where=/sys/fs/resctrl\n"
           "      Type=resctrl\n"
           "      [Install]\n"
           "      WantedBy=multi-user.target\n"
           "  - path: /etc/sysctl.d/90-guillotine.conf\n"
           "    content: |\n"
           "      fs.suid_dumpable = 0\n"
           "      kernel.kexec_load_disabled = 1\n"
           "      vm.swappiness = 0\n"
           "runcmd:\n"
           "  - swapoff -a\n"
           "  - sed -i '/\\sswap\\s/d' /etc/fstab\n"
           "  - update-grub\n"
           "  - systemctl enable sys-fs-resctrl.mount\n"
           "power_state:\n"
           "  mode: reboot\n"
           "  condition: true\n");
}

static bool is_tuned(const char *path, void *context)
{
    (void)context;
    return !strcmp(path, HUGE_PAGES) || !strcmp(path, KSM);
}

static int change(const struct host_root *root, const char *path, const char *value,
                  struct error *err)
{
    int result = host_setting_change(root, path, value, err);
    return result > 0 ? error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                                  "/%s: the host does not let it be changed", path)
                      : result;
}

static int change_memory(const struct host_root *root, const struct tune_plan *plan,
                         struct error *err)
{
    char number[32];
    uint64_t got = 0;
    cleanup_fd int lock = host_cores_lock(root, err);
    if (lock < 0 || (plan->ksm && change(root, KSM, KSM_UNMERGE, err) < 0))
        return -1;
    if (plan->huge_pages == UINT64_MAX)
        return 0;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)plan->huge_pages);
    if (change(root, HUGE_PAGES, number, err) < 0)
        return -1;
    if (!host_read_u64(root, HUGE_PAGES, &got) || got < plan->huge_pages)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "the host found only %llu of %llu huge pages: its memory is too "
                         "scattered; use the kernel parameter hugepages=%llu",
                         (unsigned long long)got, (unsigned long long)plan->huge_pages,
                         (unsigned long long)plan->huge_pages);
    return 0;
}

static int apply(const struct host_root *root, const struct tune_plan *plan, struct error *err)
{
    struct host_reservation reservation = {.id = HOST_CORES_TUNE, .model = plan->model};
    struct host_cores_report report;
    int lock = -1;
    if (host_cores_reserve(root, &reservation, &lock, err) < 0)
        return -1;
    close(lock); // it lasts all the same
    if (host_cores_settle(root, &report, err) < 0) {
        struct error ignored;
        host_cores_unreserve(root, HOST_CORES_TUNE);
        host_cores_settle(root, &report, &ignored);
        return -1;
    }
    printf("cores      %s; %u kernel threads and %u interrupts are bound there\n",
           report.others_kept_off ? "kept free"
           : report.cpuset        ? "interrupts moved; tasks could not all be kept off"
                                  : "interrupts moved; this host has no cpusets",
           report.tasks_left, report.interrupts_left);
    print_beside(plan);
    if (change_memory(root, plan, err) < 0)
        return error_wrap(err, "the cores are tuned (--revert puts them back), but");
    return 0;
}

static int revert(const struct host_root *root, struct error *err)
{
    struct host_cores_report report;
    host_cores_unreserve(root, HOST_CORES_TUNE);
    if (host_cores_settle(root, &report, err) < 0)
        return -1;
    cleanup_fd int lock = host_cores_lock(root, err);
    if (lock < 0)
        return -1;
    unsigned failed = report.settings_failed + host_settings_restore(root, is_tuned, NULL);
    if (failed)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0, "%u settings could not be put back",
                         failed);
    printf("put back\n");
    return 0;
}

static int tune(const struct tune_options *options)
{
    struct error err = {0};
    struct host_root root = HOST_ROOT_NONE;
    struct tune_plan plan;
    int result = host_root_open(&root, options->root, &err);
    if (result == 0 && options->revert) {
        result = revert(&root, &err);
    } else if (result == 0) {
        result = make_plan(&root, options, &plan, &err);
        if (result == 0 && options->cloud_init)
            print_cloud_init(&plan);
        else if (result == 0 && options->apply)
            result = apply(&root, &plan, &err);
        else if (result == 0)
            print_plan(&plan);
    }
    host_root_close(&root);
    return result < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}

int cli_host_tune(int argc, char **argv)
{
    struct tune_options options = {0};
    const struct cli_option table[] = {
        {"root", &options.root, NULL},
        {"model-cores", &options.model_cores, NULL},
        {"huge-pages", &options.huge_pages, NULL},
        {"apply", NULL, &options.apply},
        {"revert", NULL, &options.revert},
        {"cloud-init", NULL, &options.cloud_init},
    };
    int usage = cli_options_take("host", argc, argv, table, sizeof(table) / sizeof(table[0]),
                                 &options.help);
    if (usage)
        return usage;
    if (options.help)
        return help();
    if (optind < argc)
        return cli_usage("host", "unexpected argument %s", argv[optind]);
    if (options.apply + options.revert + options.cloud_init > 1)
        return cli_usage("host", "give one of --apply, --revert, --cloud-init");
    return tune(&options);
}
