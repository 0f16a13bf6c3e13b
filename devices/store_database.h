// SPDX-License-Identifier: Apache-2.0
// The database of a store: named objects, their bytes, and an index of the words in them.
//
// An object is a row of passages, pieces of at most STORE_PASSAGE_MAX bytes that end where a
// paragraph, a line or a word does. Passages that are text are indexed; a search finds passages.
// The file may come from anywhere: what it holds is checked before it is used, and what it says of
// itself, which is SQL, is never run. Functions return enum port_status.
#ifndef DEVICES_STORE_DATABASE_H
#define DEVICES_STORE_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "port_abi.h"
#include "store_file.h"
#include "store_settings.h"

#define STORE_PASSAGE_MAX 1536u
#define STORE_PASSAGE_MIN 512u // where a passage may end at the earliest, if more follows

// Largest object, and its bytes' room in SQLite's integers.
#define STORE_OBJECT_MAX (1ull << 40)

enum store_statement {
    STORE_SQL_BEGIN,
    STORE_SQL_COMMIT,
    STORE_SQL_ROLLBACK,
    STORE_SQL_FIND,
    STORE_SQL_FIRST,
    STORE_SQL_RANGE,
    STORE_SQL_LIST,
    STORE_SQL_SEARCH,
    STORE_SQL_PASSAGE,
    STORE_SQL_ADD_OBJECT,
    STORE_SQL_RESIZE,
    STORE_SQL_DROP_OBJECT,
    STORE_SQL_LAST,
    STORE_SQL_ADD_PASSAGE,
    STORE_SQL_DROP_PASSAGE,
    STORE_SQL_INDEX,
    STORE_SQL_UNINDEX,
    STORE_SQL_COUNT,
};

struct store_database {
    struct sqlite3 *handle;
    struct sqlite3_stmt *statements[STORE_SQL_COUNT];
    struct store_grant grant;
    uint64_t objects; // as committed
    uint64_t bytes;   // of their data
    // Since the transaction began.
    int64_t more_objects;
    int64_t more_bytes;
    bool in_transaction;
    // In units of 1000 steps of SQLite's virtual machine.
    uint32_t steps_max;  // of a request that reads
    uint32_t steps_left; // of this request
};

// Opens the database in `files` (store_vfs.h), makes its tables if it is empty and may be written,
// and refuses one that has others. An unfinished transaction of its last writer is undone. Neither
// needs any system call that takes a path. Returns 0 or -1.
int store_database_open(struct store_database *database, const struct store_files *files,
                        const struct store_grant *grant, struct error *err);

void store_database_close(struct store_database *database);

// Copies `room` bytes or fewer from `offset` on. *got: bytes copied; *bytes: of the whole object.
uint32_t store_database_read(struct store_database *database, const char *name, uint64_t offset,
                             uint8_t *target, uint64_t room, uint64_t *got, uint64_t *bytes);

// Takes an object of a list; `name` is valid and lives until it returns. Returns false to end the
// list in front of it.
typedef bool (*store_list_taker)(void *context, const char *name, uint64_t bytes);

// Lists objects whose names begin with `prefix` and come behind `after`, in the order of their
// bytes. Both may be "". *more: there are objects that were not taken.
uint32_t store_database_list(struct store_database *database, const char *prefix, const char *after,
                             uint32_t limit, store_list_taker take, void *context, bool *more);

// A passage that a search found.
struct store_hit {
    const char *name;
    uint64_t offset; // in the object
    const uint8_t *text;
    uint32_t length;
};

typedef bool (*store_hit_taker)(void *context, const struct store_hit *hit);

// Finds passages with words of `expression` (store_query_compile), the best first (BM25).
// PORT_STATUS_TOO_LARGE: more of them than a request may look at.
uint32_t store_database_search(struct store_database *database, const char *expression,
                               uint32_t limit, store_hit_taker take, void *context);

// Makes an object, replaces it, or (`append`) adds to one of exactly `offset` bytes; at 0 to none
// as well. PORT_STATUS_EXHAUSTED: over the quota. Durable when it returns, unless the caller began
// a transaction.
uint32_t store_database_put(struct store_database *database, const char *name, const uint8_t *data,
                            uint64_t length, bool append, uint64_t offset);

uint32_t store_database_delete(struct store_database *database, const char *name);

// A transaction around several of these. store_database_end commits if `status` is
// PORT_STATUS_OK, and returns what became of it.
uint32_t store_database_begin(struct store_database *database);
uint32_t store_database_end(struct store_database *database, uint32_t status);

// Checks every page, every row and the index against each other. Slow. Returns 0 or -1.
int store_database_check(struct store_database *database, struct error *err);

// Length of the first passage of `length` bytes (at least 1): where a paragraph, a line or a word
// ends, if that is near enough, and never within a character of UTF-8.
uint32_t store_passage_length(const uint8_t *bytes, uint64_t length);

#endif
