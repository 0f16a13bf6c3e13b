// SPDX-License-Identifier: Apache-2.0
// State files that are lost or rolled back: what the register knows of them, and what is written in
// their place.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "key_set_store.h"
#include "level_order.h"
#include "vm_state_internal.h"

// Above every generation that the lost file can have had, whatever log remembers it.
#define GENERATION_STEP (1ull << 32)

static void doubt(struct state_record *record, uint32_t level, const char *reason)
{
    if (record->level >= level)
        return;
    record->level = level;
    snprintf(record->reason, sizeof(record->reason), "%s", reason);
}

void state_compare(struct state_view *view, const struct vm_register *reg)
{
    struct state_record *record = &view->record;
    const struct register_note *note = vm_register_find_note(reg, &record->uuid);
    if (!note)
        return;
    if (!view->lost && record->generation < note->generation) {
        // A process that runs the VM knows better than the file, and is perhaps about to write it.
        view->lost = view->damaged = !view->in_use;
        doubt(record, view->in_use ? note->level : LEVEL_OFFLINE, "its state file was rolled back");
    }
    if (note->level > LEVEL_OFFLINE)
        doubt(record, note->level, "the register says so");
    if (note->sequence > record->sequence)
        record->sequence = note->sequence;
    if (note->orders_from_s > record->orders_from_s)
        record->orders_from_s = note->orders_from_s;
    if (note->keys.version > record->keys.version)
        record->keys = note->keys;
    view->noted_generation = note->generation;
}

int state_note(const struct deployment *deployment, struct vm_register *reg,
               const struct state_record *record, struct error *err)
{
    const struct register_note note = {
        .uuid = record->uuid,
        .created_wall_ns = clock_wall_ns(&clock_host),
        .generation = record->generation + 1,
        .sequence = record->sequence,
        .orders_from_s = record->orders_from_s,
        .level = record->level,
        .keys = record->keys,
    };
    return vm_register_append_note(reg, &note, deployment->key, err);
}

void state_void_orders(struct state_record *record)
{
    uint64_t from_s = clock_wall_ns(&clock_host) / NS_PER_S + LEVEL_ORDER_SKEW_S;
    record->orders_from_s = from_s > record->orders_from_s ? from_s : record->orders_from_s + 1;
}

int state_settle_loss(const struct deployment *deployment, struct vm_register *reg,
                      struct state_view *view, struct error *err)
{
    struct state_record *record = &view->record;
    if (!view->lost || view->in_use)
        return 0;
    if (view->noted_generation > record->generation)
        record->generation = view->noted_generation;
    record->generation += GENERATION_STEP;
    record->since_wall_ns = clock_wall_ns(&clock_host);
    record->running = false; // the level says what that meant
    state_void_orders(record);
    if (state_note(deployment, reg, record, err) < 0 || state_write(deployment, view, err) < 0)
        return -1;
    view->lost = false;
    return 0;
}

int state_for_each(const struct deployment *deployment,
                   int (*visit)(void *context, const struct uuid *uuid, struct error *err),
                   void *context, struct error *err)
{
    int fd = openat(deployment->folder, "vms", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    int result = 0;
    if (!folder) {
        error_set(err, EXIT_STATUS_ISOLATED, errno, "state directory: vms");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    for (struct dirent *entry; result == 0 && (entry = readdir(folder));) {
        struct uuid uuid;
        char text[UUID_TEXT_SIZE];
        if (strlen(entry->d_name) != UUID_TEXT_SIZE - 1 + sizeof(".state") - 1 ||
            strcmp(entry->d_name + UUID_TEXT_SIZE - 1, ".state") != 0)
            continue;
        memcpy(text, entry->d_name, UUID_TEXT_SIZE - 1);
        text[UUID_TEXT_SIZE - 1] = '\0';
        if (uuid_parse(text, &uuid))
            result = visit(context, &uuid, err);
    }
    closedir(folder);
    return result;
}

struct search {
    const struct deployment *deployment;
    const struct vm_register *reg;
    struct key_set_pin newest;
    bool orphans;
};

static int look_at(void *context, const struct uuid *uuid, struct error *err)
{
    struct search *search = context;
    struct state_view view;
    (void)err;
    state_open(search->deployment, search->reg, uuid, false, &view);
    if (view.record.keys.version > search->newest.version)
        search->newest = view.record.keys;
    search->orphans |= !vm_register_has(search->reg, uuid);
    return 0;
}

int state_find_keys(const struct deployment *deployment, const struct vm_register *reg,
                    struct key_set_pin *newest, struct error *err)
{
    struct search search = {.deployment = deployment, .reg = reg, .newest = reg->keys};
    int result = state_for_each(deployment, look_at, &search, err);
    *newest = search.newest;
    return result;
}

int state_note_keys(const struct deployment *deployment, struct vm_register *reg,
                    const struct key_set_file *file, struct error *err)
{
    struct register_note note = {.created_wall_ns = clock_wall_ns(&clock_host)};
    // One of another installation is refused where it is used.
    if (file->set.version <= reg->keys.version ||
        memcmp(file->set.deployment, deployment->uuid.bytes, UUID_BYTES) != 0)
        return 0;
    if (key_set_pin_make(file, &note.keys, err) < 0)
        return -1;
    return vm_register_append_note(reg, &note, deployment->key, err);
}

int state_check_register(const struct deployment *deployment, const struct vm_register *reg,
                         struct error *err)
{
    struct search search = {.deployment = deployment, .reg = reg};
    if (!reg->damaged && reg->torn && state_for_each(deployment, look_at, &search, err) < 0)
        return -1;
    return reg->damaged || search.orphans
               ? error_set(err, EXIT_STATUS_ISOLATED, 0,
                           "the register is damaged: restore it from a backup")
               : 0;
}
