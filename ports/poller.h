// SPDX-License-Identifier: Apache-2.0
// The poller: one thread on a hypervisor core that serves ports, and sleeps when they are idle.
#ifndef PORTS_POLLER_H
#define PORTS_POLLER_H

#include "port.h"

#define POLLER_MAX_PORTS 16u

// Requests that one port may get served before the others have their turn. A pass serves every port
// once, so between the publishing of a request and its service at most this many of each other port
// of the poller are served: those behind it in the pass that runs, those in front of it in the
// next.
#define POLLER_BUDGET 32u

enum poller_mode {
    POLLER_ADAPTIVE, // polls; after idle_spin_ns without work sleeps until a doorbell
    POLLER_BUSY,     // never sleeps
    POLLER_DOORBELL, // sleeps whenever there is no work
};

struct poller_settings {
    enum poller_mode mode;
    uint64_t idle_spin_ns;
    uint64_t doorbell_interval_ns; // doorbells are re-armed at most once in this time
    int doorbell_fd;               // eventfd behind every doorbell (KVM_IOEVENTFD), borrowed
    int wake_fd;                   // eventfd for everybody else, borrowed
    const struct clock *clock;
    struct audit_stream *audit;
    // Where the poller says which level it acts on, from the levels of both pages; NULL: nowhere.
    _Atomic uint32_t *observed;
    const struct level_page *level_supervisor;
    const struct level_page *level_own;
    _Atomic uint64_t *doorbells; // where it adds how often doorbells were rung; NULL: nowhere
};

// What drives ports' queues from the serving thread on the guest's behalf: a virtio device.
struct poller_front {
    unsigned (*poll)(void *state); // once in every pass, behind the ports; returns what it did
    // As port_prepare_sleep.
    bool (*prepare_sleep)(void *state, bool doorbells, uint64_t *wake_ns);
    void (*wake)(void *state); // as port_wake
    void *state;
};

#define POLLER_MAX_FRONTS 17u

struct poller {
    struct poller_settings settings;
    struct port *ports[POLLER_MAX_PORTS];
    unsigned port_count;
    struct poller_front fronts[POLLER_MAX_FRONTS];
    unsigned front_count;
    uint64_t last_arm_ns;
    _Atomic uint32_t stop;    // set by poller_stop
    _Atomic uint32_t stopped; // futex word: 1 once the thread serves no port any more
    uint64_t last_tick_ns;
    _Atomic uint64_t epoch; // passes begun; what an earlier pass saw is over when it rises
    _Atomic uint64_t sleeps;
    _Atomic uint64_t observed_ns; // boot-time clock: when the level in settings.observed changed
};

void poller_init(struct poller *poller, const struct poller_settings *settings);

int poller_add(struct poller *poller, struct port *port, struct error *err);

int poller_add_front(struct poller *poller, const struct poller_front *front, struct error *err);

// Serves until poller_stop. Runs on the calling thread. System calls: ppoll and read when idle,
// futex at the end, and write where a sleeper on the other side has to be woken.
void poller_run(struct poller *poller);

// Waits until a whole pass has begun and ended, at most `timeout_ns`: what other threads stored
// before has been seen and acted on at every port of the poller, and what earlier passes saw is
// over. From any other thread; system calls: write, ppoll. Returns false if the poller is stuck.
bool poller_quiesce(struct poller *poller, uint64_t timeout_ns);

// Asks the poller to end and waits until no port is served any more. From any other thread.
void poller_stop(struct poller *poller);

#endif
