// SPDX-License-Identifier: Apache-2.0
// Which host CPUs run vCPUs and which run the hypervisor's threads.
#include "placement.h"

#include "host_cores.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

// Most cores that are looked at for one behind another last-level cache.
#define HYPERVISOR_CANDIDATES 64u

// One choice that is being made.
struct chooser {
    const struct vm_description *vm;
    struct topology topology;
    struct cpu_list usable;
    struct cpu_list tuned;        // cores that `host tune` keeps free for models
    unsigned order[CPU_LIST_MAX]; // usable CPUs, those that models prefer first
    unsigned count;
    unsigned vcpus;
    struct placement *placement;
};

const char *placement_state_name(enum placement_state state)
{
    static const char *const names[] = {
        [PLACEMENT_ISOLATED] = "isolated",
        [PLACEMENT_SHARED] = "shared",
        [PLACEMENT_UNPINNED] = "unpinned",
    };
    return names[state];
}

// What this process may use. CPUs that the kernel was told to isolate are in nobody's affinity:
// they count unless somebody has restricted this process further.
static int find_usable(struct chooser *c, struct error *err)
{
    const struct topology *topology = &c->topology;
    cpu_set_t set;
    c->usable = topology->online;
    // Only root may lend them to a VM.
    if (!topology->root->real || geteuid() == 0)
        c->tuned = host_cores_tuned(topology->root);
    if (!topology->root->real)
        return 0;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sched_getaffinity");
    struct cpu_list common = topology->online;
    struct cpu_list allowed = {0};
    cpu_list_remove(&common, &topology->isolated);
    cpu_list_remove(&common, &c->tuned);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && cpu < CPU_LIST_MAX; cpu++) {
        if (CPU_ISSET(cpu, &set))
            cpu_list_add(&allowed, cpu);
    }
    cpu_list_remove(&common, &allowed);
    if (cpu_list_count(&common))
        c->usable = allowed;
    return 0;
}

static void add_to_order(struct chooser *c, const struct cpu_list *cpus, struct cpu_list *left)
{
    for (unsigned cpu = 0; cpu < CPU_LIST_MAX; cpu++) {
        if (!cpu_list_has(cpus, cpu) || !cpu_list_has(left, cpu))
            continue;
        c->order[c->count++] = cpu;
        left->bits[cpu / 64] &= ~(1ull << (cpu % 64));
    }
}

// Isolated ones first, then the fast ones of a hybrid processor, then all others. The core of CPU 0
// does the kernel's housekeeping: last, unless two are all there are.
static void make_order(struct chooser *c)
{
    struct cpu_list left = c->usable;
    struct cpu_list fast;
    struct cpu_list zero = {.bits = {1}};
    struct cpu_list housekeeping = topology_domain(&c->topology, &zero);
    if (cpu_list_count(&c->usable) > 2 * cpu_list_count(&housekeeping))
        cpu_list_remove(&left, &housekeeping);
    if (!host_read_cpus(c->topology.root, "sys/devices/cpu_core/cpus", &fast))
        fast = (struct cpu_list){0};
    add_to_order(c, &c->tuned, &left);
    add_to_order(c, &c->topology.isolated, &left);
    add_to_order(c, &fast, &left);
    add_to_order(c, &c->usable, &left);
    add_to_order(c, &housekeeping, &housekeeping);
    c->count = c->count > cpu_list_count(&c->usable) ? cpu_list_count(&c->usable) : c->count;
}

static struct cpu_list domain_of(struct chooser *c, unsigned cpu)
{
    struct cpu_list one = {0};
    cpu_list_add(&one, cpu);
    return topology_domain(&c->topology, &one);
}

static enum core_use model_use(const struct chooser *c)
{
    return c->placement->state == PLACEMENT_SHARED ? CORE_MODEL_SHARED : CORE_MODEL;
}

static enum core_use hypervisor_use(const struct chooser *c)
{
    return c->placement->state == PLACEMENT_SHARED ? CORE_HYPERVISOR_SHARED : CORE_HYPERVISOR;
}

static int claim(struct chooser *c, const struct cpu_list *cpus, enum core_use use, unsigned *taken,
                 struct error *err)
{
    // Only CPUs that are there have a folder.
    struct cpu_list online = *cpus;
    struct cpu_list offline = *cpus;
    cpu_list_remove(&offline, &c->topology.online);
    cpu_list_remove(&online, &offline);
    return core_claim(&c->placement->claims, c->topology.root, &online, use, taken, err);
}

// What the choice of model cores has to keep to.
struct model_rule {
    int node;     // -1: any
    bool threads; // all CPUs of a core, not just one
    bool unused;  // only cores that no VM uses
};

// Takes cores for the model by a rule. Returns 0 if there are enough; 1 if not, and then none is
// taken.
static int take_model(struct chooser *c, const struct model_rule *rule, struct error *err)
{
    struct placement *p = c->placement;
    unsigned before = p->claims.count;
    unsigned found = 0;
    p->model = p->reserved = (struct cpu_list){0};
    for (unsigned i = 0; i < c->count && found < c->vcpus; i++) {
        unsigned cpu = c->order[i];
        unsigned taken;
        if (cpu_list_has(&p->hypervisor, cpu) ||
            (rule->node >= 0 && topology_cpu(&c->topology, cpu)->node != (unsigned)rule->node))
            continue;
        struct cpu_list domain = domain_of(c, cpu);
        if (cpu_list_meets(&domain, &p->reserved)) {
            if (!rule->threads || cpu_list_has(&p->model, cpu))
                continue;
        } else if (cpu_list_meets(&domain, &p->hypervisor) ||
                   (rule->unused && core_is_used(c->topology.root, &domain))) {
            continue;
        } else {
            int result = claim(c, &domain, model_use(c), &taken, err);
            if (result < 0)
                return -1;
            if (result)
                continue;
        }
        cpu_list_join(&p->reserved, &domain);
        cpu_list_add(&p->model, cpu);
        found++;
    }
    if (found == c->vcpus)
        return 0;
    core_claims_cut(&p->claims, before);
    p->model = p->reserved = (struct cpu_list){0};
    return 1;
}

// How good a CPU is for mediation: near the model, but behind a cache of its own. 0: not at all.
static unsigned rate_hypervisor(struct chooser *c, unsigned cpu, const struct cpu_list *domain)
{
    const struct placement *p = c->placement;
    const struct topology_cpu *found = topology_cpu(&c->topology, cpu);
    if (cpu_list_meets(domain, &p->reserved))
        return 0;
    bool same_node = found->node == p->node;
    bool same_cache = cpu_list_meets(&found->last_level, &p->model);
    return 1 + (same_node ? 2u : 0u) + (same_cache ? 0u : 1u);
}

// Takes one core for mediation. Returns 0; 1 if there is none.
static int take_hypervisor(struct chooser *c, struct error *err)
{
    struct placement *p = c->placement;
    struct cpu_list refused = {0};
    for (;;) {
        int best = -1;
        unsigned rating = 0;
        for (unsigned i = 0, looked = 0; i < c->count && looked < HYPERVISOR_CANDIDATES; i++) {
            unsigned cpu = c->order[i];
            if (cpu_list_has(&refused, cpu) || cpu_list_has(&p->reserved, cpu))
                continue;
            looked++;
            struct cpu_list domain = domain_of(c, cpu);
            unsigned rated = rate_hypervisor(c, cpu, &domain);
            if (rated > rating) {
                rating = rated;
                best = (int)cpu;
            }
        }
        if (best < 0)
            return 1;
        unsigned taken;
        struct cpu_list domain = domain_of(c, (unsigned)best);
        int result = claim(c, &domain, hypervisor_use(c), &taken, err);
        if (result < 0)
            return -1;
        if (result == 0) {
            cpu_list_add(&p->hypervisor, (unsigned)best);
            return 0;
        }
        cpu_list_join(&refused, &domain);
    }
}

// Model and, if it was not given, mediation, by one rule.
static int take_both(struct chooser *c, const struct model_rule *rule, struct error *err)
{
    struct placement *p = c->placement;
    unsigned before = p->claims.count;
    int result = take_model(c, rule, err);
    if (result)
        return result;
    p->node = topology_cpu(&c->topology, (unsigned)cpu_list_nth(&p->model, 0))->node;
    if (c->vm->hypervisor_cores_given)
        return 0;
    result = take_hypervisor(c, err);
    if (result)
        core_claims_cut(&p->claims, before);
    return result;
}

// Many VMs that share: not all of them on the first core.
static void rotate_order(struct chooser *c, unsigned by)
{
    unsigned order[CPU_LIST_MAX] = {0};
    for (unsigned i = 0; i < c->count; i++)
        order[i] = c->order[(i + by) % c->count];
    memcpy(c->order, order, c->count * sizeof(order[0]));
}

// Cores for a model that nobody gave: such that nobody uses if possible, of one node if possible,
// one CPU of each core if possible.
static int take_any(struct chooser *c, struct error *err)
{
    bool shared = c->placement->state == PLACEMENT_SHARED;
    for (unsigned pass = shared ? 0 : 1; pass < 5; pass++) {
        // The first pass is for those that share; for others it would be as the second.
        struct model_rule rule = {.node = -1, .threads = pass == 2 || pass == 4, .unused = !pass};
        unsigned nodes_seen = 0;
        if (shared && pass == 1 && c->count > 2)
            rotate_order(c, (unsigned)getpid() % c->count);
        for (unsigned i = 0; i < c->count; i++) {
            if (pass < 3) {
                unsigned node = topology_cpu(&c->topology, c->order[i])->node;
                if (node >= 32 || nodes_seen >> node & 1)
                    continue;
                nodes_seen |= 1u << node;
                rule.node = (int)node;
            }
            int result = take_both(c, &rule, err);
            if (result <= 0)
                return result;
            if (pass >= 3)
                break;
        }
    }
    return 1;
}

static int refuse_taken(unsigned cpu, const char *what, struct error *err)
{
    return error_set(err, EXIT_STATUS_RESOURCES, 0,
                     "%s: CPU %u is in use by another VM (`guillotine ps` shows the cores): end "
                     "that one, give other cores, or run both with --placement shared",
                     what, cpu);
}

static int check_given(const struct chooser *c, const char *what, const struct cpu_list *given,
                       struct error *err)
{
    struct cpu_list missing = *given;
    cpu_list_remove(&missing, &c->usable);
    if (!cpu_list_count(&missing))
        return 0;
    // Another VM's keeper may have moved this process off them.
    struct cpu_list first = {0};
    cpu_list_add(&first, (unsigned)cpu_list_nth(&missing, 0));
    if (core_is_used(c->topology.root, &first) && cpu_list_meets(&first, &c->topology.online))
        return refuse_taken((unsigned)cpu_list_nth(&missing, 0), what, err);
    char text[128];
    cpu_list_format(&c->usable, text, sizeof(text));
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "%s: CPU %d does not exist or is not usable here (usable: %s)", what,
                     cpu_list_nth(&missing, 0), text);
}

static int check_overlap(struct chooser *c, struct error *err)
{
    const struct vm_description *vm = c->vm;
    char text[128];
    struct cpu_list both = {0};
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++)
        both.bits[i] = vm->model_cores.bits[i] & vm->hypervisor_cores.bits[i];
    if (cpu_list_count(&both)) {
        cpu_list_format(&both, text, sizeof(text));
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "model cores and hypervisor cores overlap: CPU %s", text);
    }
    struct cpu_list domain = topology_domain(&c->topology, &vm->model_cores);
    if (c->placement->state == PLACEMENT_SHARED || !vm->hypervisor_cores_given ||
        !cpu_list_meets(&domain, &vm->hypervisor_cores))
        return 0;
    for (unsigned i = 0; i < CPU_LIST_MAX / 64; i++)
        both.bits[i] = domain.bits[i] & vm->hypervisor_cores.bits[i];
    cpu_list_format(&both, text, sizeof(text));
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "hypervisor core %s shares a physical core or a private cache with a model "
                     "core: give others, or --placement shared",
                     text);
}

static int claim_given(struct chooser *c, struct error *err)
{
    struct placement *p = c->placement;
    const struct vm_description *vm = c->vm;
    unsigned taken;
    if (vm->model_cores_given) {
        p->model = vm->model_cores;
        p->reserved = topology_domain(&c->topology, &p->model);
        p->node = topology_cpu(&c->topology, (unsigned)cpu_list_nth(&p->model, 0))->node;
        int result = claim(c, &p->reserved, model_use(c), &taken, err);
        if (result)
            return result < 0 ? -1 : refuse_taken(taken, "model cores", err);
    }
    if (!vm->hypervisor_cores_given)
        return 0;
    p->hypervisor = vm->hypervisor_cores;
    int result = claim(c, &p->hypervisor, hypervisor_use(c), &taken, err);
    return result <= 0 ? result : refuse_taken(taken, "hypervisor cores", err);
}

// Whether there would be enough if no other VM ran: all cores but the smallest for the model.
static bool is_host_large_enough(struct chooser *c)
{
    struct cpu_list seen = {0};
    unsigned cpus = 0;
    unsigned smallest = CPU_LIST_MAX;
    for (unsigned i = 0; i < c->count; i++) {
        if (cpu_list_has(&seen, c->order[i]))
            continue;
        struct cpu_list domain = domain_of(c, c->order[i]);
        struct cpu_list outside = domain;
        cpu_list_remove(&outside, &c->usable);
        cpu_list_join(&seen, &domain);
        unsigned count = cpu_list_count(&domain) - cpu_list_count(&outside);
        cpus += count;
        smallest = count < smallest ? count : smallest;
    }
    return cpus - smallest >= c->vcpus;
}

// Too few CPUs, whoever else runs: the VM runs anywhere, but with no other model.
static int run_anywhere(struct chooser *c, struct error *err)
{
    struct placement *p = c->placement;
    if (c->vm->require != VMM_REQUIRE_NONE)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--require: %u vCPUs and a hypervisor core need %u cores, %u are usable",
                         c->vcpus, c->vcpus + 1, cpu_list_count(&c->usable));
    unsigned taken;
    int result = claim(c, &c->usable, model_use(c), &taken, err);
    if (result)
        return result < 0 ? -1 : refuse_taken(taken, "placement", err);
    p->model = p->hypervisor = p->reserved = (struct cpu_list){0};
    p->weakness = "fewer cores than vCPUs and mediation need";
    if (p->state == PLACEMENT_ISOLATED)
        p->state = PLACEMENT_UNPINNED;
    return 0;
}

static int refuse_few(struct chooser *c, struct error *err)
{
    const struct placement *p = c->placement;
    bool model_given = c->vm->model_cores_given;
    unsigned have = model_given ? cpu_list_count(&p->model)
                                : cpu_list_count(&c->usable) - cpu_list_count(&p->hypervisor);
    if (model_given && have >= c->vcpus)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "the model cores leave no CPU for mediation that shares no core or "
                         "private cache with them and that no other VM uses");
    return error_set(err, EXIT_STATUS_RESOURCES, 0,
                     "%u vCPUs need %u model cores of their own, %u %s", c->vcpus, c->vcpus, have,
                     model_given ? "given" : "left");
}

static int choose(struct chooser *c, struct error *err)
{
    const struct vm_description *vm = c->vm;
    struct placement *p = c->placement;
    if (find_usable(c, err) < 0 || check_given(c, "model cores", &vm->model_cores, err) < 0 ||
        check_given(c, "hypervisor cores", &vm->hypervisor_cores, err) < 0 ||
        check_overlap(c, err) < 0)
        return -1;
    make_order(c);
    if (claim_given(c, err) < 0)
        return -1;
    if (vm->model_cores_given && cpu_list_count(&p->model) < c->vcpus)
        return refuse_few(c, err);
    int result = 0;
    if (!vm->model_cores_given)
        result = take_any(c, err);
    else if (!vm->hypervisor_cores_given)
        result = take_hypervisor(c, err);
    if (result <= 0)
        return result;
    if (vm->model_cores_given || vm->hypervisor_cores_given)
        return refuse_few(c, err);
    if (is_host_large_enough(c))
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "no free core: other VMs use them (`guillotine ps` shows the cores): end "
                         "one, or run all of them with --placement shared");
    return run_anywhere(c, err);
}

static void fill_config(const struct vm_description *vm, const struct placement *p,
                        struct vmm_config *config)
{
    unsigned hypervisors = cpu_list_count(&p->hypervisor);
    uint32_t pollers = vm->poller_threads           ? vm->poller_threads
                       : vm->hypervisor_cores_given ? hypervisors
                                                    : 1;
    if (pollers > config->port_count)
        pollers = config->port_count;
    if (pollers > VMM_MAX_POLLERS)
        pollers = VMM_MAX_POLLERS;
    config->poller_count = pollers ? pollers : 1;
    for (unsigned i = 0; i < VMM_MAX_POLLERS; i++)
        config->hypervisor_cpus[i] = hypervisors && i < config->poller_count
                                         ? cpu_list_nth(&p->hypervisor, i % hypervisors)
                                         : -1;
    bool pinned = cpu_list_count(&p->model) > 0;
    for (unsigned i = 0; i < VMM_MAX_VCPUS; i++)
        config->model_cpus[i] = pinned && i < config->vcpus ? cpu_list_nth(&p->model, i) : -1;
}

int placement_choose(const struct host_root *root, const struct vm_description *vm,
                     struct vmm_config *config, struct placement *placement, struct error *err)
{
    static struct chooser chooser; // large
    chooser = (struct chooser){.vm = vm, .vcpus = config->vcpus, .placement = placement};
    *placement = (struct placement){
        .state = vm->placement_shared ? PLACEMENT_SHARED : PLACEMENT_ISOLATED,
    };
    if (vm->placement_shared && vm->require == VMM_REQUIRE_STRICT)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--require strict: a VM with --placement shared has no core of its own");
    if (topology_open(&chooser.topology, root, err) < 0) {
        // No sysfs: a VM that shares needs to know nothing.
        if (placement->state != PLACEMENT_SHARED)
            return error_wrap(err, "placement: cores cannot be claimed (--placement shared runs "
                                   "without)");
        placement->weakness = "this host does not say which cores it has";
        fill_config(vm, placement, config);
        return 0;
    }
    int result = choose(&chooser, err);
    topology_close(&chooser.topology);
    if (result < 0)
        placement_release(placement);
    else
        fill_config(vm, placement, config);
    return result;
}

void placement_release(struct placement *placement)
{
    core_claims_release(&placement->claims);
}

void placement_leave_model_cores(const struct vmm_config *config, int thread)
{
    cpu_set_t set;
    if (config->hypervisor_cpus[0] < 0 || sched_getaffinity(0, sizeof(set), &set) < 0)
        return;
    for (unsigned i = 0; i < config->vcpus; i++)
        CPU_CLR((unsigned)config->model_cpus[i], &set);
    if (CPU_COUNT(&set))
        sched_setaffinity(thread, sizeof(set), &set);
}
