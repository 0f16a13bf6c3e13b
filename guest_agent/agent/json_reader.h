// SPDX-License-Identifier: Apache-2.0
// A reader of JSON texts that were written elsewhere: spans inside the text, no tree, no memory.

#ifndef AGENT_JSON_READER_H
#define AGENT_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_DEPTH 16 /* objects and arrays inside each other, at most */

/* A value inside a JSON text, without the space around it. NULL and 0: none. */
struct json_span {
    const char *text;
    size_t length; /* bytes */
};

/* The way through the members of an object or the elements of an array. */
struct json_walk {
    const char *at;
    const char *end;
    char close;
    bool first;
};

/* Finds the one value that the whole text is, with all brackets, strings and commas in order and at
 * most JSON_DEPTH deep. Words and numbers are told apart by their first byte only. Returns false,
 * and an empty *value, if the text is anything else. */
bool json_whole(const char *text, size_t length, struct json_span *value);

/* Starts a walk through a value that json_whole, or another walk, has found. If it is not of the
 * kind, the walk is empty. */
struct json_walk json_members(struct json_span value);
struct json_walk json_elements(struct json_span value);

/* Steps to the next member (`key` is a string with its quotes) or element. Returns false at the
 * end. */
bool json_next_member(struct json_walk *walk, struct json_span *key, struct json_span *value);
bool json_next_element(struct json_walk *walk, struct json_span *value);

/* Returns the value of the first member with this key, or an empty span. */
struct json_span json_find(struct json_span object, const char *key);

/* Writes the text that a string stands for to `buffer` of `size` bytes, at most, as UTF-8, and its
 * bytes to *length; what does not fit is cut between characters. Halves of surrogate pairs become
 * '?'. Returns false if the value is not a string. */
bool json_string(struct json_span value, char *buffer, size_t size, size_t *length);

/* Returns whether the value is the string `text`, or the word `text` without quotes. */
bool json_is_string(struct json_span value, const char *text);
bool json_is_word(struct json_span value, const char *text);

#endif
