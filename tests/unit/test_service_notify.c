// SPDX-License-Identifier: Apache-2.0
// Words to the service manager, and bytes to a watchdog of the hardware.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "service_notify.h"
#include "watchdog_device.h"

static char folder[] = "/tmp/guillotine-test-XXXXXX";
static char path[64];
static int manager = -1;
static struct service_notify notify;
static struct error err;

// A manager that listens at a path or, with '@', at an abstract name.
static void listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, name);
    if (*name == '@')
        address.sun_path[0] = 0;
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(sizeof(sa_family_t) + strlen(name));
    cr_assert_eq(bind(manager, (struct sockaddr *)&address, size), 0);
    setenv("NOTIFY_SOCKET", name, 1);
}

static const char *heard(void)
{
    static char text[256];
    ssize_t length = recv(manager, text, sizeof(text) - 1, 0);
    text[length > 0 ? length : 0] = 0;
    return text;
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

TestSuite(service_notify, .init = setup, .fini = teardown);

Test(service_notify, nobody_asks)
{
    cr_assert_eq(service_notify_open(&notify, &err), 0);
    service_notify_send(&notify, "READY=1");
    service_notify_beat(&notify, 1);
    cr_assert_eq(notify.fd, -1);
    service_notify_close(&notify);
}

Test(service_notify, words_arrive_and_beats_are_twice_as_frequent_as_asked)
{
    listen_at(path);
    setenv("WATCHDOG_USEC", "3000000", 1);
    cr_assert_eq(service_notify_open(&notify, &err), 0, "%s", err.text);
    cr_assert_eq(notify.interval_ns, 1500000000u);
    service_notify_send(&notify, "READY=1\nSTATUS=x runs");
    cr_expect_str_eq(heard(), "READY=1\nSTATUS=x runs");
    service_notify_beat(&notify, 10);
    cr_expect_str_eq(heard(), "WATCHDOG=1");
    service_notify_beat(&notify, 1500000009);
    cr_expect_str_eq(heard(), "", "not due");
    service_notify_beat(&notify, 1500000010);
    cr_expect_str_eq(heard(), "WATCHDOG=1");
    // A manager that does not read never holds us up.
    for (unsigned i = 0; i < 10000; i++)
        service_notify_send(&notify, "STATUS=flood");
    service_notify_close(&notify);
}

Test(service_notify, abstract_socket_and_another_process_s_watchdog)
{
    char name[64];
    snprintf(name, sizeof(name), "@guillotine-test-%d", getpid());
    listen_at(name);
    setenv("WATCHDOG_USEC", "3000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    cr_assert_eq(service_notify_open(&notify, &err), 0, "%s", err.text);
    cr_assert_eq(notify.interval_ns, 0);
    service_notify_beat(&notify, 10);
    cr_expect_str_eq(heard(), "");
    service_notify_send(&notify, "STOPPING=1");
    cr_expect_str_eq(heard(), "STOPPING=1");
    service_notify_close(&notify);
}

Test(service_notify, what_means_nothing_is_refused)
{
    static const char *const sockets[] = {"", "relative", "/", "/nonexistent/socket"};
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
        setenv("NOTIFY_SOCKET", sockets[i], 1);
        cr_expect_eq(service_notify_open(&notify, &err), -1, "'%s'", sockets[i]);
    }
    char long_name[200];
    memset(long_name, '/', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    setenv("NOTIFY_SOCKET", long_name, 1);
    cr_expect_eq(service_notify_open(&notify, &err), -1);
    listen_at(path);
    static const char *const times[] = {"", "0", "-1", "x", "99999999999999"};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        setenv("WATCHDOG_USEC", times[i], 1);
        cr_expect_eq(service_notify_open(&notify, &err), -1, "'%s'", times[i]);
        cr_expect_eq(notify.fd, -1);
    }
}

// A FIFO stands for the device: it takes the bytes, but has no time-out to be read back.
Test(service_notify, watchdog_device_gets_its_bytes)
{
    struct watchdog_device device;
    char bytes[16];
    cr_assert_eq(watchdog_device_open(&device, path, &err), -1, "it does not exist");
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(watchdog_device_open(&device, path, &err), -1, "nobody reads it");
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    cr_assert_eq(watchdog_device_open(&device, path, &err), 0, "%s", err.text);
    watchdog_device_beat(&device, 5);
    watchdog_device_beat(&device, 6);
    watchdog_device_beat(&device, 5 + 1000000000ull);
    cr_assert_eq(read(reader, bytes, sizeof(bytes)), 2);
    watchdog_device_close(&device, true);
    cr_assert_eq(read(reader, bytes, sizeof(bytes)), 1);
    cr_assert_eq(bytes[0], 'V', "an orderly end stops it");
    cr_assert_eq(watchdog_device_open(&device, path, &err), 0);
    watchdog_device_close(&device, false);
    cr_assert_eq(read(reader, bytes, sizeof(bytes)), 0, "else it bites");
    close(reader);
}
