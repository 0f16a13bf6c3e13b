// SPDX-License-Identifier: Apache-2.0
// Levels between supervisor and VMM, with lost messages and lost heartbeats
// (monitor/containment.c, monitor/supervisor_levels.c; vmm/control.c: serve_level; vmm/watchdog.c;
// policy/level.h: the two pages).
//
// The supervisor raises its page, asks the VMM, and waits for the confirmation; to lower it sends a
// signed order with a sequence number. The VMM mirrors every level in its own page, confirms after
// a whole pass of the poller, and lowers its page only for a signed order that is new. Everybody
// acts on the maximum of both pages. A message may be lost each way; each side may be stopped for
// ever, or die, at any point.
// Never: a reply is delivered while a level above Probation is confirmed.
// Always: the VM is gone, or at Offline, once a side was stopped or has died, or a message was
// lost that mattered; the effective level is never below the supervisor's in the end.
// FALLEN: the supervisor turns evil once: page at Standard, old and unsigned orders. What the VMM
// has confirmed before stays in force.
#define STANDARD 0
#define PROBATION 1
#define SEVERED 2
#define OFFLINE 3

#define SIGNED true
#define LEGITIMATE true // known to the model, not to the VMM

byte level;              // the supervisor's
byte supervisor_page;
byte vmm_page;
byte due;                // what the VMM has confirmed and nobody entitled to has lowered
bool confirmed = true;   // the level is, in force everywhere
bool fallen;
bool supervisor_stopped; // for ever, or dead: no beats, no orders
bool vmm_stopped;        // for ever: no thread of it runs
bool vmm_ended;
byte number;             // of the last question
byte sequence;           // of the last signed order
byte signed_level;       // its level
bool overtaken;          // the level was raised after it
bool asked;
byte passes_wanted;      // that the poller has to begin
byte work;               // replies that wait

// Level, signed, its sequence, number, whether it is what it claims.
chan orders = [2] of { byte, bool, byte, byte, bool };
chan answers = [2] of { byte };
byte losses;

#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef RAISES
#define RAISES 2
#endif
#ifndef LOWERINGS
#define LOWERINGS 2
#endif

#define VMM_RUNS (!vmm_ended && !vmm_stopped)
#define MAXIMUM(a, b) ((a) > (b) -> (a) : (b))

inline kill_vmm()
{
    vmm_ended = true;
    asked = false
}

inline send_order(value, signature)
{
    number++;
    asked = true;
    confirmed = false;
    if
    :: vmm_ended -> asked = false
    :: !vmm_ended && nfull(orders) -> orders ! value, signature, sequence, number, LEGITIMATE
    :: !vmm_ended && losses < LOSSES -> losses++
    fi
}

// A failed effect, or a lost heartbeat: Offline, by force.
inline go_offline()
{
    level = MAXIMUM(level, OFFLINE);
    confirmed = true;
#ifndef MUTATION_FAILURE_KEEPS_PAGE
    supervisor_page = level;
#endif
#ifndef MUTATION_OFFLINE_WITHOUT_KILL
    kill_vmm();
#endif
    asked = false
}

proctype supervisor()
{
    byte raises, lowerings, answer;
end:
    do
    :: atomic { raises < RAISES && level < SEVERED && !supervisor_stopped && !fallen ->
        raises++;
        if
        :: level < PROBATION -> level = PROBATION
        :: level = SEVERED
        fi;
        overtaken = true;
#ifndef MUTATION_PAGE_NOT_RAISED
        supervisor_page = level;
#endif
        send_order(level, !SIGNED) }
    :: atomic { lowerings < LOWERINGS && level > STANDARD && level < OFFLINE && !asked &&
                !supervisor_stopped && !fallen ->
        lowerings++;
        sequence++;
        level--;
        signed_level = level;
        overtaken = false;
        supervisor_page = level;
        send_order(level, SIGNED) }
    :: atomic { !supervisor_stopped && answers ? [answer] ->
        answers ? answer;
        if
        :: answer == number && asked ->
            asked = false;
            confirmed = true
        :: else
        fi }
#ifndef FALLEN
#ifndef MUTATION_NO_CONFIRM_DEADLINE
    :: atomic { asked && !supervisor_stopped -> go_offline() }
#endif
#ifndef MUTATION_NO_BEATS_FROM_VMM
    :: atomic { vmm_stopped && !vmm_ended && !supervisor_stopped -> go_offline() }
#endif
#else
    :: atomic { !fallen ->
        fallen = true;
        supervisor_page = STANDARD;
        if
        :: nfull(orders) -> orders ! STANDARD, !SIGNED, sequence, number + 1, !LEGITIMATE
        // The last order that the administrators signed.
        :: nfull(orders) && sequence > 0 ->
            orders ! signed_level, SIGNED, sequence, number + 1, !overtaken
        :: skip
        fi }
#endif
    od
}

inline vmm_end()
{
    vmm_page = OFFLINE;
    vmm_ended = true
}

proctype control()
{
    byte wanted, its_sequence, its_number, last_sequence;
    bool signature, legitimate;
end:
    do
    :: atomic { VMM_RUNS && orders ? [wanted, signature, its_sequence, its_number, legitimate] ->
        orders ? wanted, signature, its_sequence, its_number, legitimate;
        if
        :: wanted >= vmm_page ->
#ifndef MUTATION_NOT_MIRRORED
            vmm_page = wanted;
#endif
#ifndef MUTATION_RAISE_WITHOUT_SEQUENCE
            // An order that was signed before this level, and never arrived, is void.
            last_sequence = MAXIMUM(last_sequence, its_sequence)
#else
            skip
#endif
        :: else ->
            if
#ifdef MUTATION_NO_SIGNATURE
            :: true ->
#elif defined(MUTATION_NO_SEQUENCE)
            :: signature ->
#else
            :: signature && its_sequence > last_sequence ->
#endif
                last_sequence = its_sequence;
                vmm_page = wanted;
                due = (legitimate -> wanted : due)
            :: else -> vmm_end()
            fi
        fi };
        if
        :: VMM_RUNS ->
#ifndef MUTATION_CONFIRM_WITHOUT_PASS
            // The second to begin shows that the first, which saw the new page, is over.
            passes_wanted = 2;
            (passes_wanted == 0 || !VMM_RUNS);
#endif
            atomic {
                if
                :: VMM_RUNS ->
                    due = MAXIMUM(due, wanted);
                    if
                    :: nfull(answers) -> answers ! its_number
                    :: losses < LOSSES -> losses++
                    :: full(answers) && losses >= LOSSES -> vmm_end()
                    fi
                :: else
                fi
            }
        :: else
        fi
    // Death is noticed by the socket; a stopped supervisor is the watchdog's business.
    :: atomic { vmm_ended || vmm_stopped -> break }
    od
}

proctype watchdog()
{
end:
    if
#ifndef MUTATION_NO_WATCHDOG
    :: atomic { supervisor_stopped && VMM_RUNS -> vmm_end() }
#endif
    :: vmm_ended || vmm_stopped
    fi
}

// One pass: look at both pages, one after the other; then perhaps deliver. Passes that can see
// nothing but a shut gate and that nobody waits for are left out, so that the model comes to rest.
#define OPEN_NOW (MAXIMUM(supervisor_page, vmm_page) <= PROBATION)
proctype poller()
{
    byte a, b;
end:
    do
    :: atomic { VMM_RUNS && (passes_wanted > 0 || (work > 0 && OPEN_NOW)) ->
        passes_wanted = (passes_wanted > 0 -> passes_wanted - 1 : 0);
        a = supervisor_page };
#ifdef MUTATION_ONE_PAGE
       b = STANDARD;
#else
       b = vmm_page;
#endif
       if
       :: MAXIMUM(a, b) <= PROBATION && work > 0 ->
           atomic {
               if
               :: VMM_RUNS ->
                   work--;
                   assert(fallen || !(confirmed && level > PROBATION));
                   assert(due <= PROBATION)
               :: else
               fi
           }
       :: else
       fi
    :: atomic { vmm_ended || vmm_stopped -> break }
    od
}

proctype trouble()
{
    if
    :: skip
#ifndef FALLEN
    :: atomic { VMM_RUNS -> vmm_stopped = true }
    :: supervisor_stopped = true
#endif
    fi
}

init {
    atomic {
        work = 2;
        run supervisor();
        run control();
        run watchdog();
        run poller();
        run trouble()
    };
    timeout;
    // Nothing can happen any more.
    assert(!supervisor_stopped || vmm_ended || vmm_stopped);
    assert(!vmm_stopped || supervisor_stopped || vmm_ended);
    assert(fallen || vmm_ended || supervisor_stopped || !asked);
    assert(fallen || vmm_ended || supervisor_stopped || supervisor_page >= level);
    assert(fallen || vmm_ended || MAXIMUM(supervisor_page, vmm_page) >= level)
}
