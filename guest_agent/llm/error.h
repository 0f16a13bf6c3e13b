// SPDX-License-Identifier: Apache-2.0
// One-line error messages, handed up to the caller that can show them.

#ifndef LLM_ERROR_H
#define LLM_ERROR_H

/* A message without a newline, NUL-terminated, printable ASCII only. */
struct llm_error {
    char text[256];
};

/* Fills *err as snprintf would (a longer message is cut). The arguments may hold bytes from an
 * untrusted file: whatever is not printable ASCII becomes '?'. Always returns -1, so that a
 * function can end with `return llm_fail(...)`. */
int llm_fail(struct llm_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
