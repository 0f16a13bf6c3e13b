// SPDX-License-Identifier: Apache-2.0
// The text of one reply, as a client may see it.
#include "serve_text.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static const char replacement[] = "\xef\xbf\xbd"; // U+FFFD

#define REPLACEMENT_BYTES (sizeof(replacement) - 1)

bool serve_text_open(struct serve_text *text, const char *const *stops, const size_t *lengths,
                     size_t count)
{
    *text = (struct serve_text){0};
    if (count > SERVE_STOPS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!lengths[i] || lengths[i] > SERVE_STOP_BYTES_MAX)
            return false;
        memcpy(text->stops[i].bytes, stops[i], lengths[i]);
        text->stops[i].length = (uint16_t)lengths[i];
    }
    text->stop_count = (uint32_t)count;
    return true;
}

// Room for `more` bytes. Returns false if the text may not grow that much.
static bool reserve(struct serve_text *text, size_t more)
{
    if (more > SERVE_REPLY_MAX - text->length)
        return false;
    if (text->length + more <= text->size)
        return true;
    size_t size = text->size ? text->size : 1024;
    while (size < text->length + more)
        size *= 2;
    char *grown = realloc(text->bytes, size);
    if (!grown)
        return false;
    text->bytes = grown;
    text->size = size;
    return true;
}

// Appends whole characters. Returns false if they do not all fit.
static bool append(struct serve_text *text, const uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t character = bytes[at] ? utf8_length(bytes + at, length - at) : 0;
        const void *from = character ? (const void *)(bytes + at) : replacement;
        size_t size = character ? character : REPLACEMENT_BYTES;
        if (!reserve(text, size))
            return false;
        memcpy(text->bytes + text->length, from, size);
        text->length += size;
        at += character ? character : 1;
    }
    return true;
}

// Finds the first stop that begins at `from` or behind it. Returns false if there is none.
static bool find_stop(const struct serve_text *text, size_t from, size_t *found)
{
    bool any = false;
    for (uint32_t i = 0; text->bytes && i < text->stop_count; i++) {
        const char *place = memmem(text->bytes + from, text->length - from, text->stops[i].bytes,
                                   text->stops[i].length);
        if (place && (!any || (size_t)(place - text->bytes) < *found)) {
            *found = (size_t)(place - text->bytes);
            any = true;
        }
    }
    return any;
}

// Bytes at the end of the text that could be the beginning of a stop.
static size_t held_back(const struct serve_text *text)
{
    size_t most = 0;
    for (uint32_t i = 0; i < text->stop_count; i++) {
        size_t length = text->stops[i].length - 1u;
        if (length > text->length)
            length = text->length;
        while (length > most &&
               memcmp(text->bytes + text->length - length, text->stops[i].bytes, length) != 0)
            length--;
        if (length > most)
            most = length;
    }
    return most;
}

enum serve_text_state serve_text_add(struct serve_text *text, const uint8_t *bytes, size_t length)
{
    if (text->ended)
        return SERVE_TEXT_STOPPED;
    // What is shown holds no beginning of a stop: nothing in front of it can match.
    size_t from = text->shown;
    bool fits = append(text, bytes, length);
    size_t stop = 0;
    if (find_stop(text, from, &stop)) {
        text->length = stop;
        serve_text_end(text);
        return SERVE_TEXT_STOPPED;
    }
    text->shown = text->length - held_back(text);
    return fits ? SERVE_TEXT_OPEN : SERVE_TEXT_FULL;
}

void serve_text_end(struct serve_text *text)
{
    text->ended = true;
    text->shown = text->length;
}

size_t serve_text_shown(const struct serve_text *text)
{
    size_t shown = text->shown;
    // A stop may begin within a character only if it is not UTF-8; the front reads JSON, so it is.
    while (shown && shown < text->length && ((uint8_t)text->bytes[shown] & 0xc0) == 0x80)
        shown--;
    return shown;
}

void serve_text_free(struct serve_text *text)
{
    free(text->bytes);
    *text = (struct serve_text){0};
}

size_t serve_text_plain(char *target, size_t size, const uint8_t *bytes, size_t length)
{
    size_t used = 0;
    for (size_t i = 0; i < length && used + 1 < size; i++)
        target[used++] = (char)(bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '?');
    target[used] = '\0';
    return used;
}
