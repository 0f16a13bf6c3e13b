// SPDX-License-Identifier: Apache-2.0
// What reading and writing of a store's database share. Nobody else includes this.
#ifndef DEVICES_STORE_DATABASE_INTERNAL_H
#define DEVICES_STORE_DATABASE_INTERNAL_H

#include <stddef.h>

#include "store_database.h"

struct sqlite3_stmt;

// The status that stands for a result of SQLite.
uint32_t store_status(int result);

// Bounds the work of the next request.
void store_bound_work(struct store_database *database, bool writes);

// A prepared statement without values, and its end with the result of its last step.
struct sqlite3_stmt *store_start(struct store_database *database, enum store_statement number);
uint32_t store_finish(struct sqlite3_stmt *statement, int result);

// Binds text that outlives the statement's run.
void store_bind_text(struct sqlite3_stmt *statement, int index, const char *text, size_t length);

// Values of a row, which is the file's and may be anything. Return false if it is not what it
// should be.
bool store_take_integer(struct sqlite3_stmt *statement, int column, uint64_t most, uint64_t *value);
bool store_take_passage(struct sqlite3_stmt *statement, int column, const uint8_t **data,
                        uint32_t *length);

// Finds an object.
uint32_t store_find(struct store_database *database, const char *name, uint64_t *id,
                    uint64_t *bytes);

#endif
