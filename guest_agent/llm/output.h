// SPDX-License-Identifier: Apache-2.0
// Buffered text on the platform's standard output.

#ifndef LLM_OUTPUT_H
#define LLM_OUTPUT_H

#include "platform.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLM_OUTPUT_BUFFER 1024 /* bytes */

struct llm_output {
    const struct llm_platform *platform;
    size_t used; /* bytes in the buffer */
    bool failed; /* a write has failed; what follows is dropped */
    char buffer[LLM_OUTPUT_BUFFER];
};

/* Starts an output with an empty buffer; the platform must stay valid. */
void llm_output_start(struct llm_output *output, const struct llm_platform *platform);

/* Adds `length` bytes, or text as snprintf would make it (cut at 512 bytes); a full buffer is
 * written. */
void llm_output_bytes(struct llm_output *output, const void *data, size_t length);
void llm_output_print(struct llm_output *output, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds `length` bytes as two lower-case hexadecimal digits each. */
void llm_output_hexadecimal(struct llm_output *output, const void *data, size_t length);

/* Writes the buffer, except an incomplete UTF-8 sequence at its end: the rest of that character is
 * still to come. */
void llm_output_flush_characters(struct llm_output *output);

/* Writes the whole buffer. Returns 0, or -1 if this or an earlier write has failed. */
int llm_output_flush(struct llm_output *output);

#endif
