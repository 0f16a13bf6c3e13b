// SPDX-License-Identifier: Apache-2.0
// Tells systemd how the service does, as sd_notify(3) says: one datagram each.
#ifndef MONITOR_SERVICE_NOTIFY_H
#define MONITOR_SERVICE_NOTIFY_H

#include <stdint.h>

#include "error.h"

// Zero, with fd -1: nobody wants to know.
struct service_notify {
    int fd;               // connected to the service manager, or -1
    uint64_t interval_ns; // how often it wants to hear that we live, halved; 0: it does not
    uint64_t next_ns;     // when the next such word is due
};

// Opens the socket that $NOTIFY_SOCKET names, a path or '@' and an abstract name, and reads
// $WATCHDOG_USEC if $WATCHDOG_PID is this process or not set. Without $NOTIFY_SOCKET nothing is
// opened, and that is no error. A value that means nothing is an error: the manager would wait for
// words that never come.
int service_notify_open(struct service_notify *notify, struct error *err);

// Sends `text`, such as "READY=1" or "STATUS=running"; several are separated by newlines. Never
// blocks; what the manager does not take is lost.
void service_notify_send(struct service_notify *notify, const char *text);

// Says that we live, if it is due at `now_ns` (boot-time clock).
void service_notify_beat(struct service_notify *notify, uint64_t now_ns);

void service_notify_close(struct service_notify *notify);

#endif
