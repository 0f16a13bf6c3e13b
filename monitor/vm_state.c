// SPDX-License-Identifier: Apache-2.0
// The durable state of the VM that this process runs.
#include "vm_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "vm_state_internal.h"

#define NAME_SIZE (UUID_TEXT_SIZE + 16)

// How long the register may be locked by others. Raising a level does not wait: what is not noted
// then, the state file and the audit log know.
#define NOTE_NS       (500 * NS_PER_MS)
#define RAISE_NOTE_NS (20 * NS_PER_MS)

static void file_name(const struct uuid *uuid, char name[NAME_SIZE])
{
    char text[UUID_TEXT_SIZE];
    uuid_format(uuid, text);
    snprintf(name, NAME_SIZE, "vms/%s.state", text);
}

static void offline(struct state_record *record, const struct uuid *uuid, const char *reason)
{
    *record = (struct state_record){.uuid = *uuid, .level = LEVEL_OFFLINE};
    snprintf(record->reason, sizeof(record->reason), "%s", reason);
}

static bool read_view(const struct deployment *deployment, const struct uuid *uuid, bool lock,
                      struct state_view *view)
{
    uint8_t image[STATE_FILE_BYTES + 1];
    char name[NAME_SIZE];
    struct stat status;
    file_name(uuid, name);
    *view = (struct state_view){.fd = -1, .lost = true};
    cleanup_fd int fd =
        openat(deployment->folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        view->missing = errno == ENOENT;
        view->unusable = !view->missing;
        offline(&view->record, uuid,
                errno == ENOENT  ? "it is registered, but its state file is missing"
                : errno == ELOOP ? "its state file is a symbolic link"
                                 : "its state file cannot be opened");
        return false;
    }
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & 022) || status.st_nlink != 1) {
        view->unusable = true;
        offline(&view->record, uuid,
                "its state file is not one that only this user can write, under one name");
        return false;
    }
    // Asked without keeping it unless the caller wants the VM.
    view->in_use = flock(fd, LOCK_EX | LOCK_NB) < 0;
    ssize_t length = pread(fd, image, sizeof(image), 0);
    view->damaged = !state_file_decode(image, length < 0 ? 0 : (size_t)length, uuid,
                                       deployment->key, view->in_use, &view->record);
    view->lost = view->damaged;
    if (lock)
        view->fd = steal_fd(&fd);
    return true;
}

bool state_open(const struct deployment *deployment, const struct vm_register *reg,
                const struct uuid *uuid, bool lock, struct state_view *view)
{
    bool usable = read_view(deployment, uuid, lock, view);
    state_compare(view, reg);
    return usable;
}

void vm_state_read(const struct deployment *deployment, const struct vm_register *reg,
                   const struct uuid *uuid, struct state_record *record, bool *in_use)
{
    struct state_view view;
    state_open(deployment, reg, uuid, false, &view);
    *record = view.record;
    *in_use = view.in_use;
}

bool vm_state_is_behind(const struct vm_state *state, uint64_t generation_in_audit)
{
    return generation_in_audit > state->record.generation;
}

static void read_boot_id(uint8_t id[16])
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char text[UUID_TEXT_SIZE] = "";
    struct uuid uuid = {0};
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1)
        uuid_parse(text, &uuid); // zero where there is none
    memcpy(id, uuid.bytes, sizeof(uuid.bytes));
}

int vm_state_mark_running(struct vm_state *state, uint64_t audit_size, struct error *err)
{
    state->record.running = true;
    state->record.restarts++;
    state->record.audit_size = audit_size;
    read_boot_id(state->record.boot_id);
    return state_file_write(&state_ops_host, state->fd, &state->record, state->deployment.key, err);
}

// Notes in the register what the state file will say next.
static int note(const struct vm_state *state, const struct state_record *next, uint64_t wait_ns,
                struct error *err)
{
    struct vm_register reg;
    const struct deployment *deployment = &state->deployment;
    int result = vm_register_open_within(&reg, deployment->folder, deployment->key, wait_ns, err);
    if (result == 0)
        result = state_note(deployment, &reg, next, err);
    vm_register_close(&reg);
    return result;
}

int vm_state_note_order(struct vm_state *state, enum level level, uint64_t sequence,
                        struct error *err)
{
    struct state_record next = state->record;
    if (state->fd < 0)
        return 0; // nothing was launched
    next.level = level;
    next.sequence = sequence;
    state->noted = note(state, &next, NOTE_NS, err) == 0;
    return state->noted ? 0 : -1;
}

void vm_state_void_orders(struct vm_state *state)
{
    state_void_orders(&state->record);
}

int vm_state_persist(struct vm_state *state, enum level level, uint64_t sequence,
                     uint64_t audit_size, const char *reason, struct error *err)
{
    struct error ignored;
    bool changes = level != state->record.level || sequence > state->record.sequence;
    if (level < state->record.level && !state->noted)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "a level falls that nobody noted");
    if (level != state->record.level)
        state->record.since_wall_ns = clock_wall_ns(&clock_host);
    state->record.level = level;
    if (sequence > state->record.sequence)
        state->record.sequence = sequence;
    state->record.audit_size = audit_size;
    snprintf(state->record.reason, sizeof(state->record.reason), "%s", reason);
    if (changes && !state->noted)
        note(state, &state->record, RAISE_NOTE_NS, &ignored);
    state->noted = false;
    // Offline is easier to lower than what is beyond: no slot that is lost says less.
    if ((level > LEVEL_OFFLINE ? state_file_write_both : state_file_write)(
            &state_ops_host, state->fd, &state->record, state->deployment.key, err) < 0)
        return -1;
    state->level = level;
    state->last_sequence = state->record.sequence;
    return 0;
}

int vm_state_end(struct vm_state *state, bool clean, uint64_t audit_size, struct error *err)
{
    int result = 0;
    if (state->fd >= 0 && clean && state->record.running) {
        state->record.running = false;
        state->record.audit_size = audit_size;
        result = state_file_write(&state_ops_host, state->fd, &state->record, state->deployment.key,
                                  err);
    }
    if (state->fd >= 0)
        close(state->fd);
    state->fd = -1;
    deployment_close(&state->deployment);
    return result;
}

// Writes what the launch settled on: a new file, a repaired one, or another level.
int state_write(const struct deployment *deployment, struct state_view *view, struct error *err)
{
    char name[NAME_SIZE];
    if (view->fd >= 0) {
        if (view->damaged && ftruncate(view->fd, STATE_FILE_BYTES) < 0)
            return error_set(err, EXIT_STATUS_ISOLATED, errno, "repair the state file");
        int result =
            view->damaged
                ? state_file_repair(&state_ops_host, view->fd, &view->record, deployment->key, err)
                : state_file_write(&state_ops_host, view->fd, &view->record, deployment->key, err);
        view->damaged = view->damaged && result < 0;
        return result;
    }
    cleanup_fd int folder = openat(deployment->folder, "vms", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "state directory: vms");
    file_name(&view->record.uuid, name);
    view->fd = state_file_create(&state_ops_host, folder, name + sizeof("vms/") - 1, &view->record,
                                 deployment->key, err);
    if (view->fd < 0)
        return -1;
    // Nobody else can have it: the register is locked.
    if (flock(view->fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "lock the state file");
    view->missing = false;
    return 0;
}
