// SPDX-License-Identifier: Apache-2.0
// What a launch has to settle before the model runs: who it is, at which level, and that this is
// durable.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "digest.h"
#include "supervisor_internal.h"

// How much of the log's end is searched for the last record about this VM's state.
#define SEARCH_BYTES (4u << 20)
#define SEARCH_CHUNK 512u // records

static int measure(struct supervisor *s, struct digest_set *digests, struct error *err)
{
    struct file_digest digest;
    char what[160];
    snprintf(what, sizeof(what), "image %s", s->vm.image);
    if (file_digest_get(&digest, &s->state.deployment, s->process.inputs[0], what, err) < 0)
        return -1;
    memcpy(digests->image, digest.sha256, DIGEST_BYTES);
    digests->weights_count = s->vm.weights_count;
    for (unsigned i = 0; i < s->vm.weights_count; i++) {
        snprintf(what, sizeof(what), "weights %s", s->vm.weights[i].path);
        if (file_digest_get(&digest, &s->state.deployment, s->process.inputs[1 + i], what, err) < 0)
            return -1;
        memcpy(digests->weights[i], digest.sha256, DIGEST_BYTES);
    }
    return 0;
}

static bool is_replica_permitted(const uint8_t digest[DIGEST_BYTES], void *context)
{
    const struct supervisor *s = context;
    return s->orders.keys.set.version && key_set_file_permits_replica(&s->orders.keys, digest);
}

int launch_admit(struct supervisor *s, struct error *err)
{
    struct vm_state_request request = {
        .uuid = s->vm.uuid_given ? &s->vm.uuid : NULL,
        .name = s->vm.name,
        .name_generated = s->vm.name_generated,
        .accept_reset = s->accept_level_reset,
        .permitted = is_replica_permitted,
        .context = s,
    };
    if (deployment_open(&s->state.deployment, s->state_dir, err) < 0 ||
        measure(s, &request.digests, err) < 0 || vm_state_claim(&s->state, &request, err) < 0)
        return -1;
    if (s->state.was_reset)
        fprintf(stderr, "guillotine: note: the level of %u VM(s) was reset to Standard\n",
                s->state.levels_reset);
    s->last_sequence = &s->state.last_sequence;
    memcpy(s->uuid, s->state.uuid.bytes, sizeof(s->uuid));
    memcpy(s->deployment, s->state.deployment.uuid.bytes, sizeof(s->deployment));
    return 0;
}

// The first bytes of the UUID: a log may be shared by several VMs, one after the other.
static uint64_t state_cookie(const struct supervisor *s)
{
    uint64_t cookie;
    memcpy(&cookie, s->state.uuid.bytes, sizeof(cookie));
    return cookie;
}

// Generation in the last record about this VM's state, or 0.
static uint64_t last_generation(const struct supervisor *s)
{
    static struct audit_record records[SEARCH_CHUNK];
    off_t end = s->audit.whole;
    off_t lowest = end > (off_t)SEARCH_BYTES ? end - (off_t)SEARCH_BYTES : 0;
    while (end - (off_t)AUDIT_FILE_HEADER_BYTES >= (off_t)sizeof(records[0]) && end > lowest) {
        size_t count = (size_t)(end - (off_t)AUDIT_FILE_HEADER_BYTES) / sizeof(records[0]);
        if (count > SEARCH_CHUNK)
            count = SEARCH_CHUNK;
        end -= (off_t)(count * sizeof(records[0]));
        if (pread(s->audit.fd, records, count * sizeof(records[0]), end) !=
            (ssize_t)(count * sizeof(records[0])))
            return 0;
        for (size_t i = count; i-- > 0;) {
            if (records[i].type == AUDIT_STATE && records[i].cookie == state_cookie(s))
                return records[i].argument;
        }
    }
    return 0;
}

static uint64_t audit_size(const struct supervisor *s)
{
    uint64_t bytes = s->audit.fd < 0 ? 0 : (uint64_t)s->audit.whole - AUDIT_FILE_HEADER_BYTES;
    return bytes / sizeof(struct audit_record) + s->audit.used;
}

static int record_state(struct supervisor *s, struct error *err)
{
    const struct audit_record record = {
        .type = AUDIT_STATE,
        .port = AUDIT_NO_PORT,
        .argument = s->state.record.generation,
        .cookie = state_cookie(s),
        .level = (uint8_t)s->state.record.level,
        .detail = s->state.record.level,
    };
    return audit_log_append(&s->audit, &record, err);
}

int launch_record_reset(struct supervisor *s, struct error *err)
{
    const struct audit_record record = {
        .type = AUDIT_CONFIG,
        .port = AUDIT_NO_PORT,
        .detail = 1,
    };
    if (audit_log_append(&s->audit, &record, err) < 0 || audit_log_flush(&s->audit, err) < 0)
        return -1;
    if (fdatasync(s->audit.fd) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "audit log");
    return 0;
}

int launch_go(struct supervisor *s, struct error *err)
{
    if (!s->state.was_reset && vm_state_is_behind(&s->state, last_generation(s))) {
        struct error ignored;
        launch_persist(s, LEVEL_OFFLINE, 0, "its state file was rolled back", &ignored);
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "the state file of VM %s is older than the audit log says: it was rolled "
                         "back; the level is Offline",
                         s->vm.name);
    }
    if (vm_state_mark_running(&s->state, audit_size(s), err) < 0 || record_state(s, err) < 0 ||
        audit_log_flush(&s->audit, err) < 0)
        return -1;
    // A VMM that has failed meanwhile is gone, but has said why: the loop reads that.
    struct error gone;
    vmm_process_go(&s->process, &gone);
    return 0;
}

int launch_persist(struct supervisor *s, enum level level, uint64_t sequence, const char *reason,
                   struct error *err)
{
    if (s->state.fd < 0)
        return 0; // nothing was launched
    if (vm_state_persist(&s->state, level, sequence, audit_size(s), reason, err) < 0) {
        s->state_broken = true;
        return -1;
    }
    // A log that takes no record any more is noticed, and isolates, where it is written.
    struct error ignored;
    record_state(s, &ignored);
    return 0;
}

void launch_end(struct supervisor *s)
{
    struct error err;
    if (vm_state_end(&s->state, !s->state_broken, audit_size(s), &err) < 0)
        fprintf(stderr, "guillotine: ALARM: %s: the VM counts as Offline\n", err.text);
}
