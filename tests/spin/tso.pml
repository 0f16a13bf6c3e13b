// SPDX-License-Identifier: Apache-2.0
// Memory as x86 has it (TSO): each CPU has a FIFO buffer of stores that others do not see yet; its
// own loads look there first; fences and locked instructions wait until it is empty.
//
// The including model defines CPUS, VARIABLES and, if three pending stores are not the right
// number, DEPTH. It may define ON_COMMIT(where, what): what to do when a store becomes visible.
// Loads happen in program order, as on x86.
#ifndef DEPTH
#define DEPTH 3
#endif
#ifndef ON_COMMIT
#define ON_COMMIT(where, what)
#endif

typedef store_buffer {
    byte used;
    byte where[DEPTH];
    byte what[DEPTH];
};

byte memory[VARIABLES];
store_buffer buffers[CPUS];

// A store. A full buffer makes the CPU wait, as a real one does.
inline store(cpu, variable, value)
{
    d_step {
        buffers[cpu].used < DEPTH ->
        buffers[cpu].where[buffers[cpu].used] = variable;
        buffers[cpu].what[buffers[cpu].used] = value;
        buffers[cpu].used++;
    }
}

#define FORWARD(cpu, place, variable, target)                                                      \
    if                                                                                             \
    :: buffers[cpu].used > place && buffers[cpu].where[place] == (variable) ->                     \
        target = buffers[cpu].what[place]                                                          \
    :: else                                                                                        \
    fi

// A load: the CPU's own youngest pending store, else memory.
inline load(cpu, variable, target)
{
    d_step {
        target = memory[variable];
        FORWARD(cpu, 0, variable, target);
        FORWARD(cpu, 1, variable, target);
#if DEPTH > 2
        FORWARD(cpu, 2, variable, target);
#endif
#if DEPTH > 3
        FORWARD(cpu, 3, variable, target);
#endif
    }
}

// What is loaded by CPUs that never store to it, and by models that look from outside.
#define SEEN(variable) memory[variable]

#define DRAINED(cpu) (buffers[cpu].used == 0)

// mfence, or any system call that this model counts on as a barrier.
inline fence(cpu)
{
    DRAINED(cpu)
}

// A seq_cst store (xchg).
inline store_locked(cpu, variable, value)
{
    d_step {
        DRAINED(cpu) ->
        memory[variable] = value;
        ON_COMMIT(variable, value)
    }
}

// atomic_exchange.
inline exchange(cpu, variable, value, target)
{
    d_step {
        DRAINED(cpu) ->
        target = memory[variable];
        memory[variable] = value;
        ON_COMMIT(variable, value)
    }
}

// Lets the oldest store of a CPU become visible, at any time.
inline commit_oldest(cpu)
{
    d_step {
        buffers[cpu].used > 0 ->
        memory[buffers[cpu].where[0]] = buffers[cpu].what[0];
        ON_COMMIT(buffers[cpu].where[0], buffers[cpu].what[0]);
        buffers[cpu].where[0] = buffers[cpu].where[1];
        buffers[cpu].what[0] = buffers[cpu].what[1];
#if DEPTH > 2
        buffers[cpu].where[1] = buffers[cpu].where[2];
        buffers[cpu].what[1] = buffers[cpu].what[2];
#endif
#if DEPTH > 3
        buffers[cpu].where[2] = buffers[cpu].where[3];
        buffers[cpu].what[2] = buffers[cpu].what[3];
#endif
        buffers[cpu].where[DEPTH - 1] = 0;
        buffers[cpu].what[DEPTH - 1] = 0;
        buffers[cpu].used--;
    }
}

proctype drain(byte cpu)
{
end:
    do
    :: commit_oldest(cpu)
    od
}
