// SPDX-License-Identifier: Apache-2.0
// Tables of the system calls that a process or thread may make once it is locked down. Everything
// else kills the process. Compiled to BPF when the project is built (seccomp_compile.c), so that
// a launch only installs it.
#ifndef BASE_SECCOMP_RULE_H
#define BASE_SECCOMP_RULE_H

#include <stddef.h>
#include <stdint.h>

// One permitted call.
struct seccomp_rule {
    int number;
    unsigned filters; // that it belongs to, combined
    int argument;     // index of an argument that must have `value`, or -1
    uint64_t value;
    int argument2;
    uint64_t value2;
    const char *reason;
};

#define SECCOMP_ANY -1, 0, -1, 0

// Stands for the own process id in compiled filters; sandbox_install replaces it.
#define SECCOMP_PID_PLACEHOLDER 0x5a5a1234u

// A filter to be made of all rules that have its bit.
struct seccomp_filter {
    const char *name; // of the array in the generated header
    unsigned bit;
};

// What the build tool compiles.
struct seccomp_table {
    const struct seccomp_rule *rules;
    size_t rule_count;
    const struct seccomp_filter *filters;
    size_t filter_count;
};

// Defined once for each instance of the tool, by the folder that the filters are for.
extern const struct seccomp_table seccomp_table;

#endif
