// SPDX-License-Identifier: Apache-2.0
// guillotine-recorder: the one process that writes a VM's audit log.
//
// It reads the ring's head first and the level after it: what was in the ring when the level rose
// to Probation is durable before it leaves the ring, and so before the effect that waits for it.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "fd_message.h"
#include "level.h"
#include "log_key.h"
#include "recorder_filters.h"
#include "recorder_protocol.h"
#include "sandbox.h"
#include "shared_ring.h"

#define CHUNK_BYTES   (1u << 18)
#define LAG_NS        (100 * NS_PER_MS) // at Standard, from a record to its durability
#define CHECKPOINT_NS NS_PER_S

// One log per process; static, so that it needs no allocation and is zero.
static struct {
    struct audit_writer writer;
    struct note_secret secret;
    struct shared_ring ring;
    const struct level_page *level;
    int wake_own;
    int wake_supervisor;
    uint64_t next; // number that the supervisor's next record must have
    uint64_t synced_ns;
    uint64_t checkpoint_ns;
    bool level_changed;
    uint8_t chunk[CHUNK_BYTES];
} self;

static void tell(enum recorder_message_type type, uint64_t value, const struct error *problem)
{
    struct recorder_message message = {
        .type = type,
        .value = value,
        .generation = self.writer.state_generation,
    };
    if (problem) {
        message.status = problem->status;
        message.code = problem->code;
        memcpy(message.text, problem->text, sizeof(message.text));
    }
    fd_message_send(RECORDER_CHANNEL_FD, &message, sizeof(message), NULL, 0, NULL);
}

static void tell_progress(void *context, uint64_t records)
{
    (void)context;
    tell(RECORDER_PROGRESS, records, NULL);
}

static int map_shared(const int *fds, struct error *err)
{
    if (shared_ring_map(&self.ring, fds[RECORDER_FD_RING], RECORDER_RING_BYTES, err) < 0)
        return -1;
    void *page = mmap(NULL, LEVEL_PAGE_SIZE, PROT_READ, MAP_SHARED, fds[RECORDER_FD_LEVEL], 0);
    if (page == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "map level page");
    self.level = page;
    return 0;
}

// Takes the configuration. *fds stay open.
static int receive(int *fds, struct error *err)
{
    struct recorder_config config;
    size_t count = RECORDER_FDS;
    ssize_t length =
        fd_message_receive(RECORDER_CHANNEL_FD, &config, sizeof(config), fds, &count, err);
    if (length != (ssize_t)sizeof(config) || count < RECORDER_FD_WITNESS ||
        memcmp(config.format, RECORDER_FORMAT, sizeof(RECORDER_FORMAT)) != 0 ||
        config.name[sizeof(config.name) - 1] || config.log[sizeof(config.log) - 1] ||
        config.path[sizeof(config.path) - 1] || strchr(config.name, '/'))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "recorder: bad configuration");
    if (dup3(fds[RECORDER_FD_FOLDER], RECORDER_FOLDER_FD, O_CLOEXEC) < 0 ||
        map_shared(fds, err) < 0 || log_key_read(fds[RECORDER_FD_KEY], &self.secret, err) < 0)
        return -1;
    close(fds[RECORDER_FD_KEY]);
    self.wake_own = fds[RECORDER_FD_WAKE_RECORDER];
    self.wake_supervisor = fds[RECORDER_FD_WAKE_SUPERVISOR];
    struct audit_writer *w = &self.writer;
    w->files = &audit_files_host;
    w->folder = RECORDER_FOLDER_FD;
    w->witness = count > RECORDER_FD_WITNESS ? fds[RECORDER_FD_WITNESS] : -1;
    w->rotate_bytes = config.rotate_bytes;
    w->state_cookie = config.state_cookie;
    w->secret = &self.secret;
    w->progress = tell_progress;
    memcpy(w->name, config.name, sizeof(w->name));
    memcpy(w->path, config.path, sizeof(w->path));
    snprintf(w->origin, sizeof(w->origin), "%s/%s", self.secret.key.name, config.log);
    return 0;
}

static int lock_down(struct error *err)
{
    uint32_t missing = 0; // the VMM, on the same host, reports the same
    struct stat folder;
    if (fstat(RECORDER_FOLDER_FD, &folder) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "recorder");
    if (sandbox_enter_as(folder.st_uid, folder.st_gid, &missing, err) < 0)
        return -1;
    // Its supervisor's death must not cut off what that still said: the channel's end ends it.
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "recorder: prctl");
    return sandbox_install(recorder_filter, sizeof(recorder_filter) / sizeof(recorder_filter[0]),
                           err);
}

// Copies whole records out of the ring, at most a chunk, and checks their numbers: none is lost.
static int copy_records(uint64_t available, size_t *length, struct error *err)
{
    *length = 0;
    while (available - *length >= sizeof(struct audit_record)) {
        struct audit_record record;
        shared_ring_peek(&self.ring, *length, &record, sizeof(record));
        if (!audit_size_is_valid(record.size) || record.size > available - *length ||
            record.sequence != self.next)
            return error_set(err, EXIT_STATUS_INTERNAL, 0,
                             "recorder: the supervisor's record %llu is none",
                             (unsigned long long)self.next);
        if (*length + record.size > CHUNK_BYTES)
            return 0;
        shared_ring_peek(&self.ring, *length, self.chunk + *length, record.size);
        *length += record.size;
        self.next++;
        if (record.type == AUDIT_LEVEL)
            self.level_changed = true;
    }
    return *length == available
               ? 0
               : error_set(err, EXIT_STATUS_INTERNAL, 0, "recorder: half a record");
}

static void wake_supervisor(void)
{
    uint64_t one = 1;
    ssize_t ignored = write(self.wake_supervisor, &one, sizeof(one));
    (void)ignored;
}

// Writes what is in the ring, a chunk at most. Returns 1 if there was something, 0, or -1.
static int serve_ring(struct error *err)
{
    size_t length;
    uint64_t available = shared_ring_available(&self.ring);
    if (!available)
        return 0;
    if (available == UINT64_MAX)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "recorder: impossible index");
    unsigned level = atomic_load_explicit(&self.level->level, memory_order_acquire);
    if (copy_records(available, &length, err) < 0)
        return -1;
    if (!self.writer.dirty)
        self.synced_ns = clock_now_ns(&clock_host);
    if (audit_writer_append(&self.writer, self.chunk, length, err) < 0 ||
        (level >= LEVEL_PROBATION && audit_writer_sync(&self.writer, err) < 0))
        return -1;
    if (shared_ring_consume(&self.ring, length))
        wake_supervisor();
    return 1;
}

// What is due by time. Returns milliseconds until the next thing is, or -1 for never; -2 is an
// error.
static int serve_time(struct error *err)
{
    uint64_t now = clock_now_ns(&clock_host);
    bool uncovered = self.writer.covered != self.writer.tree.size;
    if (self.level_changed || (uncovered && now - self.checkpoint_ns >= CHECKPOINT_NS)) {
        if (audit_writer_checkpoint(&self.writer, err) < 0)
            return -2;
        self.level_changed = uncovered = false;
        self.checkpoint_ns = clock_now_ns(&clock_host);
    }
    if (self.writer.dirty && now - self.synced_ns >= LAG_NS &&
        audit_writer_sync(&self.writer, err) < 0)
        return -2;
    if (self.writer.dirty)
        return (int)(LAG_NS / NS_PER_MS);
    return uncovered ? (int)(CHECKPOINT_NS / NS_PER_MS) : -1;
}

// Writes what is in the ring now. What comes meanwhile waits: the end of it may never come.
static int empty_ring(struct error *err)
{
    uint64_t available = shared_ring_available(&self.ring);
    uint64_t until = self.ring.own + available;
    int result = 0;
    while (available && (int64_t)(until - self.ring.own) > 0 && (result = serve_ring(err)) > 0)
        continue;
    return result;
}

// Returns 1 to go on, 0 at the end, or -1.
static int serve_channel(struct error *err)
{
    struct recorder_message message = {0};
    size_t none = 0;
    ssize_t length =
        fd_message_receive(RECORDER_CHANNEL_FD, &message, sizeof(message), NULL, &none, err);
    // A supervisor that is gone cannot say more: what it said is written, the log is not sealed.
    if (length <= 0) {
        if (empty_ring(err) < 0 || audit_writer_checkpoint(&self.writer, err) < 0)
            return -1;
        return 0;
    }
    if (length != (ssize_t)sizeof(message) || empty_ring(err) < 0)
        return -1;
    if (message.type == RECORDER_SYNC) {
        if (audit_writer_sync(&self.writer, err) < 0)
            return -1;
        tell(RECORDER_SYNCED, message.value, NULL);
        return 1;
    }
    if (audit_writer_seal(&self.writer, err) < 0)
        return -1;
    tell(RECORDER_FINISHED, 0, NULL);
    return 0;
}

static int run(struct error *err)
{
    struct pollfd fds[] = {
        {.fd = RECORDER_CHANNEL_FD, .events = POLLIN},
        {.fd = self.wake_own, .events = POLLIN},
    };
    self.checkpoint_ns = clock_now_ns(&clock_host);
    for (;;) {
        int served = serve_ring(err);
        int timeout_ms = served < 0 ? -2 : serve_time(err);
        if (timeout_ms == -2)
            return -1;
        if (served || shared_ring_wait_data(&self.ring))
            timeout_ms = 0;
        struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * (long)NS_PER_MS};
        if (ppoll(fds, 2, timeout_ms < 0 ? NULL : &timeout, NULL) < 0 && errno != EINTR)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "recorder: poll");
        uint64_t value;
        if (fds[1].revents && read(self.wake_own, &value, sizeof(value)) < 0 && errno != EAGAIN)
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "recorder: wake-up");
        int more = fds[0].revents ? serve_channel(err) : 1;
        if (more <= 0)
            return more;
    }
}

int main(void)
{
    struct error err = {0};
    int fds[RECORDER_FDS];
    if (fcntl(RECORDER_CHANNEL_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-recorder is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    self.writer.fd = self.writer.lock = -1;
    int result = receive(fds, &err);
    if (result == 0)
        result = lock_down(&err);
    if (result == 0)
        result = audit_writer_open(&self.writer, fds[RECORDER_FD_LOG], &err);
    if (result == 0) {
        tell(RECORDER_READY, self.writer.bytes, NULL);
        wake_supervisor();
        result = run(&err);
    }
    if (result < 0)
        tell(RECORDER_FAILED, 0, &err);
    audit_writer_close(&self.writer);
    sodium_memzero(&self.secret, sizeof(self.secret));
    return result < 0 ? (int)err.status : EXIT_STATUS_OK;
}
