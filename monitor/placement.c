// SPDX-License-Identifier: Apache-2.0
// Which host CPUs run vCPUs and which run the hypervisor's threads.
#include "placement.h"

#include <errno.h>
#include <sched.h>

static int usable_cpus(struct cpu_list *usable, struct error *err)
{
    cpu_set_t set;
    *usable = (struct cpu_list){0};
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sched_getaffinity");
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && cpu < CPU_LIST_MAX; cpu++) {
        if (CPU_ISSET(cpu, &set))
            cpu_list_add(usable, cpu);
    }
    return 0;
}

static int check_given(const char *what, const struct cpu_list *given,
                       const struct cpu_list *usable, struct error *err)
{
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (cpu_list_has(given, cpu) && !cpu_list_has(usable, cpu)) {
            char text[128];
            cpu_list_format(usable, text, sizeof(text));
            return error_set(err, EXIT_STATUS_USAGE, 0,
                             "%s: CPU %u does not exist or is not usable here (usable: %s)", what,
                             cpu, text);
        }
    }
    return 0;
}

static int check_overlap(const struct vm_description *vm, struct error *err)
{
    struct cpu_list both = {0};
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++)
        both.bits[i] = vm->model_cores.bits[i] & vm->hypervisor_cores.bits[i];
    if (!cpu_list_count(&both))
        return 0;
    char text[128];
    cpu_list_format(&both, text, sizeof(text));
    return error_set(err, EXIT_STATUS_USAGE, 0, "model cores and hypervisor cores overlap: CPU %s",
                     text);
}

// Nothing given for one side: take it from what the other side leaves.
static void choose_rest(const struct vm_description *vm, const struct cpu_list *usable,
                        struct cpu_list *model, struct cpu_list *hypervisor)
{
    *model = vm->model_cores;
    *hypervisor = vm->hypervisor_cores;
    if (!vm->hypervisor_cores_given) {
        int last = -1;
        for (unsigned n = 0; n < cpu_list_count(usable); n++) {
            int cpu = cpu_list_nth(usable, n);
            if (!cpu_list_has(model, (unsigned)cpu))
                last = cpu;
        }
        if (last >= 0)
            cpu_list_add(hypervisor, (unsigned)last);
    }
    if (!vm->model_cores_given) {
        for (unsigned n = 0; n < cpu_list_count(usable); n++) {
            int cpu = cpu_list_nth(usable, n);
            if (!cpu_list_has(hypervisor, (unsigned)cpu))
                cpu_list_add(model, (unsigned)cpu);
        }
    }
}

int placement_choose(const struct vm_description *vm, struct vmm_config *config, struct error *err)
{
    struct cpu_list usable;
    struct cpu_list model;
    struct cpu_list hypervisor;
    if (usable_cpus(&usable, err) < 0 ||
        check_given("model cores", &vm->model_cores, &usable, err) < 0 ||
        check_given("hypervisor cores", &vm->hypervisor_cores, &usable, err) < 0 ||
        check_overlap(vm, err) < 0)
        return -1;
    choose_rest(vm, &usable, &model, &hypervisor);

    bool enough = cpu_list_count(&model) >= config->vcpus && cpu_list_count(&hypervisor) >= 1;
    if (!enough && vm->model_cores_given && cpu_list_count(&hypervisor) == 0)
        return error_set(
            err, EXIT_STATUS_RESOURCES, 0,
            "the model cores are all CPUs that are usable: none is left for mediation");
    if (!enough && (vm->model_cores_given || vm->hypervisor_cores_given))
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "%u vCPUs need %u model cores of their own, %u %s", config->vcpus,
                         config->vcpus, cpu_list_count(&model),
                         vm->model_cores_given ? "given" : "left");
    if (!enough && vm->require != VMM_REQUIRE_NONE)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--require: %u vCPUs and a hypervisor core need %u CPUs, %u are usable",
                         config->vcpus, config->vcpus + 1, cpu_list_count(&usable));
    uint32_t pollers = vm->poller_threads           ? vm->poller_threads
                       : vm->hypervisor_cores_given ? cpu_list_count(&hypervisor)
                                                    : 1;
    if (pollers > config->port_count)
        pollers = config->port_count;
    if (pollers > VMM_MAX_POLLERS)
        pollers = VMM_MAX_POLLERS;
    config->poller_count = pollers ? pollers : 1;
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++)
        config->hypervisor_cpus[i] =
            enough && i < config->poller_count
                ? cpu_list_nth(&hypervisor, i % cpu_list_count(&hypervisor))
                : -1;
    for (unsigned i = 0; i < VMM_MAX_VCPUS; i++)
        config->model_cpus[i] = enough && i < config->vcpus ? cpu_list_nth(&model, i) : -1;
    return 0;
}

void placement_leave_model_cores(const struct vmm_config *config, int thread)
{
    struct cpu_list usable;
    cpu_set_t set;
    if (config->hypervisor_cpus[0] < 0 || usable_cpus(&usable, NULL) < 0)
        return;
    CPU_ZERO(&set);
    for (unsigned n = 0; n < cpu_list_count(&usable); n++)
        CPU_SET((unsigned)cpu_list_nth(&usable, n), &set);
    for (unsigned i = 0; i < config->vcpus; i++)
        CPU_CLR((unsigned)config->model_cpus[i], &set);
    if (CPU_COUNT(&set))
        sched_setaffinity(thread, sizeof(set), &set);
}
