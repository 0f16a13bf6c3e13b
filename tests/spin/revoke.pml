// SPDX-License-Identifier: Apache-2.0
// A port is closed, or the level raised, or a hold begun, while the poller copies replies
// (ports/port.c: gate, deliver, complete; ports/port_control.c: port_close, port_open,
// port_settle_state, port_may_serve; ports/poller.c: poller_quiesce).
//
// The gate is the port's own word and the maximum of two level pages (a page here is one word:
// open, held or shut). Two closers: one has the supervisor's page; the other has the VMM's own page
// or the port's word. To close: store, wait until the poller has begun another pass. To open: wait
// like that once more, so that a whole pass has seen the gate shut; store; wake the poller.
// Never: something is written to the guest after a close has returned.
// Never: a look at the gate is followed by more than one piece.
// Never: a request that was in flight when a close returned is answered after the port was opened.
// Always: every head comes back to the driver once, with its reply, or with length 0 if the gate
// was shut meanwhile. A hold costs nobody a reply.
// TWO_HEADS: two requests and one closer that closes twice, instead of two closers.
#define POLLER 0
#define CLOSER(me) (1 + me)
#define CPUS 3

#define WANTED 0         // of the port
#define SUPERVISOR_PAGE 1
#define OWN_PAGE 2
#define EPOCH 3          // used only if it is not incremented by a locked instruction
#define GUEST 4          // guest memory: what arrives there is checked, not kept
#define VARIABLES 5
#define DEPTH 2

// Values of the gate's words.
#define OPEN 0
#define HELD 1
#define SHUT 2

#define ON_COMMIT(variable, value)                                                                 \
    if                                                                                             \
    :: variable <= OWN_PAGE ->                                                                     \
        late = 0;                                                                                  \
        note_shut(value)                                                                           \
    :: variable == EPOCH ->                                                                        \
        advanced[0] = true;                                                                        \
        advanced[1] = true                                                                         \
    :: variable == GUEST -> arrives(value)                                                         \
    fi

#define PIECE 0
#define USED 1      // with the reply's length
#define USED_ZERO 2 // with length 0
#define WRITE(head, kind) ((head)*4 + kind)

#define arrives(value)                                                                             \
    assert(!in_force[0] && !in_force[1]);                                                          \
    assert(outstanding[(value) / 4]);                                                              \
    assert((value) % 4 == USED_ZERO || !old[(value) / 4]);                                         \
    assert((value) % 4 != USED_ZERO || shut[(value) / 4] || HEADS > 1);                            \
    if                                                                                             \
    :: (value) % 4 != PIECE ->                                                                     \
        outstanding[(value) / 4] = false;                                                          \
        old[(value) / 4] = false                                                                   \
    :: else                                                                                        \
    fi

// POSTS: how often each head is published. ROUNDS: how often each closer closes and opens.
#ifdef TWO_HEADS
#define HEADS 2
#define POSTS 1
#define CLOSERS 1
#define ROUNDS 2
#define note_shut(value) skip // checked with one head only
#else
#define HEADS 1
#define POSTS 2
#define CLOSERS 2
#define ROUNDS 1
#define note_shut(value) shut[0] = shut[0] || (value) == SHUT
#endif

bool published[HEADS];   // by the driver, not taken
bool outstanding[HEADS]; // the driver waits for it
bool shut[HEADS];        // the gate was shut since it was published
bool old[HEADS];         // was in flight when a close returned
bool in_force[2];        // the close has returned, it was not opened again
bool advanced[2];        // the epoch has moved since this closer read it
bool wake;               // eventfd
bool stop;
byte late;               // writes to the guest after the gate was shut
byte done;               // closers and drivers

// Where a request is. The poller's alone; closers only note what is in flight.
#define IDLE 0
#define THROTTLED 1 // taken, not at the backend
#define PENDING 2   // at the backend
#define READY 3     // its reply waits for the end of a hold
#define DROPPED 4   // gone; its head goes back when the port is open again
byte slots[HEADS];

#include "tso.pml"

#define GATE_NOT_OPEN                                                                              \
    (SEEN(WANTED) != OPEN || SEEN(SUPERVISOR_PAGE) != OPEN || SEEN(OWN_PAGE) != OPEN)
#define GATE_SHUT                                                                                  \
    (SEEN(WANTED) == SHUT || SEEN(SUPERVISOR_PAGE) == SHUT || SEEN(OWN_PAGE) == SHUT)

proctype driver(byte head)
{
    byte posts;
    do
    :: posts < POSTS ->
        atomic {
            !outstanding[head];
            outstanding[head] = true;
            published[head] = true;
#ifndef TWO_HEADS
            shut[head] = GATE_SHUT;
#endif
            wake = true
        };
        posts++
    :: else -> break
    od;
    done++
}

// Below, `atomic` joins steps of the poller that nobody else can see or hinder.

// The two pages, read one after the other.
inline look_at_levels()
{
#ifdef MUTATION_OWN_PAGE_ONLY
    level = OPEN;
#else
    level = SEEN(SUPERVISOR_PAGE);
#endif
    level = (SEEN(OWN_PAGE) > level -> SEEN(OWN_PAGE) : level)
}

inline look_at_gate()
{
    level = SEEN(WANTED);
    if
    :: level == OPEN -> look_at_levels()
    :: else
    fi
}

inline write_guest(head, kind)
{
    atomic {
        store(POLLER, GUEST, WRITE(head, kind));
        if
        :: GATE_NOT_OPEN ->
            late++;
            assert(late <= 1)
        :: else
        fi
    }
}

inline begin_pass()
{
#ifdef MUTATION_EPOCH_NOT_LOCKED
    store(POLLER, EPOCH, 1)
#else
    store_locked(POLLER, EPOCH, 1)
#endif
}

inline complete(head)
{
    look_at_gate();
#ifdef MUTATION_EPOCH_IN_PASS
    begin_pass(); // counts requests, not passes
#endif
    if
    :: level == OPEN ->
        write_guest(head, PIECE);
#ifndef MUTATION_NO_LOOK_BETWEEN_PIECES
        look_at_gate();
#endif
        if
        :: level == OPEN ->
            write_guest(head, PIECE);
            look_at_gate()
        :: else
        fi
    :: else
    fi;
    atomic {
        if
        :: level == OPEN ->
            slots[head] = IDLE;
            write_guest(head, USED)
        :: level == HELD -> slots[head] = READY
        :: level == SHUT -> slots[head] = DROPPED
        fi;
        level = 0
    }
}

inline drop_in_flight()
{
    d_step {
        slots[0] = (slots[0] != IDLE -> DROPPED : IDLE);
#ifdef TWO_HEADS
        slots[1] = (slots[1] != IDLE -> DROPPED : IDLE)
#endif
    }
}

inline return_one(head)
{
    if
    :: slots[head] == DROPPED ->
        store(POLLER, GUEST, WRITE(head, USED_ZERO));
        slots[head] = IDLE
    :: else
    fi
}

#ifdef MUTATION_HEADS_KEPT
#define RETURN_DROPPED()
#else
#ifdef TWO_HEADS
#define RETURN_DROPPED()                                                                           \
    return_one(0);                                                                                 \
    return_one(1)
#else
#define RETURN_DROPPED() return_one(0)
#endif
#endif

// port_settle_state
inline settle_state()
{
    wanted = SEEN(WANTED);
    look_at_levels();
    atomic {
        if
        :: wanted != OPEN ->
            if
            :: state == OPEN ->
                drop_in_flight();
                state = wanted
            :: else
            fi
        :: wanted == OPEN && state != OPEN && level != OPEN // opens with the gate
        :: wanted == OPEN && (state == OPEN || level == OPEN) ->
            if
#ifdef MUTATION_HOLD_DROPS
            :: level != OPEN && !dropped ->
#else
            :: level == SHUT && !dropped ->
#endif
                drop_in_flight();
                dropped = true
            :: level == OPEN && (dropped || state != OPEN) ->
                RETURN_DROPPED();
                dropped = false
            :: else
            fi;
            state = OPEN;
            open = (level == OPEN)
        fi;
        wanted = 0;
        level = 0
    }
}

inline serve(head)
{
    if
    :: slots[head] == READY -> complete(head)
    :: slots[head] == PENDING ->
        if
        :: complete(head)
        :: true // the backend has no reply yet
        fi
    :: slots[head] == THROTTLED || (slots[head] == IDLE && published[head]) ->
        published[head] = false;
        slots[head] = THROTTLED;
        look_at_gate();
        atomic {
            if
            :: level == OPEN -> slots[head] = PENDING
            :: level == HELD
            :: level == SHUT -> slots[head] = DROPPED
            fi;
            level = 0
        }
    :: else
    fi
}

#define IS_IDLE(head) (!published[head] && (slots[head] == IDLE || slots[head] == DROPPED))
#ifdef TWO_HEADS
#define NOTHING_TO_DO (IS_IDLE(0) && IS_IDLE(1))
#define NOTHING_OUTSTANDING (!outstanding[0] && !outstanding[1])
#else
#define NOTHING_TO_DO IS_IDLE(0)
#define NOTHING_OUTSTANDING (!outstanding[0])
#endif

// port_may_serve, ppoll
inline sleep()
{
    wanted = SEEN(WANTED);
    look_at_levels();
    atomic {
        if
        :: wanted != state -> idle = (wanted == OPEN && level != OPEN)
        :: wanted == state && wanted == OPEN && level == SHUT -> idle = dropped
        :: wanted == state && wanted == OPEN && level == OPEN ->
            idle = NOTHING_TO_DO
        :: else -> idle = true
        fi;
        wanted = 0;
        level = 0
    };
    if
    :: idle ->
        atomic {
            wake;
            wake = false;
            idle = false
        }
    :: else
    fi
}

proctype poller()
{
    byte level, wanted, state = OPEN;
    bool open, dropped, idle;
    do
    :: stop -> break
    :: else ->
        begin_pass();
        settle_state();
        if
        :: open ->
            open = false;
            serve(0)
#ifdef TWO_HEADS
            ; serve(1)
#endif
        :: else
        fi;
        if
        :: sleep()
        :: true // polls on
        fi
    od
}

// poller_quiesce
inline quiesce(me)
{
    d_step {
#ifdef MUTATION_CLOSE_NO_FENCE
        true ->
#else
        DRAINED(CLOSER(me)) ->
#endif
#ifndef MUTATION_EPOCH_READ_FIRST
        advanced[me] = false
#endif
    };
#ifndef MUTATION_NO_WAKE
    wake = true;
#endif
    advanced[me]
}

proctype closer(byte me)
{
    byte rounds, word, value;
    if
    :: me == 0 -> word = WANTED
    :: me == 0 -> word = OWN_PAGE
    :: me == 1 || CLOSERS == 1 -> word = SUPERVISOR_PAGE
    fi;
    do
    :: rounds < ROUNDS ->
        rounds++;
        if
        :: value = SHUT
        :: word != WANTED -> value = HELD
        fi;
#ifdef MUTATION_EPOCH_READ_FIRST
        advanced[me] = false;
#endif
        store(CLOSER(me), word, value);
#ifndef MUTATION_NO_EPOCH_WAIT
        quiesce(me);
#endif
        d_step {
            in_force[me] = true;
            old[0] = old[0] || (value == SHUT && slots[0] != IDLE);
#ifdef TWO_HEADS
            old[1] = old[1] || (value == SHUT && slots[1] != IDLE)
#endif
        };
#ifdef MUTATION_EPOCH_READ_FIRST
        advanced[me] = false;
#endif
#ifndef MUTATION_OPEN_AT_ONCE
        quiesce(me);
#endif
        atomic {
            in_force[me] = false;
            store_locked(CLOSER(me), word, OPEN)
        };
        atomic {
#ifndef MUTATION_OPEN_NO_WAKE
            wake = true;
#endif
            value = 0
        }
    :: else -> break
    od;
    done++
}

proctype stopper()
{
    atomic {
        done == CLOSERS + HEADS && NOTHING_OUTSTANDING;
        stop = true;
        wake = true
    }
}

init
{
    atomic {
        run drain(POLLER);
        run drain(CLOSER(0));
#ifndef TWO_HEADS
        run drain(CLOSER(1));
        run closer(1);
#endif
        run poller();
        run stopper();
        run closer(0);
        run driver(0)
#ifdef TWO_HEADS
        ; run driver(1)
#endif
    }
}
