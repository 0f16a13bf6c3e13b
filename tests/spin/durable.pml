// SPDX-License-Identifier: Apache-2.0
// Durable before the effect: a poller that records, a reader that syncs, somebody who raises the
// level (ports/port_audit.c, ports/port.c, ports/audit_stream.c; monitor/audit_log.c).
//
// Never: an effect that the poller allows at Probation, or any effect after it was confirmed that
// the poller acts on Probation, before the record of that effect is on the disk. A poller that
// waits for the disk does not sleep for ever.
#define POLLER 0
#define READER 1
#define OWNER 2
#define CPUS 3

#define LEVEL 0 // 0: Standard, 1: Probation
#define HEAD 1
#define TAIL 2
#define WAITING 3
#define OBSERVED 4
#define VARIABLES 5

#include "tso.pml"

#define EFFECTS 3

byte disk;         // records on the disk
bool poller_event; // eventfd
bool confirmed;    // that the poller acts on Probation
bool over;

inline append()
{
    head++;
    store(POLLER, HEAD, head);
    at = head
}

// The backend is asked, or the guest gets its reply.
inline effect()
{
    assert(!level || disk >= record);
    assert(!confirmed || disk >= record);
    recorded = false;
    effects++
}

inline observe()
{
    if
    :: begun != observed ->
        observed = begun;
        store(POLLER, OBSERVED, begun)
    :: else
    fi
}

inline wait_taken()
{
#ifdef MUTATION_FLAG_AFTER_LOOK
    tail = SEEN(TAIL);
    store(POLLER, WAITING, 1);
    fence(POLLER);
#else
    store(POLLER, WAITING, 1);
#ifndef MUTATION_WAIT_NO_FENCE
    fence(POLLER);
#endif
    tail = SEEN(TAIL);
#endif
    if
    :: tail >= at -> store(POLLER, WAITING, 0)
    :: else ->
#ifndef MUTATION_SLEEP_WITHOUT_FLAG
        poller_event;
#else
        store(POLLER, WAITING, 0);
        fence(POLLER);
        poller_event;
#endif
        poller_event = false
    fi
}

inline decide()
{
#ifdef MUTATION_LOOKS_AFTER_RECORD
    append();
    level = SEEN(LEVEL);
#else
    level = SEEN(LEVEL);
    append();
#endif
    record = at;
    strict = level;
    recorded = true
}

proctype poller()
{
    byte head, tail, record, at, effects, level, begun, observed;
    bool strict, recorded;
    do
    :: effects < EFFECTS ->
        begun = SEEN(LEVEL);
        if
        :: !recorded -> decide()
        :: else
        fi;
        level = SEEN(LEVEL);
#ifdef MUTATION_OBSERVED_INSIDE
        begun = SEEN(LEVEL);
        observe();
#endif
#ifndef MUTATION_NO_MARK
        if
        :: level && !strict ->
            append();
            strict = true
        :: else
        fi;
#endif
        if
        :: !level -> effect()
        :: !level // stays at the backend
        :: level ->
#ifdef MUTATION_TAIL_NOT_CHECKED
            effect()
#else
            tail = SEEN(TAIL);
            if
            :: tail >= at -> effect()
            :: else -> wait_taken()
            fi
#endif
        fi;
        observe()
    :: else -> break
    od;
    over = true
}

proctype reader()
{
    byte head, tail, level, taken;
    do
    :: SEEN(HEAD) != tail ->
#ifdef MUTATION_LEVEL_BEFORE_HEAD
        level = SEEN(LEVEL);
        head = SEEN(HEAD);
#else
        head = SEEN(HEAD);
        level = SEEN(LEVEL);
#endif
        tail = head;
#ifdef MUTATION_CONSUMED_BEFORE_SYNC
        store(READER, TAIL, tail);
#endif
        if
        :: level -> disk = head // all that was written before, too
        :: else
        fi;
#ifndef MUTATION_CONSUMED_BEFORE_SYNC
        store(READER, TAIL, tail);
#endif
#ifndef MUTATION_CONSUME_NO_FENCE
        fence(READER);
#endif
        load(READER, WAITING, taken);
        if
        :: taken ->
            exchange(READER, WAITING, 0, taken);
            if
            :: taken -> poller_event = true
            :: else
            fi
        :: else
        fi;
        taken = 0
    :: over && SEEN(HEAD) == tail -> break
    od
}

proctype owner()
{
    store(OWNER, LEVEL, 1);
    if
    :: SEEN(OBSERVED) == 1 -> confirmed = true
    :: over
    fi
}

init
{
    atomic {
        run drain(POLLER);
        run drain(READER);
        run drain(OWNER);
        run poller();
        run reader();
        run owner()
    }
}
