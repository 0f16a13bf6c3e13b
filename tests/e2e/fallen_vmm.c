// SPDX-License-Identifier: Apache-2.0
// A VMM that the model has taken over: lies to its supervisor in the way that its first argument
// names. It has the real one's descriptors and nothing else.
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "audit_record.h"
#include "backend_protocol.h"
#include "fd_message.h"
#include "level.h"
#include "message_frame.h"
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

static int audit_fd(void)
{
    return fds[vmm_config_poller_fd(0) + VMM_POLLER_FD_AUDIT];
}

// The tests that need a console grant it as the first port.
static int console_fd(void)
{
    return fds[vmm_config_port_fd(&message.config, 0) + VMM_PORT_FD_TO_HOST];
}

static void put_record(const struct audit_record *record)
{
    struct shared_ring ring;
    if (shared_ring_map(&ring, audit_fd(), VMM_AUDIT_RING_BYTES, NULL) == 0) {
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

static void print(const char *text)
{
    struct shared_ring ring;
    if (shared_ring_map(&ring, console_fd(), vmm_port_ring_bytes(&message.config.ports[0], 1),
                        NULL) == 0) {
        shared_ring_append(&ring, text, strlen(text));
        shared_ring_publish(&ring);
        wake();
    }
}

// A message in the ring of the first port, a log.
static void put_message(uint32_t length, uint32_t severity)
{
    const struct message_frame frame = {.length = length, .severity = severity};
    static const uint8_t text[8192];
    struct shared_ring ring;
    if (shared_ring_map(&ring, console_fd(), vmm_port_ring_bytes(&message.config.ports[0], 1),
                        NULL) == 0) {
        shared_ring_append(&ring, &frame, sizeof(frame));
        shared_ring_append(&ring, text, length);
        shared_ring_publish(&ring);
        wake();
    }
}

// Confirms that it is severed, and speaks all the same.
static void late_words(void)
{
    struct vmm_level order;
    size_t count = 0;
    while (fd_message_receive(VMM_CHANNEL_FD, &order, sizeof(order), NULL, &count, NULL) !=
               (ssize_t)sizeof(order) ||
           order.message.type != VMM_MESSAGE_LEVEL)
        count = 0;
    order.quiet_pollers = message.config.poller_count;
    order.paused_vcpus = message.config.vcpus;
    say(VMM_MESSAGE_LEVEL_DONE, &order, sizeof(order));
    usleep(100000);
    print("after the gate");
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
        bad_index(audit_fd(), VMM_AUDIT_RING_BYTES);
    } else if (!strcmp(mode, "console-index")) {
        bad_index(console_fd(), vmm_port_ring_bytes(&message.config.ports[0], 1));
    } else if (!strcmp(mode, "ready-again")) {
        ready();
    } else if (!strcmp(mode, "failed-late")) {
        struct vmm_failed body = {.status = 75, .text = "\x1b]0;out of memory\x07"};
        say(VMM_MESSAGE_FAILED, &body, sizeof(body));
    } else if (!strcmp(mode, "garbage")) {
        fd_message_send(VMM_CHANNEL_FD, mode, strlen(mode), NULL, 0, NULL);
    } else if (!strcmp(mode, "done-forged")) {
        struct vmm_port_order body = {.port = 0, .action = VMM_PORT_ACTION_CLOSE, .number = 77};
        say(VMM_MESSAGE_PORT_DONE, &body, sizeof(body));
        body.action = VMM_PORT_ACTION_BACKEND_DOWN;
        say(VMM_MESSAGE_PORT_DONE, &body, sizeof(body));
        struct vmm_end end = {.kind = VMM_END_EXIT, .exit_value = 5};
        say(VMM_MESSAGE_END, &end, sizeof(end));
    } else if (!strcmp(mode, "event-range") || !strcmp(mode, "event-no-process")) {
        struct vmm_port_event body = {.event = VMM_PORT_EVENT_HUNG};
        body.port = mode[6] == 'r' ? 4000000000u : 0;
        say(VMM_MESSAGE_PORT_EVENT, &body, sizeof(body));
    } else if (!strcmp(mode, "log-severity")) {
        put_message(1, VMM_LOG_SEVERITY_MAX + 1);
    } else if (!strcmp(mode, "log-length")) {
        put_message(message.config.ports[0].max_request_bytes + 1, 0);
    } else if (!strcmp(mode, "log-message")) {
        put_message(1, 0);
    } else if (!strcmp(mode, "console-bytes")) {
        print("not granted");
    } else if (!strcmp(mode, "late-words")) {
        late_words();
    } else if (!strcmp(mode, "deaf-to-orders")) {
        for (;;)
            pause();
    } else if (!strcmp(mode, "done-range")) {
        struct vmm_port_order body = {.port = 4000000000u, .number = 1};
        say(VMM_MESSAGE_PORT_DONE, &body, sizeof(body));
    } else if (!strcmp(mode, "index-then-end")) {
        struct vmm_end body = {.kind = VMM_END_EXIT};
        bad_index(audit_fd(), VMM_AUDIT_RING_BYTES);
        say(VMM_MESSAGE_END, &body, sizeof(body));
    }
}

// The memory shared with the backend process of port 0, as a driver without scruples sees it.
static struct {
    struct backend_layout layout;
    uint8_t *memory;
    int wake_fd;
    uint16_t next;
} backend;

static int open_backend(void)
{
    int index = (int)vmm_config_port_fd(&message.config, 0);
    backend_layout_init(&backend.layout, &message.config.ports[0]);
    backend.memory = mmap(NULL, backend.layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                          fds[index + VMM_PORT_FD_BACKEND_MEMORY], 0);
    backend.wake_fd = fds[index + VMM_PORT_FD_BACKEND_WAKE];
    return backend.memory == MAP_FAILED ? -1 : 0;
}

static uint16_t backend_used(void)
{
    return __atomic_load_n((uint16_t *)(void *)(backend.memory + backend.layout.used + 2),
                           __ATOMIC_ACQUIRE);
}

static void ring_backend(void)
{
    uint64_t one = 1;
    ssize_t ignored = write(backend.wake_fd, &one, sizeof(one));
    (void)ignored;
}

// Sends one request in slot 0 and waits for its reply for at most a second. Returns the status, or
// 255 if there was no answer.
static unsigned ask_backend(uint32_t operation, uint32_t length)
{
    static const uint8_t zeros[24];
    uint8_t *slot = backend.memory + backend.layout.buffers;
    uint8_t *descriptors = backend.memory + backend.layout.descriptors;
    const struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags;
        uint16_t next;
    } chain[2] = {
        {backend.layout.buffers, 24 + length, 1, 1},
        {backend.layout.buffers + backend.layout.reply, 16, 2, 0},
    };
    memcpy(slot, zeros, sizeof(zeros));
    memcpy(slot, &operation, sizeof(operation));
    memcpy(slot + 16, &length, sizeof(length));
    memcpy(descriptors, chain, sizeof(chain));
    uint16_t used = backend_used();
    uint16_t *available = (uint16_t *)(void *)(backend.memory + backend.layout.available);
    available[2 + backend.next % backend.layout.queue_size] = 0;
    __atomic_store_n(&available[1], ++backend.next, __ATOMIC_RELEASE);
    for (unsigned wait = 0; wait < 1000 && backend_used() == used; wait++) {
        ring_backend();
        usleep(1000);
    }
    uint32_t status;
    if (backend_used() == used)
        return 255;
    memcpy(&status, slot + backend.layout.reply, sizeof(status));
    return status;
}

static void end(uint64_t value)
{
    struct vmm_end body = {.kind = VMM_END_EXIT, .exit_value = value};
    say(VMM_MESSAGE_END, &body, sizeof(body));
}

// Gives some signs of life and not others. Ends by itself only if it gave both kinds for two
// seconds: a supervisor that ends it before is right, or too strict.
static void beat(const char *mode)
{
    struct level_page *page =
        mmap(NULL, LEVEL_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[VMM_FD_LEVEL_VMM], 0);
    bool both = !strcmp(mode, "beat-both");
    bool in_page = both || !strcmp(mode, "beat-page");
    bool over_socket = both || !strcmp(mode, "beat-socket");
    struct vmm_beat question = {.number = 1};
    if (!strcmp(mode, "beat-unasked"))
        say(VMM_MESSAGE_BEAT, &question, sizeof(question));
    for (unsigned i = 0; (!both || i < 200) && i < 3000; i++) {
        size_t count = 0;
        if (in_page)
            atomic_fetch_add(&page->beat, 1);
        usleep(10000);
        if (recv(VMM_CHANNEL_FD, &question, 1, MSG_PEEK | MSG_DONTWAIT) <= 0 ||
            fd_message_receive(VMM_CHANNEL_FD, &question, sizeof(question), NULL, &count, NULL) <=
                0)
            continue;
        if (!strcmp(mode, "beat-number"))
            question.number++;
        if (over_socket || !strcmp(mode, "beat-number"))
            say(VMM_MESSAGE_BEAT, &question, sizeof(question));
    }
    end(7);
}

// Confirms the supervisor's order that the backend is up: who does not is isolated.
static void obey(void)
{
    struct vmm_port_order order;
    size_t count = 0;
    if (fd_message_receive(VMM_CHANNEL_FD, &order, sizeof(order), NULL, &count, NULL) ==
        (ssize_t)sizeof(order))
        say(VMM_MESSAGE_PORT_DONE, &order, sizeof(order));
}

// What the backend process of a fallen VMM's port lets through; the answer is the exit status.
static void attack_backend(const char *mode)
{
    unsigned answer = 0;
    if (open_backend() < 0)
        return;
    usleep(300000); // until the process serves
    obey();
    if (!strcmp(mode, "backend-ungranted")) {
        answer = ask_backend(3, 0);
    } else if (!strcmp(mode, "backend-too-large")) {
        answer = ask_backend(2, message.config.ports[0].max_request_bytes + 1);
    } else if (!strcmp(mode, "backend-totals")) {
        for (unsigned i = 0; i < 20; i++)
            answer += ask_backend(2, 8) == 0;
    } else if (!strcmp(mode, "backend-severed")) {
        struct level_page *page = mmap(NULL, LEVEL_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                                       fds[VMM_FD_LEVEL_VMM], 0);
        atomic_store(&page->level, LEVEL_SEVERED);
        answer = ask_backend(2, 8) == 255 ? 0 : 1;
    } else if (!strcmp(mode, "backend-lower-level")) {
        // The supervisor's page is not ours to write.
        answer = mmap(NULL, LEVEL_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                      fds[VMM_FD_LEVEL_SUPERVISOR], 0) == MAP_FAILED
                     ? 0
                     : 1;
    } else if (!strcmp(mode, "backend-shrink")) {
        int fd = fds[vmm_config_port_fd(&message.config, 0) + VMM_PORT_FD_BACKEND_MEMORY];
        answer = ftruncate(fd, 0) == 0 ? 1 : 0;
    } else if (!strcmp(mode, "backend-accused")) {
        // Both at once: the process is gone by the way that the supervisor hears of it.
        struct vmm_port_event body = {.port = 0, .event = VMM_PORT_EVENT_HUNG};
        struct vmm_end violation = {.kind = VMM_END_VIOLATION, .violation = 1};
        say(VMM_MESSAGE_PORT_EVENT, &body, sizeof(body));
        say(VMM_MESSAGE_END, &violation, sizeof(violation));
        return;
    } else if (!strcmp(mode, "backend-scribble")) {
        for (unsigned round = 0; round < 2000; round++) {
            for (uint64_t i = 0; i < backend.layout.buffers; i += 2)
                *(uint16_t *)(void *)(backend.memory + i) = (uint16_t)rand();
            ring_backend();
            usleep(100);
        }
    }
    end(answer);
}

int main(void)
{
    size_t count = FD_MESSAGE_MAX_FDS;
    if (fd_message_receive(VMM_CHANNEL_FD, &message, sizeof(message), fds, &count, NULL) <= 0)
        return 1;
    // The first message behind the configuration: the supervisor lets the model run.
    struct vmm_message go;
    count = 0;
    fd_message_receive(VMM_CHANNEL_FD, &go, sizeof(go), NULL, &count, NULL);
    ready();
    const char *mode = message.bytes + sizeof(message.config);
    if (!strncmp(mode, "backend-", 8))
        attack_backend(mode);
    else if (!strncmp(mode, "beat-", 5))
        beat(mode);
    else
        lie(mode);
    sleep(30); // the supervisor has to end this
    return 0;
}
