// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of log ports: from their rings to their files.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "paths.h"
#include "supervisor_internal.h"

// Operation of a log (ports/port_abi.h).
#define OPERATION_WRITE 1u

// Messages of one port in one turn of the loop: a model that writes without end holds nothing up.
#define MESSAGES_PER_TURN 64u

static bool is_log(const struct supervisor *s, unsigned port)
{
    return s->vm.ports[port].kind == VMM_PORT_LOG;
}

// STATE/log/NAME.PORT.log
static int default_path(const struct supervisor *s, unsigned port, char path[PATH_MAX],
                        struct error *err)
{
    char folder[PATH_MAX];
    char name[VM_NAME_SIZE + sizeof(s->vm.ports[port].name) + 8];
    if (paths_state_folder(s->state_dir, "log", folder, err) < 0)
        return -1;
    snprintf(name, sizeof(name), "%s.%s.log", s->vm.name, s->vm.ports[port].name);
    return paths_join(path, folder, name, err);
}

static int open_one(struct supervisor *s, unsigned port, struct error *err)
{
    const struct log_settings *settings = s->vm.settings[port].bytes;
    uint64_t max_bytes = settings ? settings->max_bytes : LOG_FILE_BYTES_DEFAULT;
    char path[PATH_MAX];
    if (settings && settings->path[0])
        memcpy(path, settings->path, sizeof(path));
    else if (default_path(s, port, path, err) < 0)
        return -1;
    s->logs[port].vm = s->vm.name;
    s->logs[port].port = s->vm.ports[port].name;
    return log_file_open(&s->logs[port], path, max_bytes, err);
}

void logs_init(struct supervisor *s)
{
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++)
        s->logs[i].fd = -1;
}

int logs_open(struct supervisor *s, struct error *err)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (is_log(s, i) && open_one(s, i, err) < 0)
            return error_wrap(err, "port %s", s->vm.ports[i].name);
    }
    return 0;
}

// The VMM answers further messages with PORT_STATUS_EXHAUSTED.
static void say_full(struct supervisor *s, unsigned port)
{
    atomic_store_explicit(&s->messages[port].input.header->closed, 1, memory_order_relaxed);
    fprintf(stderr,
            "guillotine: port %s: the log takes no more: its file is full or cannot be written\n",
            s->vm.ports[port].name);
}

// Moves one message to the file. Returns false if there is none.
static bool move_one(struct supervisor *s, unsigned port)
{
    char text[LOG_MESSAGE_MAX];
    uint32_t severity = 0;
    bool wake = false;
    int64_t length = message_relay_next(&s->messages[port], &severity);
    if (length == -1)
        return false;
    if (length < 0 || length > (int64_t)sizeof(text)) {
        supervisor_lie(s, "log ring: what the VMM wrote is not a message");
        return false;
    }
    if (!supervisor_account(s, port, OPERATION_WRITE, (uint64_t)length)) {
        supervisor_lie(s, "log ring: more than the port's grant allows");
        return false;
    }
    message_relay_take(&s->messages[port], text, (uint32_t)length, &wake);
    if (wake)
        vmm_process_wake(&s->process, port);
    bool full = s->logs[port].full;
    log_file_write(&s->logs[port], clock_wall_ns(&clock_host), severity, text, (size_t)length);
    if (s->logs[port].full && !full)
        say_full(s, port);
    return true;
}

bool logs_move(struct supervisor *s)
{
    bool more = false; // or the end
    for (unsigned i = 0; i < s->vm.port_count && !s->ended; i++) {
        // Nothing is written before the audit log is open.
        if (!is_log(s, i) || !s->audit.ready)
            continue;
        if (!(s->vm.ports[i].operations >> OPERATION_WRITE & 1) &&
            shared_ring_available(&s->messages[i].output))
            supervisor_lie(s, "log ring: more than the port's grant allows");
        if (!supervisor_carries(s, i, OPERATION_WRITE))
            continue;
        unsigned moved = 0;
        while (moved < MESSAGES_PER_TURN && !s->ended && move_one(s, i))
            moved++;
        more = more || moved == MESSAGES_PER_TURN;
    }
    return more || s->ended;
}

void logs_finish(struct supervisor *s, unsigned port)
{
    // The VMM is gone: the ring cannot grow.
    while (s->outcome != RUN_ISOLATED && move_one(s, port))
        continue;
}

void logs_close(struct supervisor *s)
{
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        if (s->logs[i].fd >= 0 && s->logs[i].dropped)
            fprintf(stderr, "guillotine: port %s: %" PRIu64 " messages were dropped\n",
                    s->vm.ports[i].name, s->logs[i].dropped);
        log_file_close(&s->logs[i], clock_wall_ns(&clock_host));
    }
}
