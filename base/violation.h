// SPDX-License-Identifier: Apache-2.0
// What a model can be caught at: stable names for reports, audit logs and `run --expect`.
#ifndef BASE_VIOLATION_H
#define BASE_VIOLATION_H

enum violation_kind {
    VIOLATION_NONE = 0,
    VIOLATION_WRITE_CODE,      // store to an executable page
    VIOLATION_EXEC_DATA,       // instruction fetch from a page that is not executable
    VIOLATION_WRITE_READONLY,  // store to read-only data of the image or to the boot info
    VIOLATION_WRITE_WEIGHTS,   // store to a weights file
    VIOLATION_READ_SUPERVISOR, // load from a supervisor page
    VIOLATION_WRITE_SUPERVISOR,
    VIOLATION_EXEC_SUPERVISOR,
    VIOLATION_STACK_GUARD,     // access to the guard page of a stack
    VIOLATION_UNMAPPED,        // access to an address without mapping
    VIOLATION_DOORBELL_DENIED, // access to the doorbell of a port that is not granted
    VIOLATION_DOORBELL_MISUSE, // anything but an aligned 4-byte store of a legal value
    VIOLATION_PRIVILEGED,      // privileged instruction or port I/O
    VIOLATION_SYSCALL,         // syscall or sysenter
    VIOLATION_INTERRUPT,       // int n, int3, into
    VIOLATION_INVALID_OPCODE,
    VIOLATION_ARITHMETIC,         // divide error, floating point or SIMD exception
    VIOLATION_GENERAL_PROTECTION, // any other #GP, #SS, #NP, #TS, #AC
    VIOLATION_EXCEPTION,          // any other vector
    VIOLATION_EMULATION,          // KVM could not execute or emulate an instruction
    VIOLATION_SHUTDOWN,           // triple fault
    VIOLATION_STATE,              // control registers, descriptor tables or page tables changed
    VIOLATION_BACKING_LOST,       // memory behind the cell vanished (file truncated, bad page)
    VIOLATION_BUS_LOCK,           // split-lock storm or an instruction that stalls the processor
    VIOLATION_UNKNOWN_EXIT,       // an exit that the VMM does not know
    VIOLATION_COUNT,
};

// "write-code" and so on; "unknown" for a number out of range.
const char *violation_name(unsigned kind);

// One sentence for people.
const char *violation_text(unsigned kind);

// The kind with this name, or VIOLATION_NONE.
enum violation_kind violation_by_name(const char *name);

#endif
