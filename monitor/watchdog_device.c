// SPDX-License-Identifier: Apache-2.0
// A watchdog of the hardware.
#include "watchdog_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

#define TIMEOUT_MIN_S 2

int watchdog_device_open(struct watchdog_device *device, const char *path, struct error *err)
{
    int timeout_s = 0;
    *device = (struct watchdog_device){.fd = -1, .interval_ns = NS_PER_S};
    // O_NONBLOCK: opening a FIFO that nobody reads would block for ever.
    cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "watchdog device %s", path);
    // The system call itself: C libraries disagree on the type of the request.
    if (syscall(SYS_ioctl, fd, WDIOC_GETTIMEOUT, &timeout_s) < 0) {
        fprintf(stderr, "guillotine: note: --watchdog-device: it does not say its time-out: it is "
                        "written to every second\n");
    } else if (timeout_s < TIMEOUT_MIN_S) {
        // It runs already: only the magic character keeps it from resetting the host.
        ssize_t ignored = write(fd, "V", 1);
        (void)ignored;
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "watchdog device %s: its time-out is %d s: set it to %d s at least", path,
                         timeout_s, TIMEOUT_MIN_S);
    } else if ((uint64_t)timeout_s * NS_PER_S / 4 < NS_PER_S) {
        device->interval_ns = (uint64_t)timeout_s * NS_PER_S / 4;
    }
    device->fd = steal_fd(&fd);
    return 0;
}

void watchdog_device_beat(struct watchdog_device *device, uint64_t now_ns)
{
    if (device->fd < 0 || now_ns < device->next_ns)
        return;
    device->next_ns = now_ns + device->interval_ns;
    // A write that fails is a beat that is missing: the device itself is the answer to that.
    ssize_t ignored = write(device->fd, "1", 1);
    (void)ignored;
}

void watchdog_device_close(struct watchdog_device *device, bool orderly)
{
    if (device->fd < 0)
        return;
    if (orderly) {
        ssize_t ignored = write(device->fd, "V", 1);
        (void)ignored;
    }
    close(device->fd);
    *device = (struct watchdog_device){.fd = -1};
}
