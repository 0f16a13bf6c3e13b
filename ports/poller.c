// SPDX-License-Identifier: Apache-2.0
// The poller: one thread on a hypervisor core that serves ports, and sleeps when they are idle.
#include "poller.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Passes between two looks at the clock.
#define PASSES_PER_CLOCK 64u

// How often readers of what ports produce are woken while the poller is busy.
#define TICK_NS NS_PER_MS

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

int poller_add_front(struct poller *poller, const struct poller_front *front, struct error *err)
{
    if (poller->front_count == POLLER_MAX_FRONTS)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "too many devices for one poller");
    poller->fronts[poller->front_count++] = *front;
    return 0;
}

static void tick(struct poller *poller)
{
    for (unsigned i = 0; i < poller->port_count; i++)
        port_notify(poller->ports[i]);
    audit_stream_notify(poller->settings.audit);
}

// The level that both pages ask for. Not a hold: that is none.
static uint32_t level_asked(const struct poller_settings *settings)
{
    uint32_t a = atomic_load_explicit(&settings->level_supervisor->level, memory_order_acquire);
    uint32_t b = atomic_load_explicit(&settings->level_own->level, memory_order_acquire);
    return a > b ? a : b;
}

static unsigned serve_all(struct poller *poller)
{
    _Atomic uint32_t *observed = poller->settings.observed;
    uint32_t level = observed ? level_asked(&poller->settings) : 0;
    unsigned served = 0;
    // Before anything is looked at: whoever sees the new number knows that the pass before is over.
    atomic_fetch_add(&poller->epoch, 1);
    for (unsigned i = 0; i < poller->port_count; i++)
        served += port_serve(poller->ports[i], POLLER_BUDGET);
    for (unsigned i = 0; i < poller->front_count; i++)
        served += poller->fronts[i].poll(poller->fronts[i].state);
    // Every port has looked at the gate since the level was read: from now on the poller refuses
    // what that level forbids.
    if (observed && atomic_load_explicit(observed, memory_order_relaxed) != level) {
        atomic_store_explicit(&poller->observed_ns, clock_now_ns(poller->settings.clock),
                              memory_order_relaxed);
        atomic_store_explicit(observed, level, memory_order_release);
    }
    return served;
}

// Returns how often the eventfd was signalled since it was drained last.
static uint64_t drain(int fd)
{
    uint64_t value;
    return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0; // EAGAIN is as good
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
    if (!doorbells || !fds[1].revents)
        return;
    uint64_t rung = drain(poller->settings.doorbell_fd);
    if (poller->settings.doorbells)
        atomic_fetch_add_explicit(poller->settings.doorbells, rung, memory_order_relaxed);
}

// Arms doorbells and wake-ups, looks once more, sleeps.
static void poller_sleep(struct poller *poller)
{
    uint64_t now = clock_now_ns(poller->settings.clock);
    uint64_t wake_ns = UINT64_MAX;
    bool doorbells = now - poller->last_arm_ns >= poller->settings.doorbell_interval_ns;
    if (!doorbells)
        wake_ns = poller->last_arm_ns + poller->settings.doorbell_interval_ns;

    bool idle = true;
    for (unsigned i = 0; i < poller->port_count && idle; i++)
        idle = port_prepare_sleep(poller->ports[i], doorbells, &wake_ns);
    for (unsigned i = 0; i < poller->front_count && idle; i++)
        idle = poller->fronts[i].prepare_sleep(poller->fronts[i].state, doorbells, &wake_ns);
    audit_stream_flush(poller->settings.audit);
    tick(poller);
    if (idle && !atomic_load(&poller->stop)) {
        if (doorbells)
            poller->last_arm_ns = now;
        sleep_until(poller, doorbells, wake_ns);
    }
    // A poller that never polls leaves doorbells on: drivers ring for every request.
    for (unsigned i = 0; i < poller->port_count && poller->settings.mode != POLLER_DOORBELL; i++)
        port_wake(poller->ports[i]);
    for (unsigned i = 0; i < poller->front_count && poller->settings.mode != POLLER_DOORBELL; i++)
        poller->fronts[i].wake(poller->fronts[i].state);
}

static inline void cpu_relax(void)
{
    __builtin_ia32_pause();
}

void poller_run(struct poller *poller)
{
    const struct poller_settings *settings = &poller->settings;
    uint64_t idle_since = clock_now_ns(settings->clock);
    bool idle = true;

    for (unsigned pass = 1; !atomic_load_explicit(&poller->stop, memory_order_acquire); pass++) {
        bool served = serve_all(poller) != 0;
        if (!served)
            cpu_relax();
        if (!served && settings->mode == POLLER_DOORBELL) {
            poller_sleep(poller);
            continue;
        }
        // Reading the clock in every pass would slow the others down.
        if (idle && served)
            idle = false;
        if (pass % PASSES_PER_CLOCK)
            continue;
        uint64_t now_ns = clock_now_ns(settings->clock);
        if (now_ns - poller->last_tick_ns >= TICK_NS) {
            poller->last_tick_ns = now_ns;
            tick(poller);
        }
        if (!idle) {
            idle = true;
            idle_since = now_ns;
        }
        if (settings->mode == POLLER_ADAPTIVE && now_ns - idle_since >= settings->idle_spin_ns)
            poller_sleep(poller);
    }
    // What was accepted before the stop is finished; what comes later finds closed ports.
    serve_all(poller);
    for (unsigned i = 0; i < poller->port_count; i++)
        port_stop(poller->ports[i]);
    audit_stream_flush(settings->audit);
    tick(poller);
    atomic_store_explicit(&poller->stopped, 1, memory_order_release);
    syscall(SYS_futex, &poller->stopped, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wake(struct poller *poller)
{
    uint64_t one = 1;
    ssize_t ignored = write(poller->settings.wake_fd, &one, sizeof(one));
    (void)ignored;
}

// Waits until another pass has begun. Returns false if none does.
static bool wait_pass(struct poller *poller, uint64_t deadline_ns)
{
    static const struct timespec nap = {0, 50000};
    uint64_t before = atomic_load(&poller->epoch);
    wake(poller);
    while (atomic_load(&poller->epoch) == before) {
        if (atomic_load_explicit(&poller->stopped, memory_order_acquire))
            return true;
        if (clock_now_ns(poller->settings.clock) >= deadline_ns)
            return false;
        ppoll(NULL, 0, &nap, NULL);
    }
    return true;
}

bool poller_quiesce(struct poller *poller, uint64_t timeout_ns)
{
    uint64_t deadline_ns = clock_now_ns(poller->settings.clock) + timeout_ns;
    atomic_thread_fence(memory_order_seq_cst);
    // The pass that begins first sees everything that was stored before; when the second one
    // begins, the first has acted on it at every port.
    if (!wait_pass(poller, deadline_ns))
        return false;
    return wait_pass(poller, deadline_ns);
}

void poller_stop(struct poller *poller)
{
    atomic_store(&poller->stop, 1);
    wake(poller);
    while (!atomic_load_explicit(&poller->stopped, memory_order_acquire))
        syscall(SYS_futex, &poller->stopped, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
