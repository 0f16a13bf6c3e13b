// SPDX-License-Identifier: Apache-2.0
// A driver rings for its requests; a poller sleeps when it finds none (ports/poller.c,
// ports/virtqueue.c; the driver: guest_agent/runtime/port_client.c and ports/backend_link.c).
//
// Never: a request is published and the poller sleeps for ever. The stopper below acts only once
// all requests were served, so a lost wake-up is a state in which nobody can go on.
// Never: doorbells wake the poller more than once for each arming, or are armed more than once
// in an interval. STORM adds a model that rings without end.
// EVENT_INDEX: the driver looks at avail_event instead of used.flags (virtio 1.2, 2.7.10).
#define DRIVER 0
#define POLLER 1
#define CPUS 2

#define AVAILABLE 0 // the driver's index
#define WANTED 1    // used.flags without NO_NOTIFY; with EVENT_INDEX: avail_event
#define VARIABLES 2

#include "tso.pml"

#define REQUESTS 4
#define INDEXES 8 // 65536 in reality
#define START 6   // indices wrap

// eventfds: reading one takes all that was written.
bool doorbell;
bool wake;
bool interval_over = true;
bool stop;
bool stopped;
byte served;
byte heard; // doorbells that woke the poller since it armed them

#ifdef EVENT_INDEX
#ifdef MUTATION_COMPARE_EQUAL
#define RINGS(event, old, new) (event == (new + INDEXES - 1) % INDEXES)
#else
#define RINGS(event, old, new)                                                                     \
    ((new + INDEXES - event - 1) % INDEXES < (new + INDEXES - old) % INDEXES)
#endif
#else
#define RINGS(event, old, new) (event == 1)
#endif

proctype driver()
{
    byte published = START, old, event, sent;
    do
    :: sent < REQUESTS ->
        old = published;
        // One or two at a time.
        if
        :: published = (published + 1) % INDEXES; sent++
        :: sent + 2 <= REQUESTS -> published = (published + 2) % INDEXES; sent = sent + 2
        fi;
        store(DRIVER, AVAILABLE, published);
#ifndef MUTATION_DRIVER_NO_FENCE
        fence(DRIVER);
#endif
        event = SEEN(WANTED);
        if
        :: RINGS(event, old, published) -> doorbell = true
        :: else
        fi
    :: else -> break
    od
}

#ifdef EVENT_INDEX
// Doorbells that are not wanted leave avail_event where it is: behind.
#define SET_WANTED(wanted)                                                                         \
    if                                                                                             \
    :: wanted -> store(POLLER, WANTED, next)                                                       \
    :: else                                                                                        \
    fi
#else
#define SET_WANTED(wanted) store(POLLER, WANTED, wanted)
#endif

inline sleep_until()
{
    if
    :: doorbells && doorbell ->
        heard++;
        assert(heard <= 1);
        doorbell = false
    :: wake -> wake = false
#ifdef MUTATION_THROTTLED_HEARS
    :: !doorbells && doorbell ->
        heard++;
        assert(heard <= 1);
        doorbell = false
#endif
#ifndef MUTATION_THROTTLED_NO_TIMEOUT
    :: !doorbells && interval_over // ppoll times out
#endif
    fi
}

inline poller_sleep()
{
    doorbells = interval_over;
    if
    :: doorbells ->
        interval_over = false;
        heard = 0
    :: else
    fi;
#ifdef MUTATION_CHECK_BEFORE_ARM
    available = SEEN(AVAILABLE);
    SET_WANTED(doorbells);
    fence(POLLER);
#else
    SET_WANTED(doorbells);
#ifndef MUTATION_POLLER_NO_FENCE
    if
    :: doorbells -> fence(POLLER)
    :: else
    fi;
#endif
    available = SEEN(AVAILABLE);
#endif
    if
    :: available == next && !stop -> sleep_until()
    :: else
    fi;
    // A poller that never polls leaves doorbells on.
    if
    :: adaptive -> SET_WANTED(false)
    :: !adaptive
    fi
}

proctype poller()
{
    byte next = START, available;
    bool doorbells, adaptive;
    if
    :: adaptive = true
    :: adaptive = false
    fi;
    do
    :: stop -> break
    :: else ->
        available = SEEN(AVAILABLE);
        if
        :: available != next ->
            next = (next + 1) % INDEXES;
            served++
        :: else ->
            if
            :: poller_sleep()
            :: true // polls on
            fi
        fi
    od;
    stopped = true
}

proctype time()
{
end:
    do
    :: !interval_over -> interval_over = true
    od
}

#ifdef STORM
proctype storm()
{
end:
    do
    :: !doorbell && !stopped -> doorbell = true
    od
}
#endif

proctype stopper()
{
    served == REQUESTS;
    stop = true;
#ifndef MUTATION_STOP_NO_WAKE
    wake = true;
#endif
    stopped
}

init
{
    atomic {
#ifdef EVENT_INDEX
        memory[WANTED] = (START + INDEXES - 1) % INDEXES; // behind: nothing is wanted yet
#endif
        memory[AVAILABLE] = START;
        run drain(DRIVER);
        run drain(POLLER);
        run time();
#ifdef STORM
        run storm();
#endif
        run driver();
        run poller();
        run stopper()
    }
}
