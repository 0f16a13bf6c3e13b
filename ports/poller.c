// SPDX-License-Identifier: Apache-2.0
// The poller: one thread on a hypervisor core that serves ports, and sleeps when they are idle.
#include "poller.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Requests that one port may get served before the others have their turn.
#define SERVE_BUDGET 32u

// Idle passes between two looks at the clock.
#define PASSES_PER_CLOCK 64u

void poller_init(struct poller *poller, const struct poller_settings *settings)
{
    *poller = (struct poller){.settings = *settings};
}

int poller_add(struct poller *poller, struct port *port, struct error *err)
{
    if (poller->port_count == POLLER_MAX_PORTS)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "too many ports for one poller");
    poller->ports[poller->port_count++] = port;
    return 0;
}

static unsigned serve_all(struct poller *poller)
{
    unsigned served = 0;
    for (unsigned i = 0; i < poller->port_count; i++)
        served += port_serve(poller->ports[i], SERVE_BUDGET);
    audit_stream_flush(poller->settings.audit); // an anomaly leaves a record without being served
    return served;
}

static void drain(int fd)
{
    uint64_t value;
    ssize_t ignored = read(fd, &value, sizeof(value)); // non-blocking: EAGAIN is as good
    (void)ignored;
}

// Sleeps until a doorbell, a wake-up or `wake_ns`. With `doorbells` false only the latter two
// count: a model that rings without end is not heard before the interval is over.
static void sleep_until(struct poller *poller, bool doorbells, uint64_t wake_ns)
{
    struct pollfd fds[2] = {
        {.fd = poller->settings.wake_fd, .events = POLLIN},
        {.fd = poller->settings.doorbell_fd, .events = POLLIN},
    };
    struct timespec timeout;
    struct timespec *wait = NULL;
    if (wake_ns != UINT64_MAX) {
        uint64_t now = clock_now_ns(poller->settings.clock);
        uint64_t left = wake_ns > now ? wake_ns - now : 0;
        timeout.tv_sec = (time_t)(left / NS_PER_S);
        timeout.tv_nsec = (long)(left % NS_PER_S);
        wait = &timeout;
    }
    atomic_fetch_add_explicit(&poller->sleeps, 1, memory_order_relaxed);
    ppoll(fds, doorbells ? 2 : 1, wait, NULL);
    if (fds[0].revents)
        drain(poller->settings.wake_fd);
    if (doorbells && fds[1].revents)
        drain(poller->settings.doorbell_fd);
}

// Arms doorbells and wake-ups, looks once more, sleeps.
static void poller_sleep(struct poller *poller)
{
    uint64_t now = clock_now_ns(poller->settings.clock);
    uint64_t wake_ns = UINT64_MAX;
    bool doorbells = now - poller->last_arm_ns >= poller->settings.doorbell_interval_ns;
    if (doorbells)
        poller->last_arm_ns = now;
    else
        wake_ns = poller->last_arm_ns + poller->settings.doorbell_interval_ns;

    bool idle = true;
    for (unsigned i = 0; i < poller->port_count && idle; i++)
        idle = port_prepare_sleep(poller->ports[i], doorbells, &wake_ns);
    audit_stream_flush(poller->settings.audit);
    // Requests that wait for room in the audit ring: its reader wakes us.
    if (!idle && !audit_stream_reserve(poller->settings.audit, 2))
        idle = !shared_ring_wait_space(&poller->settings.audit->ring,
                                       poller->settings.audit->reserved +
                                           2 * sizeof(struct audit_record));
    else if (!idle)
        audit_stream_release(poller->settings.audit, 2);
    if (idle && !atomic_load(&poller->stop))
        sleep_until(poller, doorbells, wake_ns);
    // A poller that never polls leaves doorbells on: drivers ring for every request.
    for (unsigned i = 0; i < poller->port_count && poller->settings.mode != POLLER_DOORBELL; i++)
        port_wake(poller->ports[i]);
}

static inline void cpu_relax(void)
{
    __builtin_ia32_pause();
}

void poller_run(struct poller *poller)
{
    const struct poller_settings *settings = &poller->settings;
    uint64_t idle_since = clock_now_ns(settings->clock);
    unsigned idle_passes = 0;

    while (!atomic_load_explicit(&poller->stop, memory_order_acquire)) {
        if (serve_all(poller)) {
            idle_passes = 0;
            continue;
        }
        cpu_relax();
        if (settings->mode == POLLER_BUSY)
            continue;
        if (settings->mode == POLLER_ADAPTIVE) {
            if (idle_passes++ == 0)
                idle_since = clock_now_ns(settings->clock);
            if (idle_passes % PASSES_PER_CLOCK)
                continue;
            if (clock_now_ns(settings->clock) - idle_since < settings->idle_spin_ns)
                continue;
        }
        poller_sleep(poller);
        idle_passes = 0;
    }
    // What was accepted before the stop is finished; what comes later finds closed ports.
    serve_all(poller);
    for (unsigned i = 0; i < poller->port_count; i++)
        port_close(poller->ports[i]);
    audit_stream_flush(settings->audit);
    atomic_store_explicit(&poller->stopped, 1, memory_order_release);
    syscall(SYS_futex, &poller->stopped, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void poller_stop(struct poller *poller)
{
    uint64_t one = 1;
    atomic_store(&poller->stop, 1);
    ssize_t ignored = write(poller->settings.wake_fd, &one, sizeof(one));
    (void)ignored;
    while (!atomic_load_explicit(&poller->stopped, memory_order_acquire))
        syscall(SYS_futex, &poller->stopped, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
