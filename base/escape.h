// SPDX-License-Identifier: Apache-2.0
// Neutralises bytes that somebody untrusted chose before a person or a log sees them.
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stddef.h>

// Longest output for one input byte ("\x1b").
#define ESCAPE_MAX_EXPANSION 4

// Copies `length` bytes of `source` to `target` (capacity `size`, at least 1; always terminated)
// with everything outside printable ASCII written as \xNN and the backslash doubled: safe in one
// line of a terminal, a log or an error message. Stops before the capacity is exceeded. Returns
// the length written without the terminator.
size_t escape_line(char *target, size_t size, const void *source, size_t length);

// Same for a whole message of this program, in which untrusted parts may be escaped already: the
// backslash stays single.
size_t escape_message(char *target, size_t size, const char *text);

// Longest output of escape_json for one input byte ("\u001b").
#define ESCAPE_JSON_EXPANSION 6

// Writes text of unknown origin as the inside of a JSON string that is harmless on a terminal too:
// quote, backslash, controls, bidirectional and invisible characters become escapes (of RFC 8259),
// each byte that is not part of well-formed UTF-8 becomes U+FFFD. `target` needs room for
// ESCAPE_JSON_EXPANSION bytes for every byte of input; it is not terminated. Returns the length
// written.
size_t escape_json(char *target, const void *source, size_t length);

// State of a terminal filter: UTF-8 sequences may be split over writes.
struct escape_terminal {
    unsigned char pending[4]; // the bytes of an unfinished UTF-8 sequence
    unsigned pending_length;
    unsigned needed; // length of that sequence once complete
};

// Filters a byte stream for a terminal: printable ASCII, newline, tab and well-formed UTF-8 above
// U+009F pass, except bidirectional overrides and zero-width or private-use formatting controls;
// every other byte (ESC, C0 and C1 controls, carriage return, malformed UTF-8) is written as \xNN.
// `target` needs room for ESCAPE_MAX_EXPANSION bytes for every byte of input and of
// `pending`. Returns the number of bytes written. An unfinished sequence stays in `state`.
size_t escape_terminal_filter(struct escape_terminal *state, char *target, const void *source,
                              size_t length);

// Writes what an ended stream left unfinished; same contract as escape_terminal_filter.
size_t escape_terminal_finish(struct escape_terminal *state, char *target);

#endif
