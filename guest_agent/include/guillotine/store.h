// SPDX-License-Identifier: Apache-2.0
// The cell SDK's client of a store: named objects, their bytes, and a search over their text.
//
// Names match [A-Za-z0-9._/-]{1,255}, without a part between slashes that is empty, "." or "..".
// All calls wait for the reply. They return a port status: PORT_STATUS_NOT_FOUND, DENIED (not
// granted, or refused by policy), INVALID, TOO_LARGE (query or reply), EXHAUSTED (quota), ...; or
// -1 if the request or the reply does not fit the port, or the reply makes no sense.
#ifndef GUILLOTINE_STORE_H
#define GUILLOTINE_STORE_H

#include <guillotine/cell.h>

// Reads up to `size` bytes of an object from `offset` on. *length: bytes read, fewer than asked for
// if the object ends or the port's replies do; *bytes: of the whole object. Either may be NULL.
int cell_store_get(struct cell_port *port, const char *name, uint64_t offset, void *data,
                   size_t size, size_t *length, uint64_t *bytes);

// Lists up to `limit` objects (0: the port's default) whose names begin with `prefix` and come
// behind `after`; either may be NULL. `text` gets lines for cell_store_next_object, *length of
// them. `next` gets the name to go on behind, "" if this was all; it may be `after`.
int cell_store_list(struct cell_port *port, const char *prefix, const char *after, unsigned limit,
                    char *text, size_t size, size_t *length, char next[STORE_NAME_MAX + 1]);

struct cell_store_object {
    char name[STORE_NAME_MAX + 1];
    uint64_t bytes;
};

// Takes the next object of a list from *at, which it moves, up to `end`. Returns 1, or 0 at the
// end.
int cell_store_next_object(const char **at, const char *end, struct cell_store_object *object);

// Finds up to `limit` passages (0: the port's default) with any of the words of `query`, the best
// first. `text` gets them for cell_store_next_hit.
int cell_store_search(struct cell_port *port, const char *query, unsigned limit, char *text,
                      size_t size, size_t *length);

struct cell_store_hit {
    char name[STORE_NAME_MAX + 1];
    uint64_t offset;  // of the passage in the object
    const char *text; // in the buffer, not terminated
    uint64_t length;
};

int cell_store_next_hit(const char **at, const char *end, struct cell_store_hit *hit);

// Makes or replaces an object of at most what one request holds, about the port's
// max_request_bytes.
int cell_store_put(struct cell_port *port, const char *name, const void *data, size_t length);

// Adds to an object of exactly `offset` bytes; at 0 it need not be there.
int cell_store_append(struct cell_port *port, const char *name, uint64_t offset, const void *data,
                      size_t length);

int cell_store_delete(struct cell_port *port, const char *name);

#endif
