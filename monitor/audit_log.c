// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of the audit log.
#include "audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd_message.h"
#include "level.h"
#include "log_key.h"
#include "paths.h"
#include "spawn.h"

// Room in the ring to the recorder that only the supervisor's own records use.
#define RESERVE_BYTES (64u << 10)

// Ten milliseconds each.
#define LOCK_TRIES 100u

// More bytes than any log has.
#define NO_BUDGET (1ull << 62)

// How often a recorder that is not asked anything is asked whether all is durable, and how long it
// may take to say so: a disk that takes longer is no place for a log.
#define ASK_NS   (2 * NS_PER_S)
#define STALL_NS (10 * NS_PER_S)

void audit_log_init(struct audit_log *log, const struct clock *clock)
{
    *log = (struct audit_log){
        .fd = -1,
        .clock = clock,
        .ring_fd = -1,
        .channel = -1,
        .wake_own = -1,
        .wake_recorder = -1,
        .pid = -1,
        .pidfd = -1,
    };
}

int audit_log_start_recorder(struct audit_log *log, struct error *err)
{
    char path[PATH_MAX];
    cleanup_fd int remote = -1;
    if (paths_sibling("guillotine-recorder", path, err) < 0 ||
        spawn_channel(&log->channel, &remote, err) < 0)
        return -1;
    const struct spawn_request request = {
        .path = path,
        .name = "guillotine-recorder",
        .fds = {[RECORDER_CHANNEL_FD - 3] = remote},
        .fd_count = 1,
        .second = 1, // the launch does not wait for it
    };
    log->pid = spawn_program(&request, &log->pidfd, err);
    return log->pid < 0 ? -1 : 0;
}

int audit_log_prepare(struct audit_log *log, struct error *err)
{
    log->ring_fd = shared_ring_create("guillotine-recorder", RECORDER_RING_BYTES, err);
    if (log->ring_fd < 0 || shared_ring_map(&log->out, log->ring_fd, RECORDER_RING_BYTES, err) < 0)
        return -1;
    log->wake_own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log->wake_recorder = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (log->wake_own < 0 || log->wake_recorder < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "eventfd");
    return 0;
}

// What can be seen at once; the rest is the recorder's.
static int check_beginning(int fd, const char *path, struct error *err)
{
    static const char expected[] = AUDIT_FORMAT "\n";
    char found[AUDIT_FILE_HEADER_BYTES] = {0};
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "audit log %s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "audit log %s is not a regular file", path);
    if (status.st_size && (pread(fd, found, sizeof(found), 0) < (ssize_t)sizeof(expected) ||
                           memcmp(found, expected, sizeof(expected)) != 0))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s exists and is not a whole audit log of format %s: move it away", path,
                         AUDIT_FORMAT);
    return 0;
}

static int open_file(const char *path, struct error *err)
{
    cleanup_fd int fd =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(err, errno == EISDIR ? EXIT_STATUS_BAD_FILE : EXIT_STATUS_RESOURCES, errno,
                         "audit log %s", path);
    // The recorder of a run that was killed a moment ago may still be writing what that had said.
    int locked = flock(fd, LOCK_EX | LOCK_NB);
    for (unsigned tries = 0; locked < 0 && tries < LOCK_TRIES; tries++) {
        poll(NULL, 0, 10);
        locked = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (locked < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "audit log %s is in use by another VM",
                         path);
    return check_beginning(fd, path, err) < 0 ? -1 : steal_fd(&fd);
}

static int fill_config(struct recorder_config *config, const struct audit_place *place,
                       struct error *err)
{
    const char *slash = strrchr(place->path, '/');
    const char *name = slash ? slash + 1 : place->path;
    *config = (struct recorder_config){.format = RECORDER_FORMAT,
                                       .rotate_bytes = place->rotate_bytes,
                                       .state_cookie = place->state_cookie};
    static const char suffix[] = ".audit";
    bool is_log =
        strlen(name) > sizeof(suffix) && !strcmp(name + strlen(name) + 1 - sizeof(suffix), suffix);
    if (strlen(name) >= RECORDER_LOG_SIZE)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "audit log %s", place->path);
    memcpy(config->name, name, strlen(name));
    memcpy(config->log, name, strlen(name) - (is_log ? sizeof(suffix) - 1 : 0));
    snprintf(config->path, sizeof(config->path), "%s", place->path);
    return 0;
}

static int open_folder(const char *path, struct error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", folder) : fd;
}

int audit_log_open(struct audit_log *log, const struct audit_place *place, int level_fd,
                   struct error *err)
{
    struct recorder_config config;
    cleanup_fd int witness = -1;
    cleanup_fd int folder = -1;
    cleanup_fd int key = -1;
    log->fd = open_file(place->path, err);
    if (log->fd < 0 || fill_config(&config, place, err) < 0 ||
        (log->pid <= 0 && audit_log_start_recorder(log, err) < 0))
        return -1;
    folder = open_folder(place->path, err);
    key = folder < 0 ? -1 : log_key_open(place->state_dir, err);
    if (key < 0)
        return -1;
    if (place->witness) {
        witness = open(place->witness,
                       O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
        if (witness < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "witness %s", place->witness);
    }
    log->budget_bytes = place->budget_bytes;
    const int fds[RECORDER_FDS] = {
        [RECORDER_FD_FOLDER] = folder,
        [RECORDER_FD_LOG] = log->fd,
        [RECORDER_FD_KEY] = key,
        [RECORDER_FD_RING] = log->ring_fd,
        [RECORDER_FD_LEVEL] = level_fd,
        [RECORDER_FD_WAKE_RECORDER] = log->wake_recorder,
        [RECORDER_FD_WAKE_SUPERVISOR] = log->wake_own,
        [RECORDER_FD_WITNESS] = witness,
    };
    if (fd_message_send(log->channel, &config, sizeof(config), fds,
                        place->witness ? RECORDER_FDS : RECORDER_FD_WITNESS, err) < 0)
        return -1;
    log->opened = true;
    return 0;
}

static void wake_recorder(struct audit_log *log)
{
    uint64_t one = 1;
    ssize_t ignored = write(log->wake_recorder, &one, sizeof(one));
    (void)ignored;
}

static void publish(struct audit_log *log)
{
    if (shared_ring_publish(&log->out))
        wake_recorder(log);
}

int audit_log_append_data(struct audit_log *log, const struct audit_record *record,
                          const void *data, uint32_t length, struct error *err)
{
    static const uint8_t zeros[8];
    struct audit_record stamped = *record;
    if (length > AUDIT_DATA_MAX)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "audit log: %u bytes of data", length);
    stamped.size = audit_record_size(length);
    stamped.source = AUDIT_SOURCE_SUPERVISOR;
    stamped.now_ns = clock_now_ns(log->clock);
    stamped.wall_ns = clock_wall_ns(log->clock);
    if (!log->out.header || shared_ring_space(&log->out) < stamped.size)
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "audit log: the recorder does not keep up: no room for a record");
    stamped.sequence = log->sequence++;
    shared_ring_append(&log->out, &stamped, sizeof(stamped));
    shared_ring_append(&log->out, data, length);
    shared_ring_append(&log->out, zeros, stamped.size - sizeof(stamped) - length);
    log->bytes += stamped.size;
    publish(log);
    return 0;
}

int audit_log_append(struct audit_log *log, const struct audit_record *record, struct error *err)
{
    return audit_log_append_data(log, record, "", 0, err);
}

// Data behind a record: pieces of payloads and their digests.
static bool has_good_data(const struct audit_record *record)
{
    switch (record->type) {
    case AUDIT_PAYLOAD:
        return record->detail <= 1 && record->request && record->length <= AUDIT_DATA_MAX &&
               record->size == audit_record_size(record->length);
    case AUDIT_DIGEST:
        return record->detail <= 1 && record->request &&
               record->size == audit_record_size(SHA256_BYTES);
    default:
        return record->size == sizeof(*record);
    }
}

// The supervisor writes start, level, violation and end itself: a VMM that claims one is lying.
static bool is_of_fabric(const struct audit_ring *ring, const struct audit_record *record)
{
    bool known = record->type == AUDIT_REQUEST || record->type == AUDIT_COMPLETION ||
                 record->type == AUDIT_ANOMALY || record->type == AUDIT_PAYLOAD ||
                 record->type == AUDIT_DIGEST || record->type == AUDIT_VERDICT;
    return known && has_good_data(record) && record->port >= ring->first_port &&
           record->port - ring->first_port < ring->ports && record->decision < AUDIT_DECISIONS &&
           record->level < LEVEL_COUNT;
}

static void account(struct audit_ring *ring, const struct audit_record *record)
{
    if (!audit_decision_passes(record->decision))
        return;
    if (record->type == AUDIT_REQUEST || record->type == AUDIT_VERDICT) {
        ring->requests++;
        ring->bytes += record->length;
    } else if (record->type == AUDIT_COMPLETION) {
        ring->reply_bytes += record->length;
    }
}

// What the recorder is done with.
static uint64_t position(struct audit_log *log)
{
    return log->out.own - (log->out.size - shared_ring_space(&log->out));
}

// Everything that was forwarded has been observed: what withholds one record withholds all.
static bool is_withheld(const struct audit_log *log, const struct audit_ring *ring)
{
    return ring->source == AUDIT_SOURCE_VMM && log->withhold && log->withhold(log->observer);
}

// Gives the ring back what the recorder is done with.
static void release(struct audit_log *log, struct audit_ring *ring, bool *wake)
{
    if (ring->mark_bytes && (int64_t)(position(log) - ring->mark_position) >= 0 &&
        !is_withheld(log, ring)) {
        if (shared_ring_consume(&ring->ring, ring->mark_bytes))
            *wake = true;
        ring->ahead -= ring->mark_bytes;
        ring->mark_bytes = 0;
    }
    if (!ring->mark_bytes && ring->ahead) {
        ring->mark_bytes = ring->ahead;
        ring->mark_position = log->out.own;
    }
}

static bool may_take(struct audit_log *log)
{
    if (!log->budget_bytes)
        return true;
    if (log->ready && !log->full && log->bytes >= log->budget_bytes) {
        log->full = true;
        fprintf(stderr,
                "guillotine: the audit log has used up its budget of %llu bytes: ports "
                "stop\n",
                (unsigned long long)log->budget_bytes);
    }
    return log->ready && !log->full;
}

static bool has_room(struct audit_log *log)
{
    return shared_ring_space(&log->out) >= RESERVE_BYTES + AUDIT_RECORD_MAX;
}

static int refuse(const struct audit_ring *ring, struct error *err)
{
    return error_set(err, EXIT_STATUS_ISOLATED, 0,
                     "audit ring of the %s: record %llu is not one that the fabric writes",
                     audit_source_name(ring->source), (unsigned long long)ring->next);
}

// Copies records on, as long as there is room.
static int forward(struct audit_log *log, struct audit_ring *ring, uint64_t available,
                   uint64_t most, struct error *err)
{
    uint64_t wall_ns = clock_wall_ns(log->clock);
    uint64_t room = shared_ring_space(&log->out);
    uint64_t stop = log->bytes + most;
    static struct audit_record_data copy; // one thread
    while (ring->ahead < available && room >= RESERVE_BYTES + AUDIT_RECORD_MAX &&
           log->bytes < stop) {
        struct audit_record *record = &copy.record;
        uint64_t left = available - ring->ahead;
        if (left < sizeof(*record))
            return refuse(ring, err);
        shared_ring_peek(&ring->ring, ring->ahead, record, sizeof(*record));
        if (record->sequence != ring->next || !is_of_fabric(ring, record) || record->size > left)
            return refuse(ring, err);
        uint32_t size = record->size;
        if (size > sizeof(*record))
            shared_ring_peek(&ring->ring, ring->ahead + sizeof(*record), copy.data,
                             size - sizeof(*record));
        ring->next++;
        ring->ahead += size;
        account(ring, record);
        record->source = (uint8_t)ring->source;
        if (log->observe)
            log->observe(log->observer, record, copy.data);
        if (payload_digest_wants(record)) {
            struct audit_record piece = *record;
            if (!piece.length)
                continue; // a mark
            switch (payload_digest_add(&ring->digests, &piece, copy.data, record, copy.data)) {
            case PAYLOAD_DIGEST_MORE:
                continue;
            case PAYLOAD_DIGEST_DONE:
                size = record->size;
                break;
            case PAYLOAD_DIGEST_REFUSED:
            default:
                return refuse(ring, err);
            }
        }
        record->sequence = log->sequence++;
        record->wall_ns = wall_ns;
        shared_ring_append(&log->out, &copy, size);
        log->bytes += size;
        room -= size;
    }
    return 0;
}

static int take(struct audit_log *log, struct audit_ring *ring, uint64_t most, bool *wake,
                struct error *err)
{
    uint64_t available = shared_ring_available(&ring->ring);
    if (available == UINT64_MAX || available % 8 || available < ring->ahead)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "audit ring of the %s: impossible index",
                         audit_source_name(ring->source));
    uint64_t before = log->out.own;
    int result = available > ring->ahead ? forward(log, ring, available, most, err) : 0;
    if (log->out.own != before)
        publish(log);
    release(log, ring, wake);
    return result;
}

int audit_log_take(struct audit_log *log, struct audit_ring *ring, bool *wake, struct error *err)
{
    if (may_take(log))
        return take(log, ring, log->budget_bytes ? log->budget_bytes - log->bytes : NO_BUDGET, wake,
                    err);
    release(log, ring, wake);
    return 0;
}

bool audit_log_wait(struct audit_log *log, struct audit_ring *ring)
{
    if (!log->out.header)
        return false;
    // Pairs with the producer's fence: either it sees that we wait, or we its records.
    atomic_store_explicit(&ring->ring.header->consumer_waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t available = shared_ring_available(&ring->ring);
    bool work = available == UINT64_MAX || available < ring->ahead ||
                (available > ring->ahead && may_take(log) && has_room(log));
    if (!work && ring->mark_bytes && !is_withheld(log, ring))
        work =
            shared_ring_wait_space(&log->out, log->out.size - (log->out.own - ring->mark_position));
    else if (!work && !ring->mark_bytes && available && may_take(log))
        work = shared_ring_wait_space(&log->out, RESERVE_BYTES + AUDIT_RECORD_MAX);
    if (work)
        atomic_store_explicit(&ring->ring.header->consumer_waiting, 0, memory_order_relaxed);
    return work;
}

// Takes the recorder's word.
static int take_message(struct audit_log *log, const struct recorder_message *message,
                        struct error *err)
{
    switch (message->type) {
    case RECORDER_READY:
        log->bytes += message->value;
        log->generation = message->generation;
        log->ready = true;
        log->asked_ns = clock_now_ns(log->clock); // what was asked meanwhile, it hears only now
        return 0;
    case RECORDER_SYNCED:
        log->sync_done = message->value;
        return 0;
    case RECORDER_FINISHED:
        log->finished = true;
        return 0;
    case RECORDER_PROGRESS:
        fprintf(stderr, "guillotine: reading the audit log: %llu records\n",
                (unsigned long long)message->value);
        return 0;
    case RECORDER_FAILED:
        *err = (struct error){.code = message->code, .status = EXIT_STATUS_ISOLATED};
        if (message->status == EXIT_STATUS_BAD_FILE)
            err->status = EXIT_STATUS_BAD_FILE;
        snprintf(err->text, sizeof(err->text), "%.*s", (int)sizeof(message->text) - 1,
                 message->text);
        if (!err->code)
            err->code = EIO; // of the log, not of a ring
        return -1;
    default:
        return error_set(err, EXIT_STATUS_ISOLATED, EPROTO, "audit log: the recorder");
    }
}

static int ask(struct audit_log *log, enum recorder_message_type type, uint64_t within_ns,
               struct error *err)
{
    log->asked_ns = clock_now_ns(log->clock);
    log->within_ns = within_ns;
    const struct recorder_message message = {.type = type, .value = ++log->sync_asked};
    if (fd_message_send(log->channel, &message, sizeof(message), NULL, 0, err) < 0) {
        struct error said;
        if (audit_log_serve(log, &said) < 0 && err)
            *err = said; // why it ended
        return -1;
    }
    return 0;
}

// A recorder that hangs is found out also while there is nothing to record.
static int check_stall(struct audit_log *log, struct error *err)
{
    uint64_t now = clock_now_ns(log->clock);
    if (!log->ready)
        return 0; // it may be reading a long log, and no model runs
    // As long as it takes records, its disk is only slow.
    uint64_t there = position(log);
    if (there != log->seen_position && log->sync_done < log->sync_asked)
        log->asked_ns = now;
    log->seen_position = there;
    if (log->sync_done < log->sync_asked)
        return now - log->asked_ns < log->within_ns
                   ? 0
                   : error_set(err, EXIT_STATUS_ISOLATED, ETIMEDOUT,
                               "audit log: the recorder has stalled");
    return now - log->asked_ns < ASK_NS ? 0 : ask(log, RECORDER_SYNC, STALL_NS, err);
}

static int serve(struct audit_log *log, struct error *err)
{
    uint64_t value;
    ssize_t ignored = read(log->wake_own, &value, sizeof(value));
    (void)ignored;
    while (log->channel >= 0 && !log->finished) {
        struct recorder_message message = {0};
        size_t none = 0;
        struct error inner;
        ssize_t length =
            fd_message_receive(log->channel, &message, sizeof(message), NULL, &none, &inner);
        // It left without reading what it had been sent. What it said before is still there.
        if (length < 0 && inner.code == ECONNRESET)
            length =
                fd_message_receive(log->channel, &message, sizeof(message), NULL, &none, &inner);
        if (length < 0 && inner.code == EAGAIN)
            return check_stall(log, err);
        if (length != (ssize_t)sizeof(message))
            return error_set(err, EXIT_STATUS_ISOLATED, EPIPE,
                             "audit log: the recorder ended without a word");
        if (take_message(log, &message, err) < 0)
            return -1;
    }
    return 0;
}

int audit_log_serve(struct audit_log *log, struct error *err)
{
    if (log->failed)
        return error_set(err, EXIT_STATUS_ISOLATED, EPIPE, "audit log: the recorder has failed");
    log->failed = serve(log, err) < 0;
    return log->failed ? -1 : 0;
}

// Sleeps until the recorder says something or makes room. False after the deadline.
static bool wait_event(struct audit_log *log, uint64_t deadline_ns)
{
    struct pollfd fds[] = {
        {.fd = log->channel, .events = POLLIN},
        {.fd = log->wake_own, .events = POLLIN},
    };
    uint64_t now = clock_now_ns(log->clock);
    if (now >= deadline_ns)
        return false;
    uint64_t left_ms = (deadline_ns - now) / NS_PER_MS + 1;
    poll(fds, 2, left_ms < 100 ? (int)left_ms : 100);
    return true;
}

static int late(struct error *err)
{
    return error_set(err, EXIT_STATUS_ISOLATED, ETIMEDOUT, "audit log: the recorder");
}

int audit_log_take_all(struct audit_log *log, struct audit_ring *ring, uint64_t timeout_ns,
                       struct error *err)
{
    uint64_t deadline_ns = clock_now_ns(log->clock) + timeout_ns;
    bool wake = false;
    for (;;) {
        if (take(log, ring, NO_BUDGET, &wake, err) < 0)
            return -1;
        uint64_t available = shared_ring_available(&ring->ring);
        if (available == UINT64_MAX || available <= ring->ahead)
            return 0;
        if (log->pid <= 0)
            return late(err);
        if (shared_ring_wait_space(&log->out, RESERVE_BYTES + AUDIT_RECORD_MAX))
            continue;
        if (!wait_event(log, deadline_ns))
            return late(err);
        if (audit_log_serve(log, err) < 0)
            return -1;
    }
}

int audit_log_wait_durable(struct audit_log *log, uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline_ns = clock_now_ns(log->clock) + timeout_ns;
    if (ask(log, RECORDER_SYNC, timeout_ns, err) < 0)
        return -1;
    uint64_t asked = log->sync_asked;
    while (log->sync_done < asked) {
        if (audit_log_serve(log, err) < 0)
            return -1;
        if (log->sync_done < asked && !wait_event(log, deadline_ns))
            return late(err);
    }
    return 0;
}

int audit_log_finish(struct audit_log *log, uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline_ns = clock_now_ns(log->clock) + timeout_ns;
    if (ask(log, RECORDER_FINISH, timeout_ns, err) < 0)
        return -1;
    while (!log->finished) {
        if (audit_log_serve(log, err) < 0)
            return -1;
        if (!log->finished && !wait_event(log, deadline_ns))
            return late(err);
    }
    // It has said that everything is done; the lock goes with it.
    while (waitpid(log->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    log->pid = -1;
    return 0;
}

void audit_log_close(struct audit_log *log)
{
    if (log->pid > 0) {
        kill(log->pid, SIGKILL); // ours until it is reaped: the number cannot be reused
        while (waitpid(log->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    int *const fds[] = {&log->fd,    &log->ring_fd,       &log->channel,
                        &log->pidfd, &log->wake_recorder, &log->wake_own};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    shared_ring_unmap(&log->out);
    log->pid = -1;
}
