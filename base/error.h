// SPDX-License-Identifier: Apache-2.0
// Errors as values: the last argument of every fallible function, with context wrapped around it.
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "exit_status.h"

// One error. `text` is a single line without newline; `status` is the exit status that a tool
// should end with; `code` is the errno behind it, or 0.
struct error {
    int code;
    enum exit_status status;
    char text[512];
};

// The value of the macros below; a function, since nobody minds its result unused.
static inline int error_value(void)
{
    return -1;
}

// Fills *err and has the value -1, so that `return error_set(...)` is the whole idiom. A `code`
// other than 0 appends ": " and its description. `err` may be NULL (the caller does not care).
// A macro around the function: compilers and analysers see the -1.
#define error_set(err, status, code, ...)                                                          \
    (error_fill(err, status, code, __VA_ARGS__), error_value())

// Puts "context: " in front of an error that is already set. Has the value -1.
#define error_wrap(err, ...) (error_prefix(err, __VA_ARGS__), error_value())

void error_fill(struct error *err, enum exit_status status, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
