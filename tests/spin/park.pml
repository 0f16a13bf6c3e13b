// SPDX-License-Identifier: Apache-2.0
// A vCPU parks until there is work; two completers at once bring it (vmm/vcpu.c: park,
// vcpu_raise_event, vcpus_stop; the guest: guest_agent/runtime/port_client.c, wait_done).
//
// The guest reads its event count, looks for work, stores the count to its park page. The VMM
// sleeps only if the private count is still that one.
// Never: the vCPU sleeps for ever with work there, or after it was told to stop.
// When all is quiet, the copy that the guest reads is the private count.
// EVENTS_ON_DEMAND: completers raise events only if the guest asked for them (virtio 1.2, 2.7.7).
#define FIRST 0
#define SECOND 1
#define GUEST 2
#define STOPPER 3
#define CPUS 4

#define COPY 0                // the published event count
#define WORK(from) (1 + from) // used indices of the two completers
#define ASKED 3               // the guest wants events
#define VARIABLES 4

#include "tso.pml"

#define PIECES 2 // of work, from each completer

byte count;  // private; only locked instructions change it
bool parked; // seq_cst stores only
bool asleep; // in the futex
bool stop;
byte taken[2];
byte raised; // callers of raise_event that are done: completers, stopper

#ifdef MUTATION_COPY_NOT_FENCED
#define PUBLISH(cpu, value) store(cpu, COPY, value)
#else
#define PUBLISH(cpu, value) store_locked(cpu, COPY, value)
#endif

inline raise_event(cpu)
{
#ifdef MUTATION_PARKED_CHECKED_FIRST
    wakes = parked;
#endif
    d_step {
        DRAINED(cpu) -> // a locked add
        count++
    }
    do
    :: now = count;
        PUBLISH(cpu, now);
#ifdef MUTATION_COPY_STORED_ONCE
        break
#else
        if
        :: now == count -> break
        :: else
        fi
#endif
    od;
#ifndef MUTATION_PARKED_CHECKED_FIRST
    wakes = parked;
#endif
    if
    :: wakes -> asleep = false // FUTEX_WAKE
    :: else
    fi;
    now = 0;
    wakes = false
}

proctype completer(byte me)
{
    byte done, now, asked;
    bool wakes;
    do
    :: done < PIECES ->
        done++;
        store(me, WORK(me), done); // virtqueue_push
#ifdef EVENTS_ON_DEMAND
#ifndef MUTATION_COMPLETER_NO_FENCE
        fence(me);
#endif
        load(me, ASKED, asked);
        if
        :: asked -> raise_event(me)
        :: else
        fi
#else
        raise_event(me)
#endif
    :: else -> break
    od;
    raised++
}

// vcpus_stop, without the signal that interrupts a running guest: a parked one needs none.
proctype stopper()
{
    byte now;
    bool wakes;
    taken[0] == PIECES && taken[1] == PIECES;
    stop = true;
    raise_event(STOPPER);
    raised++
}

inline park()
{
    parked = true;
#ifdef MUTATION_NO_COMPARE
    if
    :: !stop -> asleep = true
    :: else
    fi;
#else
    if
#ifdef MUTATION_STOP_NOT_CHECKED
    :: count == seen ->
#else
    :: count == seen && !stop ->
#endif
        atomic {
            // FUTEX_WAIT compares once more, under its lock.
            if
#ifndef MUTATION_NO_FUTEX_COMPARE
            :: count != seen
#endif
            :: else -> asleep = true
            fi
        }
    :: else
    fi;
#endif
    !asleep;
    parked = false
}

inline look()
{
    work = false;
    if
    :: taken[0] != SEEN(WORK(0)) ->
        taken[0] = SEEN(WORK(0));
        work = true
    :: else
    fi;
    if
    :: taken[1] != SEEN(WORK(1)) ->
        taken[1] = SEEN(WORK(1));
        work = true
    :: else
    fi
}

proctype vcpu()
{
    byte seen;
    bool work;
    do
    :: stop -> break
    :: else ->
#ifdef MUTATION_LOOKS_BEFORE_COUNT
        look();
        seen = SEEN(COPY);
#else
        seen = SEEN(COPY);
#ifdef EVENTS_ON_DEMAND
        store(GUEST, ASKED, 1);
#ifndef MUTATION_GUEST_NO_FENCE
        fence(GUEST);
#endif
#endif
        look();
#endif
        if
        :: !work -> park()
        :: else
        fi;
#ifdef EVENTS_ON_DEMAND
        store(GUEST, ASKED, 0);
#endif
        seen = 0
    od
}

proctype quiet()
{
    raised == 3 && DRAINED(FIRST) && DRAINED(SECOND) && DRAINED(STOPPER);
    assert(SEEN(COPY) == count)
}

init
{
    atomic {
        run drain(FIRST);
        run drain(SECOND);
        run drain(GUEST);
        run drain(STOPPER);
        run completer(FIRST);
        run completer(SECOND);
        run stopper();
        run vcpu();
        run quiet()
    }
}
