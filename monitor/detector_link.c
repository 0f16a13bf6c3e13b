// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of an external detector.
#include "detector_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "escape.h"

void detector_link_init(struct detector_link *link)
{
    *link = (struct detector_link){.fd = -1};
}

static int queue(struct detector_link *link, const void *bytes, size_t length, struct error *err)
{
    if (length > DETECTOR_QUEUE_MAX - link->queued)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "it is too far behind");
    if (link->queued + length > link->room) {
        size_t room = link->room ? link->room : 65536;
        while (room < link->queued + length)
            room *= 2;
        uint8_t *grown = realloc(link->queue, room);
        if (!grown)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "its queue");
        link->queue = grown;
        link->room = room;
    }
    memcpy(link->queue + link->queued, bytes, length);
    link->queued += length;
    return 0;
}

static int queue_frame(struct detector_link *link, enum detector_frame_type type,
                       const void *const *parts, const size_t *lengths, unsigned count,
                       struct error *err)
{
    struct detector_frame frame = {.type = type};
    for (unsigned i = 0; i < count; i++)
        frame.length += (uint32_t)lengths[i];
    int result = queue(link, &frame, sizeof(frame), err);
    for (unsigned i = 0; i < count && result == 0; i++)
        result = queue(link, parts[i], lengths[i], err);
    return result;
}

int detector_link_open(struct detector_link *link, const struct detector_external *settings,
                       const struct clock *clock, const char *hello, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const void *parts[] = {hello};
    const size_t lengths[] = {strlen(hello)};
    _Static_assert(sizeof(address.sun_path) >= sizeof(settings->socket), "a path fits");
    memcpy(address.sun_path, settings->socket, sizeof(settings->socket));
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "detector %s: %s", settings->name,
                         settings->socket);
    link->settings = settings;
    link->clock = clock;
    link->fd = steal_fd(&fd);
    return queue_frame(link, DETECTOR_FRAME_HELLO, parts, lengths, 1, err) < 0
               ? -1
               : detector_link_write(link, err);
}

int detector_link_record(struct detector_link *link, uint64_t number,
                         const struct audit_record *record, const void *data, struct error *err)
{
    const void *parts[] = {&number, record, data};
    const size_t lengths[] = {sizeof(number), sizeof(*record), record->size - sizeof(*record)};
    if (link->seen == link->sent)
        link->progress_ns = clock_now_ns(link->clock);
    link->sent = number;
    return queue_frame(link, DETECTOR_FRAME_RECORD, parts, lengths, 3, err);
}

int detector_link_write(struct detector_link *link, struct error *err)
{
    size_t done = 0;
    while (done < link->queued) {
        ssize_t n = send(link->fd, link->queue + done, link->queued - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return error_set(err, EXIT_STATUS_ISOLATED, errno, "it has gone");
        done += (size_t)n;
    }
    link->queued -= done;
    memmove(link->queue, link->queue + done, link->queued);
    return 0;
}

static int refuse(struct error *err, const char *what)
{
    return error_set(err, EXIT_STATUS_ISOLATED, 0, "it talks nonsense: %s", what);
}

// Takes the first frame of the input, if it is whole.
static int take_frame(struct detector_link *link, uint32_t *level, char *text, size_t size,
                      struct error *err)
{
    struct detector_frame frame;
    struct detector_verdict verdict;
    if (link->used < sizeof(frame))
        return 0;
    memcpy(&frame, link->input, sizeof(frame));
    if (frame.type != DETECTOR_FRAME_VERDICT)
        return refuse(err, "no such frame");
    if (frame.length < sizeof(verdict) || frame.length > sizeof(verdict) + DETECTOR_TEXT_MAX)
        return refuse(err, "a frame of that length");
    if (link->used < sizeof(frame) + frame.length)
        return 0;
    memcpy(&verdict, link->input + sizeof(frame), sizeof(verdict));
    if (verdict.number < link->seen || verdict.number > link->sent)
        return refuse(err, "a verdict on a record that it was not shown");
    if (verdict.level > LEVEL_OFFLINE || verdict.zero)
        return refuse(err, "a level that is none");
    escape_line(text, size, (const char *)link->input + sizeof(frame) + sizeof(verdict),
                frame.length - sizeof(verdict));
    if (verdict.number > link->seen)
        link->progress_ns = clock_now_ns(link->clock);
    link->seen = verdict.number;
    *level = verdict.level;
    link->used -= sizeof(frame) + frame.length;
    memmove(link->input, link->input + sizeof(frame) + frame.length, link->used);
    return 1;
}

int detector_link_read(struct detector_link *link, uint32_t *level, char *text, size_t size,
                       struct error *err)
{
    for (;;) {
        int taken = take_frame(link, level, text, size, err);
        if (taken < 0 || (taken && *level))
            return taken;
        if (taken)
            continue;
        ssize_t n = read(link->fd, link->input + link->used, sizeof(link->input) - link->used);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_ISOLATED, n < 0 ? errno : 0, "it has gone");
        link->used += (size_t)n;
    }
}

uint64_t detector_link_deadline_ns(const struct detector_link *link)
{
    return link->fd < 0 || link->seen == link->sent
               ? UINT64_MAX
               : link->progress_ns + link->settings->timeout_ms * NS_PER_MS;
}

void detector_link_close(struct detector_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    free(link->queue);
    detector_link_init(link);
}
