// SPDX-License-Identifier: Apache-2.0
// Cpusets that keep everything but a model off its cores, in both hierarchies of cgroups.
//
// Version 2: the vCPU threads are in a threaded, isolated partition below the root; the kernel
// takes its CPUs from everybody else. The VMM's process has to be in the root cgroup for that. Its
// other threads are in a group of their own: before Linux 6.2, all threads of the root lose their
// affinity when anybody makes or removes a partition (docs/bed.md).
// Version 1: the vCPU threads are in a cpuset of their own, and every task of the root cpuset is
// moved to one that has only the other CPUs; cpusets of others (containers) lose the model cores.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "host_cores_internal.h"
#include "host_originals.h"

#define V1   "sys/fs/cgroup/cpuset"
#define V2   "sys/fs/cgroup"
#define REST V1 "/guillotine-rest"

// Of our cpusets: PREFIX, the reservation's id, and what is in it (nothing for a partition).
#define V1_PREFIX  "guillotine-"
#define V2_PREFIX  "guillotine."
#define MODEL      ".model"
#define HYPERVISOR ".hypervisor"

// Tasks are born while others are moved: how often the list is read again.
#define MOVE_PASSES 5

// How long an empty cpuset may stay busy: 2 s.
#define REMOVE_TRIES    200u
#define REMOVE_PAUSE_US 10000

// Cpusets inside each other that are looked at.
#define DEPTH_MAX 8u

#define TASKS_MAX (4u << 20) // bytes of a list of tasks

#define THREADS_MAX 512u // threads of a VMM whose affinity is kept

enum host_cpuset host_cpuset_kind(const struct host_root *root)
{
    char text[512];
    if (host_read(root, V2 "/cgroup.controllers", text, sizeof(text)) > 0 && strstr(text, "cpuset"))
        return HOST_CPUSET_V2;
    return host_has(root, V1 "/cpuset.cpus") ? HOST_CPUSET_V1 : HOST_CPUSET_NONE;
}

bool host_cpuset_is_left(const struct host_root *root)
{
    return host_has(root, REST);
}

bool host_cpuset_is_setting(const char *path)
{
    return !strncmp(path, V1 "/", sizeof(V1)) || !strncmp(path, V2 "/cgroup", sizeof(V2) + 6);
}

// Writes a file of a cpuset. False with errno.
static bool put(const struct host_root *root, const char *folder, const char *file,
                const char *value)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    return host_write(root, path, value) == 0;
}

static bool put_cpus(const struct host_root *root, const char *folder, const struct cpu_list *cpus)
{
    char text[HOST_SETTING_MAX];
    cpu_list_format(cpus, text, sizeof(text));
    return put(root, folder, "cpuset.cpus", text);
}

static bool make_v1(const struct host_root *root, const char *folder, const struct cpu_list *cpus)
{
    char mems[HOST_SETTING_MAX];
    if (mkdirat(root->fd, folder, 0755) < 0 && errno != EEXIST)
        return false;
    return host_read(root, V1 "/cpuset.mems", mems, sizeof(mems)) > 0 &&
           put(root, folder, "cpuset.mems", mems) && put_cpus(root, folder, cpus);
}

// Moves all tasks of one version 1 cpuset to another. Returns how many it moved.
static unsigned move_tasks(const struct host_root *root, const char *from, const char *to)
{
    char path[512];
    unsigned moved = 0;
    cleanup_free char *tasks = malloc(TASKS_MAX);
    snprintf(path, sizeof(path), "%s/tasks", from);
    if (!tasks || host_read(root, path, tasks, TASKS_MAX) <= 0)
        return 0;
    char *rest = tasks;
    for (char *task = strsep(&rest, "\n"); task; task = strsep(&rest, "\n"))
        moved += *task && put(root, to, "tasks", task); // threads bound to a CPU refuse
    return moved;
}

// What one thread may run on.
struct thread_affinity {
    pid_t thread;
    cpu_set_t set;
};

struct adoption {
    const struct host_root *root;
    const struct host_reservation *reservation;
    enum host_cpuset kind;
    pid_t vmm;
    unsigned moved;
    struct thread_affinity *affinities; // as they were before anything was moved
    unsigned affinity_count;
};

static void model_folder(char *path, size_t size, enum host_cpuset kind, const char *id)
{
    if (kind == HOST_CPUSET_V2)
        snprintf(path, size, V2 "/" V2_PREFIX "%s", id);
    else
        snprintf(path, size, V1 "/" V1_PREFIX "%s" MODEL, id);
}

static void hypervisor_folder(char *path, size_t size, enum host_cpuset kind, const char *id)
{
    snprintf(path, size, "%s%s" HYPERVISOR,
             kind == HOST_CPUSET_V2 ? V2 "/" V2_PREFIX : V1 "/" V1_PREFIX, id);
}

static bool remember_affinity(void *context, const char *name)
{
    struct adoption *a = context;
    struct thread_affinity *one = &a->affinities[a->affinity_count];
    one->thread = (pid_t)strtol(name, NULL, 10);
    if (sched_getaffinity(one->thread, sizeof(one->set), &one->set) == 0)
        a->affinity_count++;
    return a->affinity_count < THREADS_MAX;
}

// Moves one thread, which keeps the affinity that it had.
static bool move_thread(const struct adoption *a, const char *folder, const char *thread)
{
    pid_t number = (pid_t)strtol(thread, NULL, 10);
    const char *file = a->kind == HOST_CPUSET_V2 ? "cgroup.threads" : "tasks";
    if (!put(a->root, folder, file, thread))
        return false;
    for (unsigned i = 0; i < a->affinity_count; i++) {
        if (a->affinities[i].thread == number)
            sched_setaffinity(number, sizeof(a->affinities[i].set), &a->affinities[i].set);
    }
    return true;
}

static bool adopt_thread(void *context, const char *name)
{
    struct adoption *a = context;
    char path[256];
    snprintf(path, sizeof(path), "proc/%d/task/%s/comm", a->vmm, name);
    bool is_vcpu = host_says(a->root, path, "vcpu");
    if (is_vcpu)
        model_folder(path, sizeof(path), a->kind, a->reservation->id);
    else
        hypervisor_folder(path, sizeof(path), a->kind, a->reservation->id);
    bool moved = move_thread(a, path, name);
    a->moved += is_vcpu && moved;
    return true;
}

// Makes a cpuset of version 2 for threads of processes of the root cgroup.
static bool make_threaded(const struct host_root *root, const char *path,
                          const struct cpu_list *cpus)
{
    return put(root, V2, "cgroup.subtree_control", "+cpuset") &&
           (mkdirat(root->fd, path, 0755) == 0 || errno == EEXIST) &&
           put(root, path, "cgroup.type", "threaded") && put_cpus(root, path, cpus);
}

static bool make_partition(const struct host_root *root, const char *id,
                           const struct cpu_list *cpus)
{
    char path[256];
    char state[256];
    model_folder(path, sizeof(path), HOST_CPUSET_V2, id);
    snprintf(state, sizeof(state), V2 "/" V2_PREFIX "%s/cpuset.cpus.partition", id);
    if (!make_threaded(root, path, cpus))
        return false;
    // One that became invalid stays so until it was a member again.
    return host_says(root, state, "isolated") ||
           (put(root, path, "cpuset.cpus.partition", "member") &&
            put(root, path, "cpuset.cpus.partition", "isolated"));
}

// Removes a cpuset without tasks. False with errno. A partition gives its CPUs back first: those of
// one that is just removed come back some time later.
static bool remove_empty(const struct host_root *root, enum host_cpuset kind, const char *path)
{
    if (kind == HOST_CPUSET_V2)
        put(root, path, "cpuset.cpus.partition", "member");
    return unlinkat(root->fd, path, AT_REMOVEDIR) == 0;
}

// The cpusets of a VM, without threads. False with errno.
static bool make_cpusets(const struct adoption *a)
{
    const struct host_reservation *reservation = a->reservation;
    char model[256];
    char hypervisor[256];
    char number[32];
    model_folder(model, sizeof(model), a->kind, reservation->id);
    hypervisor_folder(hypervisor, sizeof(hypervisor), a->kind, reservation->id);
    if (a->kind == HOST_CPUSET_V1)
        return make_v1(a->root, model, &reservation->model) &&
               make_v1(a->root, hypervisor, &reservation->hypervisor);
    // What `host tune` has reserved is in nobody's use: the VM takes it over.
    char tuned[256];
    model_folder(tuned, sizeof(tuned), a->kind, HOST_CORES_TUNE);
    remove_empty(a->root, a->kind, tuned);
    snprintf(number, sizeof(number), "%d", a->vmm);
    // Before there is a partition: who comes to the root later may run there (Linux 6.1).
    return put(a->root, V2, "cgroup.procs", number) &&
           make_threaded(a->root, hypervisor, &reservation->hypervisor) &&
           make_partition(a->root, reservation->id, &reservation->model);
}

int host_cores_adopt(const struct host_root *root, const struct host_reservation *reservation,
                     pid_t vmm, struct error *err)
{
    cleanup_free struct thread_affinity *affinities = calloc(THREADS_MAX, sizeof(*affinities));
    struct adoption a = {
        .root = root,
        .reservation = reservation,
        .kind = host_cpuset_kind(root),
        .vmm = vmm,
        .affinities = affinities,
    };
    char path[256];
    if (!affinities)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "cpusets");
    snprintf(path, sizeof(path), "proc/%d/task", vmm);
    if (root->real)
        host_each(root, path, remember_affinity, &a);
    if (a.kind == HOST_CPUSET_NONE || !make_cpusets(&a)) {
        int code = errno;
        model_folder(path, sizeof(path), a.kind, reservation->id);
        return error_set(err, EXIT_STATUS_HOST_REFUSED, a.kind ? code : 0,
                         a.kind ? "cpusets: /%s" : "this host has no cpusets (%s)",
                         a.kind ? path : "no cgroup controller");
    }
    host_each(root, path, adopt_thread, &a);
    return a.moved ? 0 : error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "cpusets: move vCPUs");
}

void host_cores_lend(const struct host_root *root, pid_t vmm)
{
    struct cpu_list tuned = host_cores_tuned(root);
    char path[256];
    char number[32];
    if (!cpu_list_count(&tuned))
        return;
    switch (host_cpuset_kind(root)) {
    case HOST_CPUSET_V1:
        snprintf(number, sizeof(number), "%d", vmm);
        put(root, V1, "cgroup.procs", number);
        break;
    case HOST_CPUSET_V2:
        // What is left of it comes back when the host settles.
        model_folder(path, sizeof(path), HOST_CPUSET_V2, HOST_CORES_TUNE);
        remove_empty(root, HOST_CPUSET_V2, path);
        break;
    case HOST_CPUSET_NONE:
    default:
        break;
    }
}

static bool is_alive(const struct settling *s, const char *id, size_t length)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (strlen(s->reservations[i].id) == length && !memcmp(s->reservations[i].id, id, length))
            return true;
    }
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    return length >= end_length && !strcmp(text + length - end_length, end);
}

// Removes a cpuset; in version 1, its tasks go to the root. The dead stay in one until their
// parents have asked for them, and those that are just dying cannot be moved.
static void remove_cpuset(struct settling *s, const char *path, bool has_tasks)
{
    for (unsigned i = 0; i < REMOVE_TRIES; i++) {
        if (i)
            usleep(REMOVE_PAUSE_US);
        for (unsigned pass = 0; has_tasks && pass < MOVE_PASSES; pass++) {
            if (!move_tasks(s->root, path, V1))
                break;
        }
        if (remove_empty(s->root, s->report->cpuset, path) || errno == ENOENT)
            return;
        if (errno != EBUSY)
            break;
    }
    s->report->settings_failed++;
}

// Removes a cpuset of a reservation that is no more.
static bool remove_dead(void *context, const char *name)
{
    struct settling *s = context;
    bool is_v2 = s->report->cpuset == HOST_CPUSET_V2;
    const char *prefix = is_v2 ? V2_PREFIX : V1_PREFIX;
    char path[512];
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return true;
    const char *id = name + strlen(prefix);
    size_t length = strlen(id);
    if (!is_v2 && ends_with(name, MODEL))
        length -= sizeof(MODEL) - 1;
    else if (ends_with(name, HYPERVISOR))
        length -= sizeof(HYPERVISOR) - 1;
    else if (!is_v2)
        return true; // REST
    if (is_alive(s, id, length))
        return true;
    snprintf(path, sizeof(path), "%s/%s", is_v2 ? V2 : V1, name);
    remove_cpuset(s, path, !is_v2);
    return true;
}

// A walk over the cpusets of others, the inner ones first.
struct walk {
    struct settling *s;
    const char *folder;
    unsigned depth;
};

static bool shrink_cpuset(void *context, const char *name)
{
    const struct walk *walk = context;
    struct settling *s = walk->s;
    char folder[512];
    char path[640];
    char text[HOST_SETTING_MAX];
    struct cpu_list original;
    snprintf(folder, sizeof(folder), "%s/%s", walk->folder, name);
    snprintf(path, sizeof(path), "%s/cpuset.cpus", folder);
    if (!strncmp(name, V1_PREFIX, sizeof(V1_PREFIX) - 1) || walk->depth == DEPTH_MAX ||
        !host_has(s->root, path))
        return true;
    struct walk inner = {s, folder, walk->depth + 1};
    host_each(s->root, folder, shrink_cpuset, &inner);
    if (host_setting_original(s->root, path, text, sizeof(text)) <= 0 ||
        cpu_list_parse(text, &original, NULL) < 0)
        return true;
    struct cpu_list wanted = original;
    cpu_list_remove(&wanted, &s->model);
    if (!cpu_list_count(&wanted))
        wanted = s->others;
    cpu_list_format(&wanted, text, sizeof(text));
    if (host_setting_change(s->root, path, text, &s->err))
        s->report->others_kept_off = false;
    return true;
}

// Counts the tasks of the root cpuset that may still run on a model core: threads of the kernel
// that are bound to one.
static void count_left(struct settling *s)
{
    cleanup_free char *tasks = malloc(TASKS_MAX);
    if (!tasks || host_read(s->root, V1 "/tasks", tasks, TASKS_MAX) <= 0)
        return;
    char *rest = tasks;
    for (char *task = strsep(&rest, "\n"); task; task = strsep(&rest, "\n")) {
        cpu_set_t set;
        struct cpu_list allowed = {0};
        if (!*task || sched_getaffinity((pid_t)strtol(task, NULL, 10), sizeof(set), &set) < 0)
            continue;
        for (unsigned cpu = 0; cpu < CPU_SETSIZE && cpu < CPU_LIST_MAX; cpu++) {
            if (CPU_ISSET(cpu, &set))
                cpu_list_add(&allowed, cpu);
        }
        s->report->tasks_left += cpu_list_meets(&allowed, &s->model);
    }
}

static void settle_v1(struct settling *s)
{
    if (!make_v1(s->root, REST, &s->others))
        return;
    s->report->others_kept_off = true;
    for (unsigned pass = 0; pass < MOVE_PASSES && move_tasks(s->root, V1, REST); pass++)
        continue;
    if (s->root->real)
        count_left(s);
    struct walk outer = {s, V1, 0};
    host_each(s->root, V1, shrink_cpuset, &outer);
    host_each(s->root, V1, remove_dead, s);
}

static void settle_v2(struct settling *s)
{
    struct cpu_list vms = {0};
    char path[256];
    host_each(s->root, V2, remove_dead, s);
    s->report->others_kept_off = true;
    for (unsigned i = 0; i < s->count; i++) {
        if (strcmp(s->reservations[i].id, HOST_CORES_TUNE) != 0)
            cpu_list_join(&vms, &s->reservations[i].model);
    }
    for (unsigned i = 0; i < s->count; i++) {
        struct host_reservation *one = &s->reservations[i];
        struct cpu_list cpus = one->model;
        if (!strcmp(one->id, HOST_CORES_TUNE))
            cpu_list_remove(&cpus, &vms);
        if (!cpu_list_count(&cpus))
            continue;
        model_folder(path, sizeof(path), HOST_CPUSET_V2, one->id);
        // A VM's was made when its threads were adopted.
        if (!strcmp(one->id, HOST_CORES_TUNE))
            make_partition(s->root, one->id, &cpus);
        strncat(path, "/cpuset.cpus.partition", sizeof(path) - strlen(path) - 1);
        if (!host_says(s->root, path, "isolated"))
            s->report->others_kept_off = false;
    }
}

void host_cpuset_settle(struct settling *s)
{
    if (s->report->cpuset == HOST_CPUSET_V1)
        settle_v1(s);
    else if (s->report->cpuset == HOST_CPUSET_V2)
        settle_v2(s);
}

void host_cpuset_dissolve(struct settling *s)
{
    if (s->report->cpuset == HOST_CPUSET_V1) {
        host_each(s->root, V1, remove_dead, s);
        if (host_has(s->root, REST))
            remove_cpuset(s, REST, true);
    } else if (s->report->cpuset == HOST_CPUSET_V2) {
        host_each(s->root, V2, remove_dead, s);
    }
}
