// SPDX-License-Identifier: Apache-2.0
// The text of one reply, as a client may see it.
#ifndef DEVICES_SERVE_TEXT_H
#define DEVICES_SERVE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve.h"

struct serve_text {
    char *bytes; // NULL: none yet
    size_t length;
    size_t size;
    size_t shown; // bytes that no stop can take back any more
    bool ended;
    uint32_t stop_count;
    struct {
        uint16_t length;
        char bytes[SERVE_STOP_BYTES_MAX];
    } stops[SERVE_STOPS_MAX];
};

enum serve_text_state {
    SERVE_TEXT_OPEN,
    SERVE_TEXT_STOPPED, // a stop was found: the text ends in front of it
    SERVE_TEXT_FULL,    // SERVE_REPLY_MAX bytes are there, or memory is short
};

// Starts an empty text with `count` stops (copied). Returns false if there are too many or one is
// empty or too long.
bool serve_text_open(struct serve_text *text, const char *const *stops, const size_t *lengths,
                     size_t count);

// Appends what the model said. What is not UTF-8, and NUL, becomes U+FFFD, a byte each.
enum serve_text_state serve_text_add(struct serve_text *text, const uint8_t *bytes, size_t length);

// Nothing comes any more: all of it may be seen.
void serve_text_end(struct serve_text *text);

// Bytes that may be seen by now; whole characters.
size_t serve_text_shown(const struct serve_text *text);

void serve_text_free(struct serve_text *text);

// Writes at most size - 1 bytes of a model's message to `target`, terminated: printable ASCII,
// anything else is '?'. Returns the length.
size_t serve_text_plain(char *target, size_t size, const uint8_t *bytes, size_t length);

#endif
