// SPDX-License-Identifier: Apache-2.0
// The database of a store: written.
//
// A passage is indexed with the very bytes that it has, and taken out of the index with the same:
// an index without the text of its own has no other way to know them.
#include <sqlite3.h>
#include <string.h>

#include "store_database_internal.h"
#include "store_request.h"

// A passage as the database has it.
struct passage {
    uint64_t id;
    uint64_t at;
    uint64_t indexed;
    uint32_t length;
    uint8_t data[STORE_PASSAGE_MAX];
};

static uint32_t step_once(struct store_database *database, enum store_statement number)
{
    sqlite3_stmt *statement = database->statements[number];
    return store_finish(statement, sqlite3_step(statement));
}

uint32_t store_database_begin(struct store_database *database)
{
    store_bound_work(database, true);
    store_start(database, STORE_SQL_BEGIN);
    uint32_t status = step_once(database, STORE_SQL_BEGIN);
    database->more_objects = database->more_bytes = 0;
    database->in_transaction = status == PORT_STATUS_OK;
    return status;
}

uint32_t store_database_end(struct store_database *database, uint32_t status)
{
    database->in_transaction = false;
    store_bound_work(database, true); // what is begun has to end
    if (!status) {
        store_start(database, STORE_SQL_COMMIT);
        status = step_once(database, STORE_SQL_COMMIT);
    }
    if (!status) {
        database->objects += (uint64_t)database->more_objects;
        database->bytes += (uint64_t)database->more_bytes;
        return status;
    }
    // Some failures have rolled back already.
    store_start(database, STORE_SQL_ROLLBACK);
    step_once(database, STORE_SQL_ROLLBACK);
    return status;
}

static bool has_room(const struct store_database *database, uint64_t more_objects,
                     uint64_t more_bytes)
{
    // Neither can overflow: both are below 2^63 on either side.
    uint64_t objects = database->objects + (uint64_t)database->more_objects;
    uint64_t bytes = database->bytes + (uint64_t)database->more_bytes;
    return objects + more_objects <= database->grant.max_objects &&
           more_bytes <= STORE_OBJECT_MAX && bytes + more_bytes <= database->grant.quota_bytes;
}

static uint32_t change_index(struct store_database *database, enum store_statement number,
                             uint64_t id, const uint8_t *data, uint32_t length)
{
    sqlite3_stmt *statement = store_start(database, number);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    sqlite3_bind_blob(statement, 2, data, (int)length, SQLITE_STATIC);
    return step_once(database, number);
}

static uint32_t add_passage(struct store_database *database, uint64_t object, uint64_t at,
                            const uint8_t *data, uint32_t length)
{
    bool indexed = store_is_text(data, length);
    sqlite3_stmt *statement = store_start(database, STORE_SQL_ADD_PASSAGE);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)object);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)at);
    sqlite3_bind_int64(statement, 3, indexed);
    sqlite3_bind_blob(statement, 4, data, (int)length, SQLITE_STATIC);
    uint32_t status = step_once(database, STORE_SQL_ADD_PASSAGE);
    if (status || !indexed)
        return status;
    return change_index(database, STORE_SQL_INDEX,
                        (uint64_t)sqlite3_last_insert_rowid(database->handle), data, length);
}

// Copies the last passage of an object. *there: it has one.
static uint32_t find_last(struct store_database *database, uint64_t object, struct passage *passage,
                          bool *there)
{
    sqlite3_stmt *statement = store_start(database, STORE_SQL_LAST);
    const uint8_t *data;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)object);
    int result = sqlite3_step(statement);
    *there = result == SQLITE_ROW;
    bool sound = !*there || (store_take_integer(statement, 0, INT64_MAX, &passage->id) &&
                             store_take_integer(statement, 1, STORE_OBJECT_MAX, &passage->at) &&
                             store_take_integer(statement, 2, 1, &passage->indexed) &&
                             store_take_passage(statement, 3, &data, &passage->length));
    if (*there && sound)
        memcpy(passage->data, data, passage->length);
    uint32_t status = store_finish(statement, result);
    return status || sound ? status : PORT_STATUS_FAILED;
}

static uint32_t drop_passage(struct store_database *database, const struct passage *passage)
{
    uint32_t status = PORT_STATUS_OK;
    if (passage->indexed)
        status =
            change_index(database, STORE_SQL_UNINDEX, passage->id, passage->data, passage->length);
    if (status)
        return status;
    sqlite3_stmt *statement = store_start(database, STORE_SQL_DROP_PASSAGE);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)passage->id);
    return step_once(database, STORE_SQL_DROP_PASSAGE);
}

static uint32_t drop_passages(struct store_database *database, uint64_t object)
{
    struct passage passage;
    for (;;) {
        bool there;
        uint32_t status = find_last(database, object, &passage, &there);
        if (status || !there)
            return status;
        status = drop_passage(database, &passage);
        if (status)
            return status;
    }
}

static uint32_t set_bytes(struct store_database *database, uint64_t object, uint64_t bytes)
{
    sqlite3_stmt *statement = store_start(database, STORE_SQL_RESIZE);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)object);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)bytes);
    return step_once(database, STORE_SQL_RESIZE);
}

static uint32_t add_object(struct store_database *database, const char *name, uint64_t *object)
{
    sqlite3_stmt *statement = store_start(database, STORE_SQL_ADD_OBJECT);
    store_bind_text(statement, 1, name, strlen(name));
    uint32_t status = step_once(database, STORE_SQL_ADD_OBJECT);
    *object = (uint64_t)sqlite3_last_insert_rowid(database->handle);
    return status;
}

// Adds data at `at`, where an object ends. The last passage goes on in it: what was cut by the end
// of a request is not cut for ever.
static uint32_t append(struct store_database *database, uint64_t object, uint64_t at,
                       const uint8_t *data, uint64_t length)
{
    uint8_t seam[2 * STORE_PASSAGE_MAX];
    struct passage last = {0};
    uint64_t done = 0;
    bool there = false;
    uint32_t status = at ? find_last(database, object, &last, &there) : PORT_STATUS_OK;
    if (!status && there && last.at + last.length != at)
        status = PORT_STATUS_FAILED; // the file says two things
    if (!status && there)
        status = drop_passage(database, &last);
    uint32_t held = there ? last.length : 0; // of the old passage, at the start of the seam
    memcpy(seam, last.data, held);
    while (!status && held) {
        uint64_t left = length - done;
        uint32_t part = left < STORE_PASSAGE_MAX ? (uint32_t)left : STORE_PASSAGE_MAX;
        if (part)
            memcpy(seam + held, data + done, part);
        uint32_t cut = store_passage_length(seam, held + part);
        status = add_passage(database, object, at + done - held, seam, cut);
        uint32_t used = cut < held ? cut : held;
        memmove(seam, seam + used, held - used);
        held -= used;
        done += cut - used;
    }
    while (!status && done < length) {
        uint32_t part = store_passage_length(data + done, length - done);
        status = add_passage(database, object, at + done, data + done, part);
        done += part;
    }
    return status;
}

static uint32_t put(struct store_database *database, const char *name, const uint8_t *data,
                    uint64_t length, bool appends, uint64_t offset)
{
    uint64_t object = 0;
    uint64_t bytes = 0;
    uint32_t status = store_find(database, name, &object, &bytes);
    bool there = status == PORT_STATUS_OK;
    if (status && status != PORT_STATUS_NOT_FOUND)
        return status;
    if (appends && offset != bytes)
        return there ? PORT_STATUS_INVALID : PORT_STATUS_NOT_FOUND;
    uint64_t old = there && !appends ? bytes : 0;
    database->more_bytes -= (int64_t)old;
    if (!has_room(database, !there, length) || bytes - old + length > STORE_OBJECT_MAX)
        return PORT_STATUS_EXHAUSTED;
    database->more_bytes += (int64_t)length;
    database->more_objects += !there;
    status = there ? PORT_STATUS_OK : add_object(database, name, &object);
    if (!status && there && !appends)
        status = drop_passages(database, object);
    if (!status)
        status = append(database, object, bytes - old, data, length);
    return status ? status : set_bytes(database, object, bytes - old + length);
}

uint32_t store_database_put(struct store_database *database, const char *name, const uint8_t *data,
                            uint64_t length, bool append_to, uint64_t offset)
{
    bool own = !database->in_transaction;
    uint32_t status = own ? store_database_begin(database) : PORT_STATUS_OK;
    if (!status) {
        store_bound_work(database, true);
        status = put(database, name, data, length, append_to, offset);
        if (own)
            status = store_database_end(database, status);
    }
    return status;
}

static uint32_t drop(struct store_database *database, const char *name)
{
    uint64_t object;
    uint64_t bytes;
    uint32_t status = store_find(database, name, &object, &bytes);
    if (!status)
        status = drop_passages(database, object);
    if (status)
        return status;
    database->more_objects--;
    database->more_bytes -= (int64_t)bytes;
    sqlite3_stmt *statement = store_start(database, STORE_SQL_DROP_OBJECT);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)object);
    return step_once(database, STORE_SQL_DROP_OBJECT);
}

uint32_t store_database_delete(struct store_database *database, const char *name)
{
    bool own = !database->in_transaction;
    uint32_t status = own ? store_database_begin(database) : PORT_STATUS_OK;
    if (!status) {
        store_bound_work(database, true);
        status = drop(database, name);
        if (own)
            status = store_database_end(database, status);
    }
    return status;
}
