// SPDX-License-Identifier: Apache-2.0
// A VMM that the model has taken over: lies to its supervisor in the way that its first argument
// names. It has the real one's descriptors and nothing else.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit_record.h"
#include "fd_message.h"
#include "level.h"
#include "shared_ring.h"
#include "vmm_protocol.h"

static union {
    struct vmm_config config;
    char bytes[VMM_MESSAGE_MAX];
} message;
static int fds[FD_MESSAGE_MAX_FDS];

static void wake(void)
{
    uint64_t one = 1;
    ssize_t ignored = write(fds[VMM_FD_WAKE_SUPERVISOR], &one, sizeof(one));
    (void)ignored;
}

static void say(enum vmm_message_type type, void *body, uint32_t size)
{
    vmm_message_init(body, type, size);
    fd_message_send(VMM_CHANNEL_FD, body, size, NULL, 0, NULL);
}

static void ready(void)
{
    struct vmm_ready body = {0};
    say(VMM_MESSAGE_READY, &body, sizeof(body));
}

static void put_record(const struct audit_record *record)
{
    struct shared_ring ring;
    if (shared_ring_map(&ring, fds[VMM_FD_AUDIT_RING], VMM_AUDIT_RING_BYTES, NULL) == 0) {
        shared_ring_append(&ring, record, sizeof(*record));
        shared_ring_publish(&ring);
        wake();
    }
}

static void bad_index(int fd, uint64_t bytes)
{
    struct shared_ring ring;
    if (shared_ring_map(&ring, fd, bytes, NULL) == 0) {
        atomic_store(&ring.header->head, 1ull << 40);
        wake();
    }
}

static void lie(const char *mode)
{
    if (!strcmp(mode, "forge-level")) {
        const struct audit_record record = {
            .size = sizeof(record), .type = AUDIT_LEVEL, .level = LEVEL_IMMOLATION};
        put_record(&record);
    } else if (!strcmp(mode, "forge-port")) {
        const struct audit_record record = {
            .size = sizeof(record), .type = AUDIT_REQUEST, .port = 7};
        put_record(&record);
    } else if (!strcmp(mode, "forge-sequence")) {
        const struct audit_record record = {
            .size = sizeof(record), .type = AUDIT_REQUEST, .sequence = 5};
        put_record(&record);
    } else if (!strcmp(mode, "audit-index")) {
        bad_index(fds[VMM_FD_AUDIT_RING], VMM_AUDIT_RING_BYTES);
    } else if (!strcmp(mode, "console-index")) {
        bad_index(fds[VMM_FD_CONSOLE_OUT], VMM_CONSOLE_RING_BYTES);
    } else if (!strcmp(mode, "ready-again")) {
        ready();
    } else if (!strcmp(mode, "failed-late")) {
        struct vmm_failed body = {.status = 75, .text = "\x1b]0;out of memory\x07"};
        say(VMM_MESSAGE_FAILED, &body, sizeof(body));
    } else if (!strcmp(mode, "garbage")) {
        fd_message_send(VMM_CHANNEL_FD, mode, strlen(mode), NULL, 0, NULL);
    } else if (!strcmp(mode, "index-then-end")) {
        struct vmm_end body = {.kind = VMM_END_EXIT};
        bad_index(fds[VMM_FD_AUDIT_RING], VMM_AUDIT_RING_BYTES);
        say(VMM_MESSAGE_END, &body, sizeof(body));
    }
}

int main(void)
{
    size_t count = FD_MESSAGE_MAX_FDS;
    if (fd_message_receive(VMM_CHANNEL_FD, &message, sizeof(message), fds, &count, NULL) <= 0)
        return 1;
    ready();
    lie(message.bytes + sizeof(message.config));
    sleep(30); // the supervisor has to end this
    return 0;
}
