// SPDX-License-Identifier: Apache-2.0
// Standard input is read only on demand: the flag that asks the supervisor for a wake-up also tells
// it that the model wants input (devices/console.c: try_read, console_prepare_sleep;
// monitor/console_relay.c: console_relay_wants_input, console_relay_read).
//
// Never: the model waits for input, input is there, and both sides sleep.
#define POLLER 0
#define SUPERVISOR 1
#define CPUS 2

#define HEAD 0
#define WAITING 1 // consumer_waiting of the input ring
#define VARIABLES 2

#include "tso.pml"

#define BYTES 3 // each read takes what is there

bool wake_poller; // eventfds
bool wake_supervisor;

// Asks for input. The supervisor may have taken the flag and gone to sleep since this side set it:
// whoever changes it from 0 to 1 has to wake the supervisor, and only an exchange tells.
inline ask()
{
#ifdef MUTATION_NO_EXCHANGE
    load(POLLER, WAITING, waiting);
    store(POLLER, WAITING, 1);
    fence(POLLER);
#else
    exchange(POLLER, WAITING, 1, waiting);
#endif
    if
    :: SEEN(HEAD) != tail -> store(POLLER, WAITING, 0)
    :: else ->
        if
        :: !waiting -> wake_supervisor = true
        :: else
        fi
    fi
}

// shared_ring_wait_data on its own, as for a ring whose producer always reads.
inline ask_silently()
{
    store(POLLER, WAITING, 1);
    fence(POLLER);
    if
    :: SEEN(HEAD) != tail -> store(POLLER, WAITING, 0)
    :: else
    fi
}

proctype poller()
{
    byte tail;
    bool waiting;
    do
    :: tail == BYTES -> break
    :: tail < BYTES ->
        // try_read
        if
        :: SEEN(HEAD) != tail -> tail = SEEN(HEAD)
        :: else ->
            load(POLLER, WAITING, waiting);
            if
            :: !waiting -> ask()
            :: else
            fi;
            if
            :: true // polls on
            :: true -> // console_prepare_sleep, ppoll
#ifdef MUTATION_SILENT_REARM
                ask_silently();
#else
                ask();
#endif
                if
                :: SEEN(HEAD) == tail ->
                    wake_poller;
                    wake_poller = false
                :: else
                fi
            fi
        fi
    od
}

proctype supervisor()
{
    byte head;
    bool wants, taken;
    do
    :: head == BYTES -> break
    :: head < BYTES ->
        // fill_watch: standard input always has something, but is it asked for?
        wants = SEEN(WAITING);
        if
        :: wants ->
            head++;
            store(SUPERVISOR, HEAD, head);
            fence(SUPERVISOR);
            if
            :: SEEN(WAITING) ->
                exchange(SUPERVISOR, WAITING, 0, taken);
                if
                :: taken -> wake_poller = true
                :: else
                fi
            :: else
            fi
        :: else ->
            wake_supervisor;
            wake_supervisor = false
        fi
    od
}

init
{
    atomic {
        run drain(POLLER);
        run drain(SUPERVISOR);
        run poller();
        run supervisor()
    }
}
