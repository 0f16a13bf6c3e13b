// SPDX-License-Identifier: Apache-2.0
// Names of violations.
#include "violation.h"

#include <string.h>

static const struct {
    const char *name;
    const char *text;
} violations[VIOLATION_COUNT] = {
    [VIOLATION_NONE] = {"none", "no violation"},
    [VIOLATION_WRITE_CODE] = {"write-code", "store to executable memory"},
    [VIOLATION_EXEC_DATA] = {"exec-data", "execution of memory that is not executable"},
    [VIOLATION_WRITE_READONLY] = {"write-readonly", "store to read-only memory"},
    [VIOLATION_WRITE_WEIGHTS] = {"write-weights", "store to a weights file"},
    [VIOLATION_READ_SUPERVISOR] = {"read-supervisor", "load from supervisor memory"},
    [VIOLATION_WRITE_SUPERVISOR] = {"write-supervisor", "store to supervisor memory"},
    [VIOLATION_EXEC_SUPERVISOR] = {"exec-supervisor", "jump into supervisor memory"},
    [VIOLATION_STACK_GUARD] = {"stack-guard", "access to a guard page of a stack"},
    [VIOLATION_UNMAPPED] = {"unmapped", "access to an address that is not mapped"},
    [VIOLATION_DOORBELL_DENIED] = {"doorbell-denied", "doorbell of a port that is not granted"},
    [VIOLATION_DOORBELL_MISUSE] = {"doorbell-misuse",
                                   "access to a doorbell or control page that is not an aligned "
                                   "4-byte store of a legal value"},
    [VIOLATION_PRIVILEGED] = {"privileged", "privileged instruction or port I/O"},
    [VIOLATION_SYSCALL] = {"syscall", "system call instruction"},
    [VIOLATION_INTERRUPT] = {"interrupt", "software interrupt"},
    [VIOLATION_INVALID_OPCODE] = {"invalid-opcode", "invalid or disabled instruction"},
    [VIOLATION_ARITHMETIC] = {"arithmetic", "divide or floating-point exception"},
    [VIOLATION_GENERAL_PROTECTION] = {"general-protection", "general protection fault"},
    [VIOLATION_EXCEPTION] = {"exception", "processor exception"},
    [VIOLATION_EMULATION] = {"emulation", "instruction that KVM could not execute"},
    [VIOLATION_SHUTDOWN] = {"shutdown", "triple fault"},
    [VIOLATION_STATE] = {"state", "processor state or page tables changed"},
    [VIOLATION_BACKING_LOST] = {"backing-lost", "memory behind the cell vanished"},
    [VIOLATION_BUS_LOCK] = {"bus-lock", "instruction that stalls the bus or the processor"},
    [VIOLATION_UNKNOWN_EXIT] = {"unknown-exit", "exit that the VMM does not know"},
};

const char *violation_name(unsigned kind)
{
    return kind < VIOLATION_COUNT ? violations[kind].name : "unknown";
}

const char *violation_text(unsigned kind)
{
    return kind < VIOLATION_COUNT ? violations[kind].text : "unknown violation";
}

enum violation_kind violation_by_name(const char *name)
{
    for (unsigned kind = 1; kind < VIOLATION_COUNT; kind++) {
        if (!strcmp(name, violations[kind].name))
            return (enum violation_kind)kind;
    }
    return VIOLATION_NONE;
}
