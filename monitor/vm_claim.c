// SPDX-License-Identifier: Apache-2.0
// Which VM a launch is, and at which level it may run.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "key_set_store.h"
#include "vm_state_internal.h"

// One launch, while the register is locked.
struct claim {
    struct vm_state *state;
    const struct vm_state_request *request;
    struct vm_register reg;
    struct state_view own;
    struct state_record worst; // the record that decides
    bool registered;           // the UUID has an entry
    bool described;            // one of them has this name and these digests
    bool orphans;              // state files without an entry: nobody knows their digests
};

static void worsen(struct claim *claim, const struct state_record *record)
{
    if (record->level > claim->worst.level)
        claim->worst = *record;
}

static void worsen_by_doubt(struct claim *claim, const char *reason)
{
    struct state_record record = {.uuid = claim->state->uuid, .level = LEVEL_OFFLINE};
    snprintf(record.reason, sizeof(record.reason), "%s", reason);
    worsen(claim, &record);
}

// A visit of each state file that has no entry in the register.
struct orphan_visit {
    struct claim *claim;
    int (*visit)(struct claim *, const struct uuid *, struct error *);
};

static int visit_orphan(void *context, const struct uuid *uuid, struct error *err)
{
    const struct orphan_visit *orphans = context;
    struct claim *claim = orphans->claim;
    return vm_register_has(&claim->reg, uuid) ? 0 : orphans->visit(claim, uuid, err);
}

static int for_orphans(struct claim *claim,
                       int (*visit)(struct claim *, const struct uuid *, struct error *),
                       struct error *err)
{
    struct orphan_visit orphans = {claim, visit};
    return state_for_each(&claim->state->deployment, visit_orphan, &orphans, err);
}

static int note_orphan(struct claim *claim, const struct uuid *uuid, struct error *err)
{
    (void)uuid;
    (void)err;
    claim->orphans = true;
    return 0;
}

static bool describes(const struct claim *claim, const struct register_entry *entry)
{
    const struct vm_state_request *request = claim->request;
    bool generated = entry->flags & REGISTER_NAME_GENERATED;
    return digest_set_equal(&entry->digests, &request->digests) &&
           (request->name_generated ? generated
                                    : !generated && !strcmp(entry->name, request->name));
}

// Opens the VM's own state. False if the VM is running.
static bool open_own(struct claim *claim, const struct uuid *uuid)
{
    state_open(&claim->state->deployment, &claim->reg, uuid, true, &claim->own);
    if (!claim->own.in_use)
        return true;
    close(claim->own.fd);
    claim->own.fd = -1;
    return false;
}

static int find(struct claim *claim, struct error *err)
{
    const struct vm_state_request *request = claim->request;
    struct uuid *uuid = &claim->state->uuid;
    if (request->uuid) {
        *uuid = *request->uuid;
        claim->registered = vm_register_has(&claim->reg, uuid);
        for (size_t i = 0; i < claim->reg.count; i++)
            claim->described |= uuid_equal(&claim->reg.entries[i].uuid, uuid) &&
                                describes(claim, &claim->reg.entries[i]);
        if (!open_own(claim, uuid))
            return error_set(err, EXIT_STATUS_RESOURCES, 0, "a VM of this UUID is running");
        return 0;
    }
    for (size_t i = claim->reg.count; i-- > 0;) {
        if (!describes(claim, &claim->reg.entries[i]))
            continue;
        *uuid = claim->reg.entries[i].uuid;
        if (open_own(claim, uuid)) {
            claim->registered = claim->described = true;
            return 0;
        }
    }
    claim->own.missing = true;
    return uuid_make(uuid, err);
}

// Levels of the other VMs with these digests. With `in_use_only` those that a reset cannot touch.
static void judge_others(struct claim *claim, bool in_use_only)
{
    const struct vm_state_request *request = claim->request;
    for (size_t i = 0; i < claim->reg.count; i++) {
        const struct register_entry *entry = &claim->reg.entries[i];
        struct state_view view;
        if (uuid_equal(&entry->uuid, &claim->state->uuid) ||
            !digest_set_shares(&request->digests, &entry->digests, request->permitted,
                               request->context))
            continue;
        state_open(&claim->state->deployment, &claim->reg, &entry->uuid, false, &view);
        if (!in_use_only || view.in_use)
            worsen(claim, &view.record);
    }
}

static void judge(struct claim *claim)
{
    struct state_record *own = &claim->own.record;
    if (!claim->registered && claim->own.missing) // new
        *own = (struct state_record){
            .since_wall_ns = clock_wall_ns(&clock_host), .keys = own->keys, .reason = "new"};
    own->uuid = claim->state->uuid;
    claim->worst = *own;
    judge_others(claim, false);
    // One that ends within an entry has lost nobody if every state file has one.
    if (claim->reg.damaged || (claim->reg.torn && claim->orphans))
        worsen_by_doubt(claim, "the register is damaged: nobody knows what ran here");
    else if (claim->orphans)
        worsen_by_doubt(claim, "the register lost a VM: nobody knows which digests it had");
}

static int append(struct claim *claim, const struct register_entry *entry, struct error *err)
{
    return vm_register_append(&claim->reg, entry, claim->state->deployment.key, err);
}

// An orphan gets an entry, and its level is Offline until a reset or an order is about itself.
static int recover_orphan(struct claim *claim, const struct uuid *uuid, struct error *err)
{
    struct register_entry entry = {
        .uuid = *uuid,
        .created_wall_ns = clock_wall_ns(&clock_host),
        .flags = REGISTER_RECOVERED | REGISTER_NAME_GENERATED,
        .name = "recovered",
    };
    struct state_view view;
    if (uuid_equal(uuid, &claim->state->uuid))
        return 0; // registered and reset with this launch
    state_open(&claim->state->deployment, &claim->reg, uuid, true, &view);
    if (state_settle_loss(&claim->state->deployment, &claim->reg, &view, err) < 0) {
        if (view.fd >= 0)
            close(view.fd);
        return -1;
    }
    cleanup_fd int fd = view.fd;
    if (view.record.level < LEVEL_OFFLINE) {
        view.record.level = LEVEL_OFFLINE;
        snprintf(view.record.reason, sizeof(view.record.reason), "its register entry was lost");
    }
    if (fd >= 0 && !view.in_use && state_write(&claim->state->deployment, &view, err) < 0)
        return -1;
    return append(claim, &entry, err);
}

// A damaged register is kept under another name, and a new one begun.
static int replace_register(struct claim *claim, struct error *err)
{
    int folder = claim->state->deployment.folder;
    if (renameat(folder, "register", folder, "register.damaged") < 0 || fsync(folder) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "move the damaged register away");
    vm_register_close(&claim->reg);
    return vm_register_open(&claim->reg, folder, claim->state->deployment.key, err);
}

static void set_standard(struct state_record *record)
{
    record->level = LEVEL_STANDARD;
    record->running = false;
    record->since_wall_ns = clock_wall_ns(&clock_host);
    snprintf(record->reason, sizeof(record->reason), "--accept-level-reset");
}

static int reset_other(struct claim *claim, struct state_view *view, struct error *err)
{
    const struct deployment *deployment = &claim->state->deployment;
    if (view->in_use || view->record.level <= LEVEL_STANDARD)
        return 0;
    if (state_settle_loss(deployment, &claim->reg, view, err) < 0)
        return -1;
    set_standard(&view->record);
    claim->state->levels_reset++;
    return state_write(deployment, view, err);
}

static int reset_others(struct claim *claim, struct error *err)
{
    const struct vm_state_request *request = claim->request;
    for (size_t i = 0; i < claim->reg.count; i++) {
        const struct register_entry *entry = &claim->reg.entries[i];
        struct state_view view;
        if (uuid_equal(&entry->uuid, &claim->state->uuid) ||
            !digest_set_shares(&request->digests, &entry->digests, request->permitted,
                               request->context))
            continue;
        state_open(&claim->state->deployment, &claim->reg, &entry->uuid, true, &view);
        int result = reset_other(claim, &view, err);
        if (view.fd >= 0)
            close(view.fd);
        if (result < 0)
            return -1;
    }
    return 0;
}

// Takes everything that a launch of these digests depends on back to Standard, durable.
static int reset(struct claim *claim, struct error *err)
{
    if (claim->reg.damaged && replace_register(claim, err) < 0)
        return -1;
    if (for_orphans(claim, recover_orphan, err) < 0 || reset_others(claim, err) < 0)
        return -1;
    claim->registered = vm_register_has(&claim->reg, &claim->state->uuid);
    claim->described = claim->described && claim->registered;
    set_standard(&claim->own.record);
    claim->state->levels_reset++;
    claim->state->was_reset = true;
    claim->worst = claim->own.record;
    judge_others(claim, true);
    return 0;
}

static int refuse_reset(struct error *err)
{
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "--accept-level-reset: there is a key set, so only an order of the "
                     "administrators' quorum lowers a level");
}

static int refuse(const struct claim *claim, struct error *err)
{
    const struct state_record *worst = &claim->worst;
    char since[40] = "an unknown time";
    char uuid[UUID_TEXT_SIZE];
    time_t seconds = (time_t)(worst->since_wall_ns / NS_PER_S);
    struct tm time;
    if (seconds && gmtime_r(&seconds, &time))
        strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &time);
    uuid_format(&worst->uuid, uuid);
    bool own = uuid_equal(&worst->uuid, &claim->state->uuid);
    return error_set(err, EXIT_STATUS_ISOLATED, 0, "VM %s%s%s%s is at level %s since %s: %s; %s",
                     claim->request->name, own ? "" : " shares its image or weights with VM ",
                     own ? "" : uuid, own ? "" : ", which", level_name(worst->level), since,
                     worst->reason,
                     claim->state->deployment.has_key_set
                         ? "only an order of the administrators' quorum lowers it"
                         : "--accept-level-reset starts at Standard all the same, and is audited");
}

// The entry, and then the state file: a crash between the two is Offline.
static int enroll(struct claim *claim, struct error *err)
{
    const struct vm_state_request *request = claim->request;
    struct register_entry entry = {
        .uuid = claim->state->uuid,
        .created_wall_ns = clock_wall_ns(&clock_host),
        .flags = request->name_generated ? REGISTER_NAME_GENERATED : 0,
        .digests = request->digests,
    };
    snprintf(entry.name, sizeof(entry.name), "%s", request->name);
    if (!claim->described && append(claim, &entry, err) < 0)
        return -1;
    if (claim->own.fd < 0 || claim->state->was_reset)
        return state_write(&claim->state->deployment, &claim->own, err);
    return 0;
}

// The key set in force, and no older one than anybody here has seen.
static int load_keys(struct claim *claim, struct error *err)
{
    const struct vm_state_request *request = claim->request;
    struct deployment *deployment = &claim->state->deployment;
    struct key_set_pin known = claim->reg.keys;
    if (!request->keys)
        return 0;
    if (claim->own.record.keys.version > known.version)
        known = claim->own.record.keys;
    // What lowers levels without an order asks everybody.
    if (request->accept_reset && state_find_keys(deployment, &claim->reg, &known, err) < 0)
        return -1;
    int found = key_set_store_load(request->state_dir, &known, request->keys, err);
    if (found < 0)
        return -1;
    if (found && memcmp(request->keys->set.deployment, deployment->uuid.bytes, UUID_BYTES) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s/quorum/keys.json is the key set of another deployment",
                         request->state_dir);
    deployment->has_key_set = found > 0;
    if (found && request->accept_reset)
        return refuse_reset(err);
    if (!claim->reg.damaged && state_note_keys(deployment, &claim->reg, request->keys, err) < 0)
        return -1;
    return key_set_pin_make(request->keys, &claim->own.record.keys, err);
}

static int settle(struct claim *claim, struct error *err)
{
    struct vm_state *state = claim->state;
    if (for_orphans(claim, note_orphan, err) < 0 || find(claim, err) < 0)
        return -1;
    bool leave = claim->own.unusable && !claim->request->accept_reset;
    if (claim->registered && !claim->reg.damaged && !leave &&
        state_settle_loss(&claim->state->deployment, &claim->reg, &claim->own, err) < 0)
        return -1;
    if (load_keys(claim, err) < 0)
        return -1;
    judge(claim);
    if (claim->request->accept_reset && claim->worst.level > LEVEL_STANDARD &&
        reset(claim, err) < 0)
        return -1;
    state->unclean = claim->worst.running;
    if (claim->worst.level >= LEVEL_OFFLINE)
        return refuse(claim, err);
    if (claim->worst.level > claim->own.record.level) {
        claim->own.record.level = claim->worst.level;
        claim->own.record.since_wall_ns = claim->worst.since_wall_ns;
        memcpy(claim->own.record.reason, claim->worst.reason, sizeof(claim->worst.reason));
    }
    if (enroll(claim, err) < 0)
        return -1;
    uuid_format(&state->uuid, state->uuid_text);
    state->record = claim->own.record;
    state->level = (enum level)state->record.level;
    state->last_sequence = state->record.sequence;
    state->digests = claim->request->digests;
    state->fd = steal_fd(&claim->own.fd);
    return 0;
}

int vm_state_claim(struct vm_state *state, const struct vm_state_request *request,
                   struct error *err)
{
    struct claim claim = {
        .state = state,
        .request = request,
        .reg = {.fd = -1},
        .own = {.fd = -1},
    };
    if (request->accept_reset && state->deployment.has_key_set)
        return refuse_reset(err);
    int result = vm_register_open(&claim.reg, state->deployment.folder, state->deployment.key, err);
    if (result == 0)
        result = settle(&claim, err);
    vm_register_close(&claim.reg);
    if (claim.own.fd >= 0)
        close(claim.own.fd);
    return result;
}
