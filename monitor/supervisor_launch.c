// SPDX-License-Identifier: Apache-2.0
// What a launch has to settle before the model runs: who it is, at which level, and that this is
// durable.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "digest.h"
#include "linux_layout.h"
#include "linux_machine.h"
#include "paths.h"
#include "sha256.h"
#include "supervisor_internal.h"
#include "weights_input.h"

// For the log to take a record that must be durable.
#define LOG_NS  (10 * NS_PER_S)
#define OPEN_NS (600 * NS_PER_S)

// A Linux guest is its kernel, its initrd and its command line together.
static int measure_linux(struct supervisor *s, struct digest_set *digests, struct error *err)
{
    struct file_digest digest = {0};
    char command_line[LINUX_COMMAND_LINE_MAX];
    char what[160];
    snprintf(what, sizeof(what), "initrd %s",
             s->vm.linux_guest.initrd ? s->vm.linux_guest.initrd : "");
    if (linux_machine_command_line(&s->vm, command_line, sizeof(command_line), err) < 0 ||
        (s->process.initrd >= 0 &&
         file_digest_get(&digest, &s->state.deployment, s->process.initrd, what, err) < 0))
        return -1;
    const struct sha256_piece pieces[] = {
        {digests->image, DIGEST_BYTES},
        {digest.sha256, DIGEST_BYTES},
        {command_line, strlen(command_line)},
    };
    uint8_t all[DIGEST_BYTES];
    sha256_pieces(pieces, sizeof(pieces) / sizeof(pieces[0]), all);
    memcpy(digests->image, all, DIGEST_BYTES);
    return 0;
}

static int measure(struct supervisor *s, struct digest_set *digests, struct error *err)
{
    struct file_digest digest;
    char what[160];
    snprintf(what, sizeof(what), "image %s", s->vm.image);
    if (file_digest_get(&digest, &s->state.deployment, s->process.inputs[0], what, err) < 0)
        return -1;
    memcpy(digests->image, digest.sha256, DIGEST_BYTES);
    if (s->vm.linux_guest.given && measure_linux(s, digests, err) < 0)
        return -1;
    digests->weights_count = s->vm.weights_count;
    for (unsigned i = 0; i < s->vm.weights_count; i++) {
        // Sealing the same weights anew, or not at all, makes no other model of them.
        snprintf(what, sizeof(what), "weights %s", s->vm.weights[i].path);
        int sealed = weights_input_identify(s->state_dir, s->process.inputs[1 + i],
                                            digests->weights[i], err);
        if (sealed < 0)
            return error_wrap(err, "%s", what);
        if (sealed)
            continue;
        if (file_digest_get(&digest, &s->state.deployment, s->process.inputs[1 + i], what, err) < 0)
            return -1;
        memcpy(digests->weights[i], digest.sha256, DIGEST_BYTES);
    }
    return 0;
}

static int measure_program(struct supervisor *s, const char *name, uint8_t sha256[DIGEST_BYTES],
                           struct error *err)
{
    struct file_digest digest;
    char path[PATH_MAX];
    if (paths_sibling(name, path, err) < 0)
        return -1;
    cleanup_fd int program = open(path, O_RDONLY | O_CLOEXEC);
    if (program < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "%s", path);
    if (file_digest_get(&digest, &s->state.deployment, program, name, err) < 0)
        return -1;
    memcpy(sha256, digest.sha256, DIGEST_BYTES);
    return 0;
}

// The programs that will run the model and answer it, and the file that describes the VM.
static int measure_programs(struct supervisor *s, struct error *err)
{
    struct file_digest digest;
    for (unsigned i = 0; i < s->vm.port_count; i++)
        s->has_backend = s->has_backend || s->vm.ports[i].process;
    if (measure_program(s, "guillotine-vmm", s->vmm_sha256, err) < 0 ||
        (s->has_backend && measure_program(s, "guillotine-backend", s->backend_sha256, err) < 0))
        return -1;
    if (!s->vm_file)
        return 0;
    cleanup_fd int file = open(s->vm_file, O_RDONLY | O_CLOEXEC);
    // A pipe has been read already.
    struct stat status;
    if (file < 0 || fstat(file, &status) < 0 || !S_ISREG(status.st_mode)) {
        s->vm_file = NULL;
        return 0;
    }
    if (file_digest_get(&digest, &s->state.deployment, file, "VM file", err) < 0)
        return -1;
    memcpy(s->vm_file_sha256, digest.sha256, DIGEST_BYTES);
    return 0;
}

static bool is_replica_permitted(const uint8_t digest[DIGEST_BYTES], void *context)
{
    const struct supervisor *s = context;
    return s->orders.keys.set.version && key_set_file_permits_replica(&s->orders.keys, digest);
}

// The first bytes of the UUID: a log may be shared by several VMs, one after the other.
static uint64_t state_cookie(const struct supervisor *s)
{
    uint64_t cookie;
    memcpy(&cookie, s->state.uuid.bytes, sizeof(cookie));
    return cookie;
}

int launch_admit(struct supervisor *s, struct error *err)
{
    struct vm_state_request request = {
        .uuid = s->vm.uuid_given ? &s->vm.uuid : NULL,
        .name = s->vm.name,
        .name_generated = s->vm.name_generated,
        .accept_reset = s->accept_level_reset,
        .state_dir = s->state_dir,
        .keys = &s->orders.keys,
        .permitted = is_replica_permitted,
        .context = s,
    };
    if (deployment_open(&s->state.deployment, s->state_dir, err) < 0 ||
        measure(s, &request.digests, err) < 0 || measure_programs(s, err) < 0 ||
        vm_state_claim(&s->state, &request, err) < 0)
        return -1;
    if (s->state.was_reset)
        fprintf(stderr, "guillotine: note: the level of %u VM(s) was reset to Standard\n",
                s->state.levels_reset);
    s->last_sequence = &s->state.last_sequence;
    memcpy(s->uuid, s->state.uuid.bytes, sizeof(s->uuid));
    memcpy(s->deployment, s->state.deployment.uuid.bytes, sizeof(s->deployment));
    s->audit_place.state_cookie = state_cookie(s);
    return 0;
}

// Records of this run so far.
static uint64_t audit_size(const struct supervisor *s)
{
    return s->audit.sequence;
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
    return audit_log_append(&s->audit, &record, err) < 0 ||
                   audit_log_wait_durable(&s->audit, LOG_NS, err) < 0
               ? -1
               : 0;
}

int launch_check_log(struct supervisor *s, struct error *err)
{
    struct error ignored;
    if (s->state.was_reset || s->audit.generation <= s->generation_at_start)
        return 0;
    vm_state_void_orders(&s->state);
    launch_persist(s, LEVEL_OFFLINE, 0, "its state file was rolled back", &ignored);
    return error_set(err, EXIT_STATUS_ISOLATED, 0,
                     "the state file of VM %s is older than the audit log says: it was rolled "
                     "back; the level is Offline",
                     s->vm.name);
}

static int record_measure(struct supervisor *s, enum audit_measure what, uint64_t index,
                          const uint8_t sha256[DIGEST_BYTES], struct error *err)
{
    const struct audit_record record = {
        .type = AUDIT_MEASURE,
        .port = AUDIT_NO_PORT,
        .argument = index,
        .level = (uint8_t)s->state.level,
        .detail = what,
    };
    return audit_log_append_data(&s->audit, &record, sha256, DIGEST_BYTES, err);
}

int launch_record_policy(struct supervisor *s, const struct policy_document *policy,
                         struct error *err)
{
    const struct vmm_config *config = &s->process.config;
    const struct sha256_piece pieces[] = {
        {config->ports, config->port_count * sizeof(config->ports[0])},
        {policy->memory, policy->bytes},
    };
    uint8_t hash[DIGEST_BYTES];
    sha256_pieces(pieces, sizeof(pieces) / sizeof(pieces[0]), hash);
    return record_measure(s, AUDIT_MEASURE_POLICY, 0, hash, err);
}

// What is started, by its SHA-256. The ports are as the VMM gets them, whatever file or options
// they come from.
static int record_measures(struct supervisor *s, struct error *err)
{
    const struct digest_set *digests = &s->state.digests;
    int result = record_measure(s, AUDIT_MEASURE_IMAGE, 0, digests->image, err);
    for (uint32_t i = 0; i < digests->weights_count && result == 0; i++)
        result = record_measure(s, AUDIT_MEASURE_WEIGHTS, i, digests->weights[i], err);
    if (result == 0)
        result = record_measure(s, AUDIT_MEASURE_VMM, 0, s->vmm_sha256, err);
    if (result == 0 && s->has_backend)
        result = record_measure(s, AUDIT_MEASURE_BACKEND, 0, s->backend_sha256, err);
    if (result == 0 && s->vm_file)
        result = record_measure(s, AUDIT_MEASURE_VM_FILE, 0, s->vm_file_sha256, err);
    return result < 0 ? -1 : launch_record_policy(s, &s->vm.policy, err);
}

int launch_go(struct supervisor *s, struct error *err)
{
    // What the log is compared with once it is open.
    s->generation_at_start = s->state.record.generation;
    if (record_measures(s, err) < 0 || vm_state_mark_running(&s->state, audit_size(s), err) < 0 ||
        record_state(s, err) < 0)
        return -1;
    // The model is not entered before its log is open, agrees with the state file, and has the
    // measurement on disk. A long log is read meanwhile.
    if (audit_log_wait_durable(&s->audit, OPEN_NS, err) < 0 || launch_check_log(s, err) < 0)
        return -1;
    s->log_checked = true;
    levels_open_gate(s);
    // A VMM that has failed meanwhile is gone, but has said why: the loop reads that.
    struct error gone;
    s->entered_ns = clock_now_ns(&clock_host);
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
