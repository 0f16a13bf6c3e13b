// SPDX-License-Identifier: Apache-2.0
// Reservations of cores, and the host as they want it.
#include "host_cores.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "core_claim.h"
#include "cpu_mask.h"
#include "file.h"
#include "host_cache.h"
#include "host_cores_internal.h"
#include "host_originals.h"

#define CORES_FOLDER HOST_STATE_FOLDER "/cores"
#define LOCK_FILE    HOST_STATE_FOLDER "/lock"

#define IRQ_FOLDER "proc/irq"

// Unbound work of the kernel, and where new interrupts go: masks.
static const char *const mask_settings[] = {
    "sys/devices/virtual/workqueue/cpumask",
    "proc/irq/default_smp_affinity",
};

static void reservation_path(char *path, size_t size, const char *id)
{
    snprintf(path, size, CORES_FOLDER "/%s", id);
}

static bool id_is_sound(const char *id)
{
    size_t length = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return length && length < sizeof(((struct host_reservation *)NULL)->id) && !id[length];
}

int host_cores_reserve(const struct host_root *root, const struct host_reservation *reservation,
                       int *lock, struct error *err)
{
    char path[160];
    char text[2048];
    char model[900];
    char hypervisor[900];
    if (host_state_open(root, err) < 0)
        return -1;
    if (mkdirat(root->fd, CORES_FOLDER, 0755) < 0 && errno != EEXIST)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "/" CORES_FOLDER);
    reservation_path(path, sizeof(path), reservation->id);
    cleanup_fd int fd = openat(root->fd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "/%s", path);
    cpu_list_format(&reservation->model, model, sizeof(model));
    cpu_list_format(&reservation->hypervisor, hypervisor, sizeof(hypervisor));
    snprintf(text, sizeof(text), "%s\n%s\n", model, hypervisor);
    if (ftruncate(fd, 0) < 0 || file_write(fd, text, strlen(text), err) < 0)
        return -1;
    *lock = steal_fd(&fd);
    return 0;
}

void host_cores_unreserve(const struct host_root *root, const char *id)
{
    char path[160];
    reservation_path(path, sizeof(path), id);
    unlinkat(root->fd, path, 0);
}

struct census {
    const struct host_root *root;
    unsigned alive;
    unsigned dead;
    unsigned unused; // of those that are alive: no VM has their cores any more
};

static bool count_reservation(void *context, const char *name)
{
    struct census *census = context;
    char path[160];
    reservation_path(path, sizeof(path), name);
    cleanup_fd int fd = openat(census->root->fd, path, O_RDONLY | O_CLOEXEC);
    bool dead = fd >= 0 && strcmp(name, HOST_CORES_TUNE) != 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    census->dead += dead;
    census->alive += !dead;
    char text[2048];
    struct cpu_list model;
    if (dead || !strcmp(name, HOST_CORES_TUNE) ||
        host_read(census->root, path, text, sizeof(text)) <= 0)
        return true;
    text[strcspn(text, "\n")] = '\0';
    census->unused +=
        cpu_list_parse(text, &model, NULL) == 0 && !core_is_used(census->root, &model);
    return true;
}

bool host_cores_are_settling(const struct host_root *root)
{
    struct census census = {.root = root};
    return host_each(root, CORES_FOLDER, count_reservation, &census) && census.unused;
}

bool host_cores_are_stale(const struct host_root *root)
{
    struct census census = {.root = root};
    if (!host_each(root, CORES_FOLDER, count_reservation, &census))
        return false;
    return census.dead || (!census.alive && (host_has(root, HOST_STATE_FOLDER "/originals") ||
                                             host_cpuset_is_left(root)));
}

// Adds the cores of one reservation, if it is alive; else removes it.
static bool add_reservation(void *context, const char *name)
{
    struct settling *s = context;
    char path[160];
    char text[2048];
    struct host_reservation *found = &s->reservations[s->count];
    if (!id_is_sound(name) || s->count == HOST_RESERVATIONS_MAX)
        return true;
    reservation_path(path, sizeof(path), name);
    cleanup_fd int fd = openat(s->root->fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    if (strcmp(name, HOST_CORES_TUNE) != 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        unlinkat(s->root->fd, path, 0);
        return true;
    }
    if (host_read(s->root, path, text, sizeof(text)) <= 0)
        return true;
    // The second line may be empty: `host tune` reserves no hypervisor cores.
    char *rest = text;
    const char *model = strsep(&rest, "\n");
    const char *hypervisor = rest ? rest : "";
    *found = (struct host_reservation){0};
    snprintf(found->id, sizeof(found->id), "%s", name);
    if (cpu_list_parse(model, &found->model, NULL) < 0 ||
        (*hypervisor && cpu_list_parse(hypervisor, &found->hypervisor, NULL) < 0))
        return true;
    cpu_list_join(&s->model, &found->model);
    s->count++;
    return true;
}

// The new value of a list: what it was without the model cores, or all others if none is left.
static struct cpu_list without_models(const struct settling *s, const struct cpu_list *original)
{
    struct cpu_list rest = *original;
    cpu_list_remove(&rest, &s->model);
    return cpu_list_count(&rest) ? rest : s->others;
}

static bool move_interrupt(void *context, const char *name)
{
    struct settling *s = context;
    char path[128];
    char text[HOST_SETTING_MAX];
    struct cpu_list original;
    if (!isdigit((unsigned char)name[0]))
        return true;
    snprintf(path, sizeof(path), IRQ_FOLDER "/%s/smp_affinity_list", name);
    if (host_setting_original(s->root, path, text, sizeof(text)) <= 0 ||
        cpu_list_parse(text, &original, NULL) < 0)
        return true;
    // Also one that meets no model core any more: then this puts it back.
    struct cpu_list wanted = original;
    if (cpu_list_meets(&original, &s->model))
        wanted = without_models(s, &original);
    cpu_list_format(&wanted, text, sizeof(text));
    if (host_setting_change(s->root, path, text, &s->err) == 0)
        return true;
    // One that only ever comes to another CPU does not matter.
    struct cpu_list effective;
    snprintf(path, sizeof(path), IRQ_FOLDER "/%s/effective_affinity_list", name);
    if (!host_read_cpus(s->root, path, &effective) || !cpu_list_count(&effective) ||
        cpu_list_meets(&effective, &s->model))
        s->report->interrupts_left++;
    return true;
}

static void move_masks(struct settling *s)
{
    for (size_t i = 0; i < sizeof(mask_settings) / sizeof(mask_settings[0]); i++) {
        char text[HOST_SETTING_MAX];
        char mask[CPU_MASK_SIZE];
        struct cpu_list original;
        if (host_setting_original(s->root, mask_settings[i], text, sizeof(text)) <= 0 ||
            !cpu_mask_parse(text, &original))
            continue;
        struct cpu_list wanted = without_models(s, &original);
        // Bits of CPUs that do not exist are refused by some files and harmless to leave out.
        struct cpu_list absent = wanted;
        cpu_list_remove(&absent, &s->online);
        cpu_list_remove(&wanted, &absent);
        cpu_mask_format(&wanted, mask);
        host_setting_change(s->root, mask_settings[i], mask, &s->err);
    }
}

static bool is_of_cores(const char *path, void *context)
{
    (void)context;
    if (!strncmp(path, IRQ_FOLDER "/", sizeof(IRQ_FOLDER)))
        return true;
    for (size_t i = 0; i < sizeof(mask_settings) / sizeof(mask_settings[0]); i++) {
        if (!strcmp(path, mask_settings[i]))
            return true;
    }
    return host_cpuset_is_setting(path);
}

// A part of the cache whose VM is no more.
static bool drop_cache(void *context, const char *name)
{
    static const char prefix[] = "guillotine.";
    const struct settling *s = context;
    const char *id = name + sizeof(prefix) - 1;
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0 || !id_is_sound(id))
        return true;
    for (unsigned i = 0; i < s->count; i++) {
        if (!strcmp(s->reservations[i].id, id))
            return true;
    }
    host_cache_release(s->root, id);
    return true;
}

static int settle_locked(struct settling *s, struct error *err)
{
    const struct host_root *root = s->root;
    if (!host_read_cpus(root, "sys/devices/system/cpu/online", &s->online))
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno,
                         "/sys/devices/system/cpu/online does not say which CPUs there are");
    host_each(root, CORES_FOLDER, add_reservation, s);
    host_each(root, "sys/fs/resctrl", drop_cache, s);
    s->others = s->online;
    cpu_list_remove(&s->others, &s->model);
    s->report->cpuset = host_cpuset_kind(root);
    if (!cpu_list_count(&s->model)) {
        host_cpuset_dissolve(s);
        s->report->settings_failed = host_settings_restore(root, is_of_cores, s);
        return 0;
    }
    if (!cpu_list_count(&s->others))
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "the model cores are all CPUs: nothing can be kept off them");
    host_cpuset_settle(s);
    host_each(root, IRQ_FOLDER, move_interrupt, s);
    move_masks(s);
    return 0;
}

int host_cores_lock(const struct host_root *root, struct error *err)
{
    if (host_state_open(root, err) < 0)
        return -1;
    cleanup_fd int lock = openat(root->fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "/" LOCK_FILE);
    return steal_fd(&lock);
}

struct cpu_list host_cores_tuned(const struct host_root *root)
{
    struct cpu_list cpus = {0};
    char text[2048];
    if (host_read(root, CORES_FOLDER "/" HOST_CORES_TUNE, text, sizeof(text)) > 0) {
        text[strcspn(text, "\n")] = '\0';
        if (cpu_list_parse(text, &cpus, NULL) < 0)
            cpus = (struct cpu_list){0};
    }
    return cpus;
}

int host_cores_settle(const struct host_root *root, struct host_cores_report *report,
                      struct error *err)
{
    *report = (struct host_cores_report){0};
    // One at a time, whichever VM it is for.
    cleanup_fd int lock = host_cores_lock(root, err);
    if (lock < 0)
        return -1;
    cleanup_free struct settling *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "cores");
    s->root = root;
    s->report = report;
    return settle_locked(s, err);
}
