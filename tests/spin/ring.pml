// SPDX-License-Identifier: Apache-2.0
// Both sides of a byte ring sleep: the consumer for data, the producer for room
// (base/shared_ring.c; ports/audit_stream.c, devices/console.c, monitor/supervisor.c).
//
// Never: one side sleeps for ever although the other made room or data. What is read is what was
// written, in order.
// COALESCED: the producer shows data at once and wakes at a tick, at the latest before it sleeps.
// BUSY: the same, and it never sleeps: it waits for room by looking again.
#ifdef BUSY
#define COALESCED
#endif

#define PRODUCER 0
#define CONSUMER 1
#define CPUS 2

#define HEAD 0
#define TAIL 1
#define PRODUCER_WAITING 2
#define CONSUMER_WAITING 3
#define DATA 4 // and the places after it
#define SIZE 2
#define VARIABLES 6

#include "tso.pml"

#define ITEMS 4

// eventfds
bool producer_event;
bool consumer_event;

// Loads; only if it is set takes the flag, and only then is the other side woken.
inline take_flag(cpu, flag, event)
{
    load(cpu, flag, taken);
    if
#ifdef MUTATION_WAKE_BEFORE_TAKE
    :: taken ->
        event = true;
        exchange(cpu, flag, 0, taken)
#else
    :: taken ->
        exchange(cpu, flag, 0, taken);
        if
        :: taken -> event = true
        :: else
        fi
#endif
    :: else
    fi;
    taken = 0
}

#ifdef COALESCED
bool unannounced;

inline notify()
{
    if
    :: unannounced ->
        unannounced = false;
#ifndef MUTATION_PUBLISH_NO_FENCE
        fence(PRODUCER);
#endif
        take_flag(PRODUCER, CONSUMER_WAITING, consumer_event)
    :: else
    fi
}
#endif

inline append_and_publish()
{
#ifdef MUTATION_HEAD_BEFORE_DATA
    store(PRODUCER, HEAD, head + 1);
    store(PRODUCER, DATA + head % SIZE, head + 1);
#else
    store(PRODUCER, DATA + head % SIZE, head + 1);
    store(PRODUCER, HEAD, head + 1);
#endif
    head++;
#ifdef COALESCED
    unannounced = true
#else
#ifndef MUTATION_PUBLISH_NO_FENCE
    fence(PRODUCER);
#endif
    take_flag(PRODUCER, CONSUMER_WAITING, consumer_event)
#endif
}

inline wait_space()
{
#ifdef MUTATION_SPACE_FLAG_AFTER_LOOK
    tail = SEEN(TAIL);
    store(PRODUCER, PRODUCER_WAITING, 1);
    fence(PRODUCER);
#else
    store(PRODUCER, PRODUCER_WAITING, 1);
#ifndef MUTATION_WAIT_SPACE_NO_FENCE
    fence(PRODUCER);
#endif
    tail = SEEN(TAIL);
#endif
    if
    :: head - tail < SIZE -> store(PRODUCER, PRODUCER_WAITING, 0)
    :: else ->
#if defined(COALESCED) && !defined(MUTATION_SLEEP_WITHOUT_NOTIFY)
        notify();
#endif
        producer_event;
        producer_event = false
    fi
}

proctype producer()
{
    byte head, tail, taken;
    do
    :: head < ITEMS ->
        tail = SEEN(TAIL);
        if
        :: head - tail < SIZE -> append_and_publish()
        :: else ->
#ifdef BUSY
            // Looks again and again; only a tick between two looks can change anything.
            if
            :: head - SEEN(TAIL) < SIZE
#ifndef MUTATION_NO_TICK_WHEN_FULL
            :: unannounced -> notify()
#endif
            fi
#else
            wait_space()
#endif
        fi
#ifdef COALESCED
    :: unannounced -> notify() // a tick
#endif
    :: head == ITEMS -> break
    od;
#if defined(COALESCED) && !defined(MUTATION_LAST_NOT_ANNOUNCED)
    notify() // a tick, or before it sleeps for another reason
#endif
}

inline wait_data()
{
#ifdef MUTATION_DATA_FLAG_AFTER_LOOK
    head = SEEN(HEAD);
    store(CONSUMER, CONSUMER_WAITING, 1);
    fence(CONSUMER);
#else
    store(CONSUMER, CONSUMER_WAITING, 1);
#ifndef MUTATION_WAIT_DATA_NO_FENCE
    fence(CONSUMER);
#endif
    head = SEEN(HEAD);
#endif
    if
    :: head != tail -> store(CONSUMER, CONSUMER_WAITING, 0)
    :: else ->
        consumer_event;
        consumer_event = false
    fi
}

proctype consumer()
{
    byte head, tail, taken;
    do
    :: tail < ITEMS ->
        head = SEEN(HEAD);
        if
        :: head != tail ->
            assert(SEEN(DATA + tail % SIZE) == tail + 1);
            tail++;
            store(CONSUMER, TAIL, tail)
#ifndef BUSY
#ifndef MUTATION_CONSUME_NO_FENCE
            ; fence(CONSUMER)
#endif
            ; take_flag(CONSUMER, PRODUCER_WAITING, producer_event)
#endif
        :: else -> wait_data()
        fi
    :: else -> break
    od
}

// Others write to the same eventfds: a side may wake without cause.
proctype noise()
{
    if
    :: producer_event = true
    :: consumer_event = true
    :: true
    fi
}

init
{
    atomic {
        run drain(PRODUCER);
        run drain(CONSUMER);
        run producer();
        run consumer();
        run noise();
        run noise()
    }
}
