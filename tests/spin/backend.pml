// SPDX-License-Identifier: Apache-2.0
// A backend process dies, hangs or breaks the rules, and another one takes its place in the same
// shared memory (ports/backend_link.c; orders: backend_link_order, poller_quiesce).
//
// Never: a request is answered twice, or with the reply to another one.
// Never: a request is not answered at all.
// Never: a process that keeps to the rules is taken for one that does not: nothing of its
// predecessor is left in queue, indices and slots.
#define VMM 0
#define PROCESS 1
#define CPUS 2

#define AVAILABLE 0
#define AVAILABLE_ENTRY 1 // two
#define USED 3
#define USED_ENTRY 4      // two
#define REQUEST 6         // buffers, one for each slot
#define REPLY 8
#define VARIABLES 10

#include "tso.pml"

#define SLOTS 2
#define REQUESTS 3

// Each of these may happen once.
bool may_crash = true;
bool may_hang = true;
bool may_misbehave = true;
bool may_close = true;

// The process that runs now.
bool killed; // by the supervisor, or it crashed
bool dead;   // killed, and what it stored is in memory
bool misbehaved;

bool wake;      // eventfd of the poller
bool reported;  // the process hangs, or broke the rules
byte order = 1; // the lowest bit: up; the rest makes each one new
bool advanced;  // the epoch has moved since the supervisor's order
bool finished;

bool answered[REQUESTS + 1];

#define FREE 0
#define SENT 1
#define DONE 2      // its request has a result
#define FORGOTTEN 3 // its request is gone, the process still has the buffers

inline answer(request)
{
    assert(!answered[request]);
    answered[request] = true
}

inline fail_sent(slot)
{
    if
    :: states[slot] == SENT -> states[slot] = DONE
    :: else
    fi
}

inline give_up()
{
    up = false;
    fail_sent(0);
    fail_sent(1);
    reported = true
}

inline reset_slot(slot)
{
    if
#ifndef MUTATION_NOT_FAILED
    :: states[slot] == SENT -> states[slot] = DONE
#endif
    :: states[slot] == FORGOTTEN -> states[slot] = FREE
    :: else
    fi
}

inline obey()
{
    atomic {
        if
        :: order != obeyed ->
            obeyed = order;
            up = order & 1;
            if
            :: !up ->
                reset_slot(0);
                reset_slot(1);
#ifndef MUTATION_NO_RESET
                d_step {
                    DRAINED(VMM) ->
                    memory[AVAILABLE] = 0;
                    memory[AVAILABLE_ENTRY] = 0;
                    memory[AVAILABLE_ENTRY + 1] = 0;
                    memory[USED] = 0;
                    memory[USED_ENTRY] = 0;
                    memory[USED_ENTRY + 1] = 0;
                    next_available = 0;
                    last_used = 0;
                    sent = 0
                }
#endif
            :: else
            fi
        :: else
        fi
    }
}

inline take_reply()
{
    slot = SEEN(USED_ENTRY + last_used % SLOTS);
    atomic {
        if
        :: states[slot] == FORGOTTEN ->
            last_used++;
            sent--;
            states[slot] = FREE
        :: states[slot] == SENT ->
            last_used++;
            sent--;
            if
#ifndef MUTATION_NO_COOKIE
            :: SEEN(REPLY + slot) != numbers[slot] ->
                assert(misbehaved);
                give_up()
#endif
            :: else ->
                assert(SEEN(REPLY + slot) == numbers[slot]);
                states[slot] = DONE
            fi
        :: else ->
            assert(misbehaved);
            give_up()
        fi;
        slot = 0
    }
}

inline resume(which)
{
    if
    :: states[which] == DONE ->
#ifndef MUTATION_DONE_KEPT
        states[which] = FREE;
#endif
        answer(numbers[which])
    :: else
    fi
}

// The port closes: requests are dropped, which is their answer.
inline forget(which)
{
    if
    :: states[which] == SENT || states[which] == DONE ->
        answer(numbers[which]);
#ifdef MUTATION_FORGET_FREES
        states[which] = FREE
#else
        states[which] = (states[which] == SENT -> FORGOTTEN : FREE)
#endif
    :: else
    fi
}

inline send(which)
{
    atomic {
        asked++;
        numbers[which] = asked;
        states[which] = SENT;
        sent++;
        store(VMM, REQUEST + which, asked)
    };
    store(VMM, AVAILABLE_ENTRY + next_available % SLOTS, which);
    next_available++;
    store(VMM, AVAILABLE, next_available)
}

proctype poller()
{
    byte states[SLOTS], numbers[SLOTS], asked, slot, next_available, last_used, sent, obeyed = 1;
    bool up = true;
    do
    :: asked == REQUESTS && answered[1] && answered[2] && answered[3] -> break
    :: else ->
        d_step {
            DRAINED(VMM) -> // the epoch
            advanced = true
        };
        obey();
        do
        :: up && SEEN(USED) != last_used ->
            if
            // An index can only be behind by what the process has.
            :: SEEN(USED) - last_used > sent || SEEN(USED) < last_used ->
                assert(misbehaved);
                give_up()
            :: else -> take_reply()
            fi
        :: else -> break
        od;
        atomic {
            resume(0);
            resume(1)
        };
        if
        :: asked < REQUESTS && !up ->
            atomic {
                asked++;
                answer(asked) // it is down: refused
            }
        :: asked < REQUESTS && up && states[0] == FREE -> send(0)
        :: asked < REQUESTS && up && states[0] != FREE && states[1] == FREE -> send(1)
        :: may_close && (states[0] == SENT || states[1] == SENT) ->
            atomic {
                may_close = false;
                forget(0);
                forget(1)
            }
        :: may_hang && up && (states[0] == SENT || states[1] == SENT) ->
            atomic {
                may_hang = false;
                give_up();
                resume(0);
                resume(1)
            }
        :: (asked == REQUESTS || (up && states[0] != FREE && states[1] != FREE)) &&
                states[0] != DONE && states[1] != DONE &&
                !(answered[1] && answered[2] && answered[3]) ->
            atomic {
                wake;
                wake = false
            }
        :: else
        fi
    od;
    finished = true
}

proctype process()
{
    byte next, used, slot;
    {
end:
        do
        :: SEEN(AVAILABLE) != next ->
            slot = SEEN(AVAILABLE_ENTRY + next % SLOTS);
            next++;
            store(PROCESS, REPLY + slot, SEEN(REQUEST + slot));
again:
            store(PROCESS, USED_ENTRY + used % SLOTS, slot);
            used++;
            store(PROCESS, USED, used);
            fence(PROCESS);
            wake = true;
            if
            :: may_misbehave ->
                atomic {
                    may_misbehave = false;
                    misbehaved = true
                };
                goto again // hands the same buffers back once more
            :: true
            fi
        od
    } unless {
        killed
    };
    DRAINED(PROCESS);
    dead = true
}

proctype crash()
{
end:
    atomic {
        !killed && may_crash ->
        may_crash = false;
        killed = true
    }
}

// poller_quiesce, on the control thread that carries the supervisor's order out
inline quiesce()
{
    advanced = false;
    wake = true;
    advanced || finished
}

proctype supervisor()
{
end:
    do
    :: reported || dead ->
        killed = true;
#ifndef MUTATION_NOT_DEAD_YET
        dead; // its pidfd says so
#endif
        reported = false;
        order = (order | 1) + 1; // down
        quiesce(); // another pass has begun
#ifndef MUTATION_ONE_QUIESCE
        quiesce(); // and ended: the order was obeyed
#endif
        // The next process gets the same memory.
#ifdef MUTATION_NOT_DEAD_YET
        dead;
#endif
        atomic {
            killed = false;
            dead = false;
            misbehaved = false;
            reported = false;
            run process()
        };
        order = order | 1;
        wake = true
    od
}

init
{
    atomic {
        run drain(VMM);
        run drain(PROCESS);
        run poller();
        run supervisor();
        run crash();
        run process()
    }
}
