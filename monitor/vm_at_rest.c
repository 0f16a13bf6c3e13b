// SPDX-License-Identifier: Apache-2.0
// Orders of the administrators about a VM that does not run.
#include "vm_at_rest.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "actuator_run.h"
#include "audit_log.h"
#include "cleanup.h"
#include "control_server.h"
#include "key_set_store.h"
#include "level_control.h"
#include "paths.h"
#include "vm_key.h"
#include "vm_register.h"
#include "vm_state_internal.h"

#define ORDERS_LOG "audit/orders.audit"

// For the log of orders.
#define LOG_NS (60 * NS_PER_S)

// An installation with its register locked: nothing is launched meanwhile.
struct rest {
    struct deployment deployment;
    struct vm_register reg;
    struct key_set_file keys;
    bool has_keys;
    struct state_view view;
    const struct register_entry *entry;
};

static void rest_close(struct rest *rest)
{
    if (rest->view.fd >= 0)
        close(rest->view.fd);
    vm_register_close(&rest->reg);
    deployment_close(&rest->deployment);
}

static int rest_open(struct rest *rest, const char *state_dir, struct error *err)
{
    *rest = (struct rest){.view.fd = -1, .reg.fd = -1};
    if (deployment_open(&rest->deployment, state_dir, err) < 0 ||
        vm_register_open(&rest->reg, rest->deployment.folder, rest->deployment.key, err) < 0)
        return -1;
    if (state_check_register(&rest->deployment, &rest->reg, err) < 0)
        return -1;
    struct key_set_pin known;
    if (state_find_keys(&rest->deployment, &rest->reg, &known, err) < 0)
        return -1;
    int found = key_set_store_load(state_dir, &known, &rest->keys, err);
    rest->has_keys = found > 0;
    return found < 0 ? -1 : state_note_keys(&rest->deployment, &rest->reg, &rest->keys, err);
}

// The latest entry of the VM, which must be one VM only.
static int find(struct rest *rest, const char *name, const uint8_t *bytes, struct error *err)
{
    struct uuid uuid;
    bool by_uuid = !name || uuid_parse(name, &uuid);
    if (!name)
        memcpy(uuid.bytes, bytes, sizeof(uuid.bytes));
    for (size_t i = 0; i < rest->reg.count; i++) {
        const struct register_entry *entry = &rest->reg.entries[i];
        if (by_uuid ? !uuid_equal(&entry->uuid, &uuid) : strcmp(entry->name, name) != 0)
            continue;
        if (rest->entry && !uuid_equal(&rest->entry->uuid, &entry->uuid))
            return error_set(err, EXIT_STATUS_FAILURE, 0,
                             "several VMs are called %s: give the UUID (guillotine status %s)",
                             name, name);
        rest->entry = entry;
    }
    if (!rest->entry)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "no VM of this name or UUID is registered");
    state_open(&rest->deployment, &rest->reg, &rest->entry->uuid, true, &rest->view);
    if (rest->view.in_use)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "the VM runs under another runtime directory: submit the order there");
    if (rest->view.unusable)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "%s: put that right, or remove it",
                         rest->view.record.reason);
    return state_settle_loss(&rest->deployment, &rest->reg, &rest->view, err);
}

static int describe(struct rest *rest, const char *vm, char *text, size_t size, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    char keys[160] = "null";
    const struct level_key_set *set = &rest->keys.set;
    if (find(rest, vm, NULL, err) < 0)
        return -1;
    uuid_format(&rest->entry->uuid, uuid);
    if (rest->has_keys)
        snprintf(keys, sizeof(keys),
                 "{\"version\":%" PRIu64 ",\"keys\":%u,\"raise\":%u,\"lower\":%u,\"demo\":%s}",
                 set->version, set->keys, set->raise, set->lower, set->demo ? "true" : "false");
    snprintf(text, size,
             "{\"format\":\"" CONTROL_FORMAT "\",\"name\":\"%s\",\"vm\":\"%s\",\"deployment\":"
             "\"%s\",\"level\":\"%s\",\"last_sequence\":%" PRIu64 ",\"orders_from_s\":%" PRIu64
             ",\"key_set\":%s,\"proposal\":null}",
             rest->entry->name, uuid, rest->deployment.text, level_name(rest->view.record.level),
             rest->view.record.sequence, rest->view.record.orders_from_s, keys);
    return 0;
}

int vm_at_rest_describe(const char *state_dir, const char *vm, char *text, size_t size,
                        struct error *err)
{
    struct rest rest;
    int result = rest_open(&rest, state_dir, err);
    if (result == 0)
        result = describe(&rest, vm, text, size, err);
    rest_close(&rest);
    return result;
}

// At Offline the recorder makes each record durable before it says so.
static int make_level_page(struct error *err)
{
    const struct level_page page = {.level = LEVEL_OFFLINE};
    cleanup_fd int fd = memfd_create("guillotine-level", MFD_CLOEXEC);
    if (fd < 0 || write(fd, &page, sizeof(page)) != (ssize_t)sizeof(page))
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "level page");
    return steal_fd(&fd);
}

// Durable when it returns.
static int append(const char *state_dir, const struct audit_record *record, const char *text,
                  uint32_t length, struct error *err)
{
    char path[PATH_MAX];
    struct audit_log log;
    const struct audit_place place = {.path = path, .state_dir = state_dir};
    cleanup_fd int page = make_level_page(err);
    if (page < 0 || paths_join(path, state_dir, ORDERS_LOG, err) < 0)
        return -1;
    audit_log_init(&log, &clock_host);
    int result = audit_log_prepare(&log, err);
    if (result == 0)
        result = audit_log_open(&log, &place, page, err);
    if (result == 0)
        result = audit_log_append_data(&log, record, text, length, err);
    if (result == 0)
        result = audit_log_finish(&log, LOG_NS, err);
    audit_log_close(&log);
    return result;
}

// On disk before the level is.
static int record_order(const char *state_dir, const struct level_order *order, uint32_t refusal,
                        enum level level, struct error *err)
{
    char text[LEVEL_ORDER_TEXT_MAX];
    struct audit_record record = {
        .type = AUDIT_QUORUM,
        .port = AUDIT_NO_PORT,
        .argument = order->sequence,
        .level = (uint8_t)level,
        .detail = refusal,
    };
    int length = level_order_format(order, text, sizeof(text));
    memcpy(&record.cookie, order->vm, sizeof(record.cookie));
    return append(state_dir, &record, text, length > 0 ? (uint32_t)length : 0, err);
}

// Counts what was destroyed. Returns 0, or -1 with the first failure in *err.
static int destroy_key(const char *state_dir, const char *id, uint64_t *destroyed, int before,
                       struct error *err)
{
    struct error own;
    int result = vm_key_id_is_valid(id) ? vm_key_destroy(state_dir, id, &own) : 0;
    *destroyed += result > 0;
    if (result < 0 && before == 0)
        *err = own;
    return result < 0 ? -1 : before;
}

// What the VM's key opens is gone: images, and weights that were sealed for its UUID or a name of
// it. Which other keys weights of earlier runs were sealed with is not known here.
static int destroy_keys(const struct rest *rest, const char *state_dir, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    uint64_t destroyed = 0;
    struct error ignored;
    uuid_format(&rest->entry->uuid, uuid);
    int result = destroy_key(state_dir, uuid, &destroyed, 0, err);
    for (size_t i = 0; i < rest->reg.count; i++) {
        const struct register_entry *entry = &rest->reg.entries[i];
        if (uuid_equal(&entry->uuid, &rest->entry->uuid))
            result = destroy_key(state_dir, entry->name, &destroyed, result, err);
    }
    struct audit_record record = {
        .type = AUDIT_FORENSIC,
        .port = AUDIT_NO_PORT,
        .level = LEVEL_IMMOLATION,
        .argument = result < 0 ? AUDIT_FORENSIC_DESTROYED : destroyed,
        .detail = result < 0 ? AUDIT_FORENSIC_FAILED : AUDIT_FORENSIC_DESTROYED,
    };
    memcpy(&record.cookie, rest->entry->uuid.bytes, sizeof(record.cookie));
    // The order is on disk already: this record is not worth a key.
    append(state_dir, &record, "", 0, &ignored);
    return result;
}

// The highest level of all VMs.
static enum level highest(const struct deployment *deployment, const struct vm_register *reg,
                          const char **name)
{
    enum level level = LEVEL_STANDARD;
    for (size_t i = 0; i < reg->count; i++) {
        const struct register_entry *entry = &reg->entries[i];
        struct state_view view;
        state_open(deployment, reg, &entry->uuid, false, &view);
        if ((enum level)view.record.level > level) {
            level = (enum level)view.record.level;
            *name = entry->name;
        }
    }
    return level;
}

int vm_at_rest_highest(const char *state_dir, enum level *level, char *name, struct error *err)
{
    struct deployment deployment;
    struct vm_register reg = {.fd = -1};
    const char *found = "";
    int result = deployment_open(&deployment, state_dir, err);
    if (result == 0)
        result = vm_register_open(&reg, deployment.folder, deployment.key, err);
    if (result == 0) {
        *level = highest(&deployment, &reg, &found);
        snprintf(name, VM_NAME_SIZE, "%s", found);
        if (reg.damaged)
            *level = LEVEL_OFFLINE; // nobody knows
    }
    vm_register_close(&reg);
    deployment_close(&deployment);
    return result;
}

// True if no VM is at Offline or above. Where nobody knows, the cut stays.
static bool may_restore(const char *state_dir)
{
    char name[VM_NAME_SIZE];
    struct error err;
    enum level level;
    if (vm_at_rest_highest(state_dir, &level, name, &err) < 0) {
        fprintf(stderr, "guillotine: the cut stays: %s\n", err.text);
        return false;
    }
    if (level >= LEVEL_OFFLINE)
        fprintf(stderr, "guillotine: the cut stays: another VM%s%s is at level %s\n",
                *name ? ", " : "", name, level_name(level));
    return level < LEVEL_OFFLINE;
}

// The register is not locked meanwhile. A VM that is isolated has its level on disk before it cuts:
// either its own cut comes after this, or it is seen here once the restore is over.
static int restore(struct actuator_request *request, struct error *err)
{
    if (!may_restore(request->state_dir))
        return 0;
    request->action = ACTUATOR_RESTORE;
    int result = actuator_run_to_end(request, err);
    if (may_restore(request->state_dir))
        return result;
    request->action = ACTUATOR_CUT;
    return actuator_run_to_end(request, err);
}

// Below Offline the reversible cut ends; above, what cannot be undone is done. The level is in
// force whatever becomes of that.
static int act(const char *state_dir, const struct vm_at_rest_actuators *actuators, enum level from,
               enum level to, struct error *err)
{
    static const struct {
        enum level level;
        enum actuator_action action;
    } upwards[] = {
        {LEVEL_OFFLINE, ACTUATOR_CUT},
        {LEVEL_DECAPITATION, ACTUATOR_CUT_FOR_GOOD},
        {LEVEL_IMMOLATION, ACTUATOR_DESTROY},
    };
    struct actuator_request request = {
        .config = actuators->config,
        .state_dir = state_dir,
        .allow_host_cut = actuators->allow_host_cut,
        .clock = &clock_host,
    };
    int result = 0;
    if (from >= LEVEL_OFFLINE && to < LEVEL_OFFLINE)
        result = restore(&request, err);
    for (size_t i = 0; i < sizeof(upwards) / sizeof(upwards[0]); i++) {
        request.action = upwards[i].action;
        if (from < upwards[i].level && to >= upwards[i].level &&
            actuator_run_to_end(&request, err) < 0)
            result = -1;
    }
    return result < 0 ? error_wrap(err, "the level is %s, but", level_name(to)) : 0;
}

static int carry_out(struct rest *rest, const char *state_dir,
                     const struct vm_at_rest_actuators *actuators, const struct signed_order *order,
                     enum level *level, struct error *err)
{
    struct state_record *record = &rest->view.record;
    struct level_event event;
    if (find(rest, NULL, order->order.vm, err) < 0)
        return -1;
    if (!rest->has_keys)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "no key set: levels only rise");
    if (memcmp(rest->keys.set.deployment, rest->deployment.uuid.bytes, UUID_BYTES) != 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s/quorum/keys.json is the key set of another deployment", state_dir);
    const struct level_state state = {.level = (enum level)record->level};
    const struct level_quorum quorum = level_key_set_quorum(&rest->keys.set);
    const struct level_order_context context = {
        .key_set = &rest->keys.set,
        .vm = rest->entry->uuid.bytes,
        .level = state.level,
        .last_sequence = record->sequence,
        .issued_from_s = record->orders_from_s,
        .now_s = clock_wall_ns(&clock_host) / NS_PER_S,
    };
    struct level_result result = {.state = state};
    uint32_t refusal = level_order_check(&order->order, order->list.signatures, order->list.count,
                                         &context, &event);
    if (!refusal) {
        result = level_transition(&state, &event, &quorum);
        refusal = result.refusal;
    }
    // A full disk keeps nobody from raising.
    if (record_order(state_dir, &order->order, refusal, result.state.level, err) < 0) {
        if (refusal || result.state.level <= state.level)
            return -1;
        fprintf(stderr, "guillotine: ALARM: the order is not in the log: %s\n", err->text);
    }
    if (refusal)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "refused: %s",
                         level_order_refusal_text(refusal));
    // First, so that after a crash the same order can be submitted again.
    int destroyed = result.state.level == LEVEL_IMMOLATION ? destroy_keys(rest, state_dir, err) : 0;
    record->level = result.state.level;
    record->sequence = order->order.sequence;
    record->since_wall_ns = clock_wall_ns(&clock_host);
    // The administrators know how the last run ended: the level is what they say.
    record->running = false;
    snprintf(record->reason, sizeof(record->reason), "%s", order->order.reason);
    if (key_set_pin_make(&rest->keys, &record->keys, err) < 0)
        return -1;
    // Raising does not depend on it.
    struct error unnoted;
    if (state_note(&rest->deployment, &rest->reg, record, &unnoted) < 0 &&
        record->level < state.level) {
        *err = unnoted;
        return -1;
    }
    // Nor does the cut.
    int written = 0;
    for (unsigned slot = 0; slot < 2 && written == 0; slot++)
        written = state_write(&rest->deployment, &rest->view, &unnoted);
    if (written < 0 && record->level <= state.level) {
        *err = unnoted;
        return -1;
    }
    *level = result.state.level;
    struct error kept = *err;
    // Actuators may take minutes. This VM's own state stays locked; others can be launched.
    vm_register_close(&rest->reg);
    int acted = act(state_dir, actuators, state.level, result.state.level, err);
    if (written < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "ALARM: level %s is %s, but it is not on disk: %s", level_name(*level),
                         acted == 0 ? "carried out" : "NOT CARRIED OUT", unnoted.text);
    if (destroyed == 0)
        return acted;
    *err = kept;
    return error_wrap(err, "the level is %s, but", level_name(*level));
}

int vm_at_rest_order(const char *state_dir, const struct vm_at_rest_actuators *actuators,
                     const struct signed_order *order, enum level *level, struct error *err)
{
    struct rest rest;
    int result = rest_open(&rest, state_dir, err);
    if (result == 0)
        result = carry_out(&rest, state_dir, actuators, order, level, err);
    rest_close(&rest);
    return result;
}
