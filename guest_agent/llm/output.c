// SPDX-License-Identifier: Apache-2.0
// Buffered text on the platform's standard output.

#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void llm_output_start(struct llm_output *output, const struct llm_platform *platform)
{
    output->platform = platform;
    output->used = 0;
    output->failed = false;
}

/* Writes the first `length` bytes of the buffer and keeps the others. */
static void write_part(struct llm_output *output, size_t length)
{
    const struct llm_platform *platform = output->platform;
    if (length == 0) {
        return;
    }
    if (!output->failed && platform->write(platform->context, output->buffer, length) != 0) {
        output->failed = true;
    }
    output->used -= length;
    memmove(output->buffer, output->buffer + length, output->used);
}

void llm_output_bytes(struct llm_output *output, const void *data, size_t length)
{
    const char *bytes = data;
    while (length > 0) {
        size_t room = sizeof(output->buffer) - output->used;
        size_t part = length < room ? length : room;
        memcpy(output->buffer + output->used, bytes, part);
        output->used += part;
        bytes += part;
        length -= part;
        if (output->used == sizeof(output->buffer)) {
            llm_output_flush_characters(output);
        }
    }
}

void llm_output_print(struct llm_output *output, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    llm_output_bytes(output, text, strlen(text));
}

void llm_output_hexadecimal(struct llm_output *output, const void *data, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;
    for (size_t index = 0; index < length; index++) {
        char pair[] = {digits[bytes[index] / 16], digits[bytes[index] % 16]};
        llm_output_bytes(output, pair, sizeof(pair));
    }
}

/* Returns how many bytes at the end of the buffer may be the start of a longer UTF-8 sequence. */
static size_t incomplete_bytes(const struct llm_output *output)
{
    for (size_t back = 1; back <= 3 && back <= output->used; back++) {
        uint8_t byte = (uint8_t)output->buffer[output->used - back];
        if (byte >= 0x80 && byte < 0xc0) {
            continue; /* a continuation: its start is further back */
        }
        size_t length = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf8 ? 4 : 1;
        return length > back ? back : 0;
    }
    return 0;
}

void llm_output_flush_characters(struct llm_output *output)
{
    write_part(output, output->used - incomplete_bytes(output));
}

int llm_output_flush(struct llm_output *output)
{
    write_part(output, output->used);
    return output->failed ? -1 : 0;
}
