// SPDX-License-Identifier: Apache-2.0
// Tells systemd how the service does.
#include "service_notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "number.h"

#define WATCHDOG_USEC_MAX 86400000000ull

static int read_watchdog(struct service_notify *notify, struct error *err)
{
    const char *text = getenv("WATCHDOG_USEC");
    const char *owner = getenv("WATCHDOG_PID");
    uint64_t number;
    if (!text)
        return 0;
    if (owner && number_parse(owner, 1, INT32_MAX, &number, err) < 0)
        return error_wrap(err, "WATCHDOG_PID");
    if (owner && number != (uint64_t)getpid())
        return 0; // meant for another process of the service
    if (number_parse(text, 1, WATCHDOG_USEC_MAX, &number, err) < 0)
        return error_wrap(err, "WATCHDOG_USEC");
    notify->interval_ns = number * NS_PER_US / 2;
    return 0;
}

int service_notify_open(struct service_notify *notify, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    *notify = (struct service_notify){.fd = -1};
    if (!path)
        return 0;
    size_t length = strlen(path);
    if ((*path != '/' && *path != '@') || length < 2 || length >= sizeof(address.sun_path))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "NOTIFY_SOCKET is neither a path nor an abstract name of a socket");
    memcpy(address.sun_path, path, length);
    if (*path == '@')
        address.sun_path[0] = '\0';
    if (read_watchdog(notify, err) < 0)
        return -1;
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (notify->fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "notification socket");
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (connect(notify->fd, (struct sockaddr *)&address, size) < 0) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "NOTIFY_SOCKET");
        service_notify_close(notify);
        return -1;
    }
    return 0;
}

void service_notify_send(struct service_notify *notify, const char *text)
{
    if (notify->fd < 0)
        return;
    ssize_t ignored = send(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

void service_notify_beat(struct service_notify *notify, uint64_t now_ns)
{
    if (notify->fd < 0 || !notify->interval_ns || now_ns < notify->next_ns)
        return;
    notify->next_ns = now_ns + notify->interval_ns;
    service_notify_send(notify, "WATCHDOG=1");
}

void service_notify_close(struct service_notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    *notify = (struct service_notify){.fd = -1};
}
