// SPDX-License-Identifier: Apache-2.0
// What all attacking guests share: a table of attacks, one of which runs.
#ifndef TESTS_GUESTS_ATTACK_H
#define TESTS_GUESTS_ATTACK_H

#include <guillotine/cell.h>

// Where these lie depends on the memory of the cell.
#define ATTACK_GPA_IO     (cell_boot()->io_physical)
#define ATTACK_GPA_TABLES (ATTACK_GPA_IO + cell_boot()->io_bytes)

// How an attack ends that nobody stopped. tests/e2e/attack_list.py says what each one must end as.
enum attack_status {
    ATTACK_DEFENDED = 0,  // the guest looked, and the attack had no effect
    ATTACK_CLOSED = 7,    // a port gave no answer any more, and gave none to an honest request
    ATTACK_ANSWERED = 8,  // a request was answered that must not be
    ATTACK_WRONG = 9,     // an answer came, but another one than expected
    ATTACK_SILENT = 10,   // no answer came, although the request was a legal one
    ATTACK_CHANGED = 11,  // something changed that nobody may change
    ATTACK_UNKNOWN = 59,  // no attack of that name, or the VM lacks what it needs
    ATTACK_SURVIVED = 60, // the forbidden act went through
};

// Returns the exit status; most attacks do not return.
typedef int (*attack_function)(void);

struct attack {
    const char *name;
    attack_function run;
};

#define ATTACK_COUNT(table) (sizeof(table) / sizeof((table)[0]))

// Runs the attack that argv[1] names; "list" prints all names. Returns the exit status.
int attack_main(int argc, char **argv, const struct attack *attacks, size_t count);

#endif
