// SPDX-License-Identifier: Apache-2.0
// Orders of the administrators about a VM that does not run.
#include "vm_at_rest.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit_log.h"
#include "cleanup.h"
#include "control_server.h"
#include "key_set_store.h"
#include "level_control.h"
#include "paths.h"
#include "vm_register.h"
#include "vm_state_internal.h"

#define ORDERS_LOG "orders.audit"

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
    if (rest->reg.damaged)
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "the register is damaged: restore it from a backup");
    int found = key_set_store_load(state_dir, &rest->keys, err);
    rest->has_keys = found > 0;
    return found < 0 ? -1 : 0;
}

// The latest entry of the VM, which must be one VM only.
static int find(struct rest *rest, const char *name, const uint8_t *bytes, struct error *err)
{
    struct uuid uuid;
    bool by_uuid = bytes != NULL;
    if (bytes)
        memcpy(uuid.bytes, bytes, sizeof(uuid.bytes));
    else
        by_uuid = uuid_parse(name, &uuid);
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
    state_open(&rest->deployment, &rest->entry->uuid, true, &rest->view);
    if (rest->view.in_use)
        return error_set(err, EXIT_STATUS_FAILURE, 0,
                         "the VM runs under another runtime directory: submit the order there");
    return 0;
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
             "\"%s\",\"level\":\"%s\",\"last_sequence\":%" PRIu64
             ",\"key_set\":%s,\"proposal\":null}",
             rest->entry->name, uuid, rest->deployment.text, level_name(rest->view.record.level),
             rest->view.record.sequence, keys);
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

// On disk before the level is.
static int record_order(const char *state_dir, const struct level_order *order, uint32_t refusal,
                        enum level level, struct error *err)
{
    char path[PATH_MAX];
    static struct audit_log log;
    struct audit_record record = {
        .type = AUDIT_QUORUM,
        .port = AUDIT_NO_PORT,
        .argument = order->sequence,
        .level = (uint8_t)level,
        .detail = refusal,
    };
    memcpy(&record.cookie, order->vm, sizeof(record.cookie));
    if (paths_join(path, state_dir, ORDERS_LOG, err) < 0 ||
        audit_log_open(&log, path, &clock_host, err) < 0)
        return -1;
    int result =
        audit_log_append(&log, &record, err) < 0 || audit_log_flush(&log, err) < 0 ? -1 : 0;
    if (result == 0 && fdatasync(log.fd) < 0)
        result = error_set(err, EXIT_STATUS_ISOLATED, 0, "%s cannot be made durable", path);
    audit_log_close(&log);
    return result;
}

static int carry_out(struct rest *rest, const char *state_dir, const struct signed_order *order,
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
        .now_s = clock_wall_ns(&clock_host) / NS_PER_S,
    };
    struct level_result result = {.state = state};
    uint32_t refusal = level_order_check(&order->order, order->list.signatures, order->list.count,
                                         &context, &event);
    if (!refusal) {
        result = level_transition(&state, &event, &quorum);
        refusal = result.refusal;
    }
    if (record_order(state_dir, &order->order, refusal, result.state.level, err) < 0)
        return -1;
    if (refusal)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "refused: %s",
                         level_order_refusal_text(refusal));
    record->level = result.state.level;
    record->sequence = order->order.sequence;
    record->since_wall_ns = clock_wall_ns(&clock_host);
    // The administrators know how the last run ended: the level is what they say.
    record->running = false;
    snprintf(record->reason, sizeof(record->reason), "%s", order->order.reason);
    if (state_write(&rest->deployment, &rest->view, err) < 0)
        return -1;
    *level = result.state.level;
    return 0;
}

int vm_at_rest_order(const char *state_dir, const struct signed_order *order, enum level *level,
                     struct error *err)
{
    struct rest rest;
    int result = rest_open(&rest, state_dir, err);
    if (result == 0)
        result = carry_out(&rest, state_dir, order, level, err);
    rest_close(&rest);
    return result;
}
