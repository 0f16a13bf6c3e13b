// SPDX-License-Identifier: Apache-2.0
// Keeps secrets out of replies.
#ifndef DEVICES_HTTP_REDACT_H
#define DEVICES_HTTP_REDACT_H

#include "http_grant.h"

struct http_redactor {
    const struct http_grant *grant;
    size_t longest; // of the texts that are looked for; 0: none
};

// The grant is borrowed.
void http_redactor_open(struct http_redactor *redactor, const struct http_grant *grant);

// Copies text[from, to) to `target` with a '*' for each byte of a secret, wherever the secret
// begins in text[0, used). What is copied is right if `to` is the end of all there will be, or at
// least `longest` - 1 bytes before `used`, and if text[0, from) has as many of those before it.
void http_redact(const struct http_redactor *redactor, const uint8_t *text, size_t used,
                 size_t from, size_t to, uint8_t *target);

#endif
