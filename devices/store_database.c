// SPDX-License-Identifier: Apache-2.0
// The database of a store: opened, checked, read.
#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "store_database_internal.h"
#include "store_request.h"
#include "store_vfs.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Steps of SQLite's virtual machine that one request may take, in units of STEPS.
#define STEPS           1000
#define STEPS_MAX       5000
#define STEPS_MAX_WRITE 500000

#define HEAP_MAX    (48 << 20)
#define PASSAGE_MAX "1536"
_Static_assert(STORE_PASSAGE_MAX == 1536, "as in SQL");

#define CACHE_KIB   "8192"
#define PAGE_BYTES  4096u
#define SPARE_BYTES (16ull << 20) // of a database beyond three times its quota

// Texts that may not differ in a byte: what a database has to say of itself.
#define SQL_OBJECT                                                                                 \
    "CREATE TABLE object(id INTEGER PRIMARY KEY,name TEXT NOT NULL UNIQUE,"                        \
    "bytes INTEGER NOT NULL)"
#define SQL_PASSAGE                                                                                \
    "CREATE TABLE passage(id INTEGER PRIMARY KEY,object INTEGER NOT NULL,at INTEGER NOT NULL,"     \
    "indexed INTEGER NOT NULL,data BLOB NOT NULL,UNIQUE(object,at))"
#define SQL_WORD                                                                                   \
    "CREATE VIRTUAL TABLE word USING fts5(text,content='',"                                        \
    "tokenize='porter unicode61 remove_diacritics 2')"

// The schema, ordered by name. The tables of the index are FTS5's.
static const struct {
    const char *name;
    const char *sql; // NULL: an index that SQLite makes
} schema[] = {
    {"object", SQL_OBJECT},
    {"passage", SQL_PASSAGE},
    {"sqlite_autoindex_object_1", NULL},
    {"sqlite_autoindex_passage_1", NULL},
    {"word", SQL_WORD},
    {"word_config", "CREATE TABLE 'word_config'(k PRIMARY KEY, v) WITHOUT ROWID"},
    {"word_data", "CREATE TABLE 'word_data'(id INTEGER PRIMARY KEY, block BLOB)"},
    {"word_docsize", "CREATE TABLE 'word_docsize'(id INTEGER PRIMARY KEY, sz BLOB)"},
    {"word_idx", "CREATE TABLE 'word_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) "
                 "WITHOUT ROWID"},
};

static const char *const statement_texts[STORE_SQL_COUNT] = {
    [STORE_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_SQL_COMMIT] = "COMMIT",
    [STORE_SQL_ROLLBACK] = "ROLLBACK",
    [STORE_SQL_FIND] = "SELECT id,bytes FROM object WHERE name=?1",
    [STORE_SQL_FIRST] = "SELECT max(at) FROM passage WHERE object=?1 AND at<=?2",
    [STORE_SQL_RANGE] = "SELECT at,data FROM passage WHERE object=?1 AND at>=?2 ORDER BY at",
    [STORE_SQL_LIST] = "SELECT name,bytes FROM object WHERE name>=?1 AND name<?2 ORDER BY name",
    // The best ones without their text: a sorter would keep it of every passage that matches.
    [STORE_SQL_SEARCH] = "SELECT rowid FROM word WHERE word MATCH ?1 "
                         "ORDER BY bm25(word),rowid LIMIT ?2",
    [STORE_SQL_PASSAGE] = "SELECT object.name,passage.at,passage.data FROM passage "
                          "JOIN object ON object.id=passage.object WHERE passage.id=?1",
    [STORE_SQL_ADD_OBJECT] = "INSERT INTO object(name,bytes) VALUES(?1,0)",
    [STORE_SQL_RESIZE] = "UPDATE object SET bytes=?2 WHERE id=?1",
    [STORE_SQL_DROP_OBJECT] = "DELETE FROM object WHERE id=?1",
    [STORE_SQL_LAST] = "SELECT id,at,indexed,data FROM passage WHERE object=?1 "
                       "ORDER BY at DESC LIMIT 1",
    [STORE_SQL_ADD_PASSAGE] = "INSERT INTO passage(object,at,indexed,data) VALUES(?1,?2,?3,?4)",
    [STORE_SQL_DROP_PASSAGE] = "DELETE FROM passage WHERE id=?1",
    [STORE_SQL_INDEX] = "INSERT INTO word(rowid,text) VALUES(?1,CAST(?2 AS TEXT))",
    [STORE_SQL_UNINDEX] = "INSERT INTO word(word,rowid,text) "
                          "VALUES('delete',?1,CAST(?2 AS TEXT))",
};

uint32_t store_status(int result)
{
    switch (result & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return PORT_STATUS_OK;
    case SQLITE_INTERRUPT: // of the progress handler
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
        return PORT_STATUS_TOO_LARGE;
    case SQLITE_FULL:
        return PORT_STATUS_EXHAUSTED;
    default:
        return PORT_STATUS_FAILED;
    }
}

static int count_steps(void *context)
{
    struct store_database *database = context;
    return database->steps_left-- == 0;
}

// Work is counted in steps, not in time: what is refused does not depend on the load.
void store_bound_work(struct store_database *database, bool writes)
{
    database->steps_left = writes ? STEPS_MAX_WRITE : database->steps_max;
    sqlite3_progress_handler(database->handle, STEPS, count_steps, database);
}

static int fail(const struct store_database *database, struct error *err, const char *what)
{
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: %s: %s", what,
                     database->handle ? sqlite3_errmsg(database->handle) : "no memory");
}

static int run(struct store_database *database, const char *sql, struct error *err)
{
    return sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : fail(database, err, "cannot be used");
}

// What a hostile database could make SQLite do is switched off.
static int harden(struct store_database *database, struct error *err)
{
    static const struct {
        int option;
        int value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
    };
    static const struct {
        int limit;
        int value;
    } limits[] = {
        {SQLITE_LIMIT_LENGTH, 4 << 20},     {SQLITE_LIMIT_SQL_LENGTH, 8192},
        {SQLITE_LIMIT_COLUMN, 32},          {SQLITE_LIMIT_EXPR_DEPTH, 32},
        {SQLITE_LIMIT_COMPOUND_SELECT, 4},  {SQLITE_LIMIT_VDBE_OP, 10000},
        {SQLITE_LIMIT_FUNCTION_ARG, 16},    {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_VARIABLE_NUMBER, 16}, {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
        {SQLITE_LIMIT_WORKER_THREADS, 0},   {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64},
    };
    for (size_t i = 0; i < COUNT(options); i++) {
        int now = -1;
        if (sqlite3_db_config(database->handle, options[i].option, options[i].value, &now) !=
                SQLITE_OK ||
            now != options[i].value)
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "store: SQLite lacks option %d",
                             options[i].option);
    }
    for (size_t i = 0; i < COUNT(limits); i++)
        sqlite3_limit(database->handle, limits[i].limit, limits[i].value);
    sqlite3_hard_heap_limit64(HEAP_MAX);
    sqlite3_extended_result_codes(database->handle, 1);
    return run(database,
               "PRAGMA trusted_schema=OFF;PRAGMA cell_size_check=ON;PRAGMA mmap_size=0;"
               "PRAGMA temp_store=MEMORY;PRAGMA cache_size=-" CACHE_KIB ";"
               "PRAGMA locking_mode=EXCLUSIVE",
               err);
}

static int make_schema(struct store_database *database, struct error *err)
{
    return run(database,
               "BEGIN;PRAGMA application_id=1196643410;PRAGMA user_version=1;" SQL_OBJECT
               ";" SQL_PASSAGE ";" SQL_WORD ";COMMIT",
               err);
}

// Whether a row of the schema is the expected one.
static bool row_is_expected(sqlite3_stmt *statement, size_t row)
{
    const char *name = (const char *)sqlite3_column_text(statement, 0);
    const char *sql = (const char *)sqlite3_column_text(statement, 1);
    if (row >= COUNT(schema) || !name || strcmp(name, schema[row].name))
        return false;
    return schema[row].sql ? sql && !strcmp(sql, schema[row].sql) : !sql;
}

// Counts the rows of the schema. Returns false if they are not a beginning of the expected ones.
static bool read_schema(struct store_database *database, size_t *rows)
{
    sqlite3_stmt *statement = NULL;
    bool sound =
        sqlite3_prepare_v2(database->handle, "SELECT name,sql FROM sqlite_schema ORDER BY name", -1,
                           &statement, NULL) == SQLITE_OK;
    int result = SQLITE_DONE;
    for (*rows = 0; sound && (result = sqlite3_step(statement)) == SQLITE_ROW; ++*rows)
        sound = row_is_expected(statement, *rows);
    sqlite3_finalize(statement);
    return sound && result == SQLITE_DONE;
}

static bool read_integer(struct store_database *database, const char *sql, uint64_t *value)
{
    sqlite3_stmt *statement = NULL;
    bool sound = sqlite3_prepare_v2(database->handle, sql, -1, &statement, NULL) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_ROW &&
                 sqlite3_column_type(statement, 0) == SQLITE_INTEGER &&
                 sqlite3_column_int64(statement, 0) >= 0;
    if (sound)
        *value = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return sound;
}

static int check_schema(struct store_database *database, struct error *err)
{
    size_t rows;
    uint64_t value;
    if (!read_schema(database, &rows))
        return fail(database, err, "not a store, or damaged");
    if (!rows && database->grant.writable && make_schema(database, err) < 0)
        return -1;
    if ((!rows && !database->grant.writable) || (rows && rows != COUNT(schema)))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: not a store: tables are missing");
    if (!read_integer(database, "PRAGMA user_version", &value) || value != 1)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: of another version");
    // The index's own settings could make FTS5 work without end.
    if (!read_integer(database, "SELECT count(*) FROM word_config", &value) || value != 1 ||
        !read_integer(database, "SELECT v FROM word_config WHERE k='version'", &value) ||
        value != 4)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: the index has strange settings");
    return 0;
}

static int set_journal(struct store_database *database, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    char text[160];
    // The rollback journal is undone or finished whenever the process dies: bytes are in the
    // journal, on the disk, before they change in the database, on the disk.
    bool sound = sqlite3_prepare_v2(database->handle, "PRAGMA journal_mode=PERSIST", -1, &statement,
                                    NULL) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0) &&
                 !strcmp((const char *)sqlite3_column_text(statement, 0), "persist");
    sqlite3_finalize(statement);
    if (!sound)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: no rollback journal");
    uint64_t pages = (3 * database->grant.quota_bytes + SPARE_BYTES) / PAGE_BYTES;
    if (pages > 0xfffffffe)
        pages = 0xfffffffe;
    sqlite3_snprintf(sizeof(text), text,
                     "PRAGMA synchronous=FULL;PRAGMA journal_size_limit=4194304;"
                     "PRAGMA max_page_count=%llu",
                     (unsigned long long)pages);
    return run(database, text, err);
}

static int prepare_statements(struct store_database *database, struct error *err)
{
    for (unsigned i = 0; i < STORE_SQL_COUNT; i++) {
        if (sqlite3_prepare_v3(database->handle, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &database->statements[i], NULL) != SQLITE_OK)
            return fail(database, err, "cannot be used");
    }
    return 0;
}

static int set_up(struct store_database *database, struct error *err)
{
    if (harden(database, err) < 0 || check_schema(database, err) < 0 ||
        (database->grant.writable && set_journal(database, err) < 0) ||
        (!database->grant.writable && run(database, "PRAGMA query_only=ON", err) < 0) ||
        prepare_statements(database, err) < 0)
        return -1;
    store_bound_work(database, true); // as large as it is, it is the operator's
    if (!read_integer(database, "SELECT count(*) FROM object", &database->objects) ||
        !read_integer(database, "SELECT coalesce(sum(bytes),0) FROM object", &database->bytes))
        return fail(database, err, "objects cannot be counted");
    return 0;
}

// A write-ahead log would be a file that nobody gave us (SQLite's file format, 1.3.3).
static int refuse_log(const struct store_files *files, struct error *err)
{
    uint8_t versions[2] = {1, 1};
    if (pread(files->database, versions, sizeof(versions), 18) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "store: cannot be read");
    if (versions[0] != 1 || versions[1] != 1)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "store: not a database with a rollback journal");
    return 0;
}

int store_database_open(struct store_database *database, const struct store_files *files,
                        const struct store_grant *grant, struct error *err)
{
    *database = (struct store_database){.grant = *grant, .steps_max = STEPS_MAX};
    database->grant.writable = files->journal >= 0;
    int flags = files->journal >= 0 ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    if (refuse_log(files, err) < 0 || store_vfs_use(files, err) < 0)
        return -1;
    if (sqlite3_open_v2(STORE_VFS_DATABASE, &database->handle, flags, STORE_VFS_NAME) != SQLITE_OK)
        fail(database, err, "cannot be opened");
    else if (set_up(database, err) == 0)
        return 0;
    store_database_close(database);
    return -1;
}

void store_database_close(struct store_database *database)
{
    for (unsigned i = 0; i < STORE_SQL_COUNT; i++)
        sqlite3_finalize(database->statements[i]);
    sqlite3_close(database->handle);
    *database = (struct store_database){0};
}

sqlite3_stmt *store_start(struct store_database *database, enum store_statement number)
{
    sqlite3_stmt *statement = database->statements[number];
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return statement;
}

uint32_t store_finish(sqlite3_stmt *statement, int result)
{
    // Nothing that a request brought is kept.
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return store_status(result);
}

void store_bind_text(sqlite3_stmt *statement, int index, const char *text, size_t length)
{
    sqlite3_bind_text(statement, index, text, (int)length, SQLITE_STATIC);
}

bool store_take_integer(sqlite3_stmt *statement, int column, uint64_t most, uint64_t *value)
{
    sqlite3_int64 number = sqlite3_column_int64(statement, column);
    *value = (uint64_t)number;
    return sqlite3_column_type(statement, column) == SQLITE_INTEGER && number >= 0 &&
           (uint64_t)number <= most;
}

bool store_take_passage(sqlite3_stmt *statement, int column, const uint8_t **data, uint32_t *length)
{
    *data = sqlite3_column_blob(statement, column);
    *length = (uint32_t)sqlite3_column_bytes(statement, column);
    return sqlite3_column_type(statement, column) == SQLITE_BLOB && *data &&
           *length <= STORE_PASSAGE_MAX;
}

static const char *take_name(sqlite3_stmt *statement, int column)
{
    const char *name = (const char *)sqlite3_column_text(statement, column);
    int length = sqlite3_column_bytes(statement, column);
    return name && store_name_is_valid(name, (size_t)length) ? name : NULL;
}

uint32_t store_find(struct store_database *database, const char *name, uint64_t *id,
                    uint64_t *bytes)
{
    sqlite3_stmt *statement = store_start(database, STORE_SQL_FIND);
    store_bind_text(statement, 1, name, strlen(name));
    int result = sqlite3_step(statement);
    bool sound =
        result != SQLITE_ROW || (store_take_integer(statement, 0, INT64_MAX, id) &&
                                 store_take_integer(statement, 1, STORE_OBJECT_MAX, bytes));
    uint32_t status = store_finish(statement, result);
    if (status)
        return status;
    if (result == SQLITE_DONE)
        return PORT_STATUS_NOT_FOUND;
    return sound ? PORT_STATUS_OK : PORT_STATUS_FAILED;
}

// Copies passages of an object until `end`, from `offset` on, which lies in the one at `first`.
static uint32_t copy_range(struct store_database *database, uint64_t id, uint64_t first,
                           uint64_t offset, uint64_t end, uint8_t *target)
{
    sqlite3_stmt *statement = store_start(database, STORE_SQL_RANGE);
    uint64_t expected = first; // passages follow each other without a gap
    bool sound = true;
    int result = SQLITE_DONE;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)first);
    while (sound && expected < end && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        const uint8_t *data;
        uint32_t length;
        uint64_t at;
        sound = store_take_integer(statement, 0, STORE_OBJECT_MAX, &at) && at == expected &&
                store_take_passage(statement, 1, &data, &length) && at + length > offset;
        if (!sound)
            break;
        uint64_t skipped = at < offset ? offset - at : 0;
        uint64_t part = length - skipped;
        if (part > end - at - skipped)
            part = end - at - skipped;
        memcpy(target + (at + skipped - offset), data + skipped, part);
        expected = at + length;
    }
    uint32_t status = store_finish(statement, result);
    if (status)
        return status;
    return sound && expected >= end ? PORT_STATUS_OK : PORT_STATUS_FAILED;
}

uint32_t store_database_read(struct store_database *database, const char *name, uint64_t offset,
                             uint8_t *target, uint64_t room, uint64_t *got, uint64_t *bytes)
{
    uint64_t id = 0;
    uint64_t first = 0;
    *got = *bytes = 0;
    store_bound_work(database, false);
    uint32_t status = store_find(database, name, &id, bytes);
    if (status || offset >= *bytes || !room)
        return status;
    uint64_t part = *bytes - offset < room ? *bytes - offset : room;
    sqlite3_stmt *statement = store_start(database, STORE_SQL_FIRST);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)offset);
    int result = sqlite3_step(statement);
    bool sound = result == SQLITE_ROW && store_take_integer(statement, 0, offset, &first);
    status = store_finish(statement, result);
    if (!status && !sound)
        status = PORT_STATUS_FAILED;
    if (!status)
        status = copy_range(database, id, first, offset, offset + part, target);
    if (!status)
        *got = part;
    return status;
}

uint32_t store_database_list(struct store_database *database, const char *prefix, const char *after,
                             uint32_t limit, store_list_taker take, void *context, bool *more)
{
    // In the order of bytes: "\x01" stands in front of what can follow in a name, "\x7f" behind.
    char low[STORE_NAME_MAX + 2];
    char high[STORE_NAME_MAX + 2];
    sqlite3_stmt *statement = store_start(database, STORE_SQL_LIST);
    store_bound_work(database, false);
    if (*after && strcmp(after, prefix) >= 0)
        sqlite3_snprintf(sizeof(low), low, "%s\x01", after);
    else
        sqlite3_snprintf(sizeof(low), low, "%s", prefix);
    sqlite3_snprintf(sizeof(high), high, "%s\x7f", prefix);
    store_bind_text(statement, 1, low, strlen(low));
    store_bind_text(statement, 2, high, strlen(high));
    int result;
    uint32_t taken = 0;
    bool sound = true;
    *more = false;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        uint64_t bytes;
        const char *name = take_name(statement, 0);
        sound = name && store_take_integer(statement, 1, STORE_OBJECT_MAX, &bytes);
        if (!sound)
            break;
        *more = taken == limit || !take(context, name, bytes);
        if (*more)
            break;
        taken++;
    }
    uint32_t status = store_finish(statement, result);
    return status || sound ? status : PORT_STATUS_FAILED;
}

// Gives one found passage to its taker. *go_on: it wants more.
static uint32_t give_hit(struct store_database *database, sqlite3_int64 id, store_hit_taker take,
                         void *context, bool *go_on)
{
    sqlite3_stmt *statement = store_start(database, STORE_SQL_PASSAGE);
    struct store_hit hit = {0};
    sqlite3_bind_int64(statement, 1, id);
    int result = sqlite3_step(statement);
    bool sound = result == SQLITE_ROW && (hit.name = take_name(statement, 0)) &&
                 store_take_integer(statement, 1, STORE_OBJECT_MAX, &hit.offset) &&
                 store_take_passage(statement, 2, &hit.text, &hit.length);
    *go_on = sound && take(context, &hit);
    uint32_t status = store_finish(statement, result);
    return status || sound ? status : PORT_STATUS_FAILED;
}

uint32_t store_database_search(struct store_database *database, const char *expression,
                               uint32_t limit, store_hit_taker take, void *context)
{
    sqlite3_int64 ids[STORE_LIMIT_MAX];
    sqlite3_stmt *statement = store_start(database, STORE_SQL_SEARCH);
    uint32_t count = 0;
    bool go_on = true;
    int result = SQLITE_DONE;
    store_bound_work(database, false);
    store_bind_text(statement, 1, expression, strlen(expression));
    sqlite3_bind_int64(statement, 2, limit);
    while (count < STORE_LIMIT_MAX && (result = sqlite3_step(statement)) == SQLITE_ROW)
        ids[count++] = sqlite3_column_int64(statement, 0);
    uint32_t status = store_finish(statement, result);
    for (uint32_t i = 0; i < count && go_on && !status; i++)
        status = give_hit(database, ids[i], take, context, &go_on);
    return status;
}

static bool find_defect(struct store_database *database, const char *sql, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    bool found = sqlite3_prepare_v2(database->handle, sql, -1, &statement, NULL) != SQLITE_OK ||
                 sqlite3_step(statement) != SQLITE_ROW ||
                 strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0;
    if (found)
        error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: damaged: %s",
                  sqlite3_column_text(statement, 0)
                      ? (const char *)sqlite3_column_text(statement, 0)
                      : sqlite3_errmsg(database->handle));
    sqlite3_finalize(statement);
    return found;
}

// For those who only want to know whether a name or a size is refused.
static bool take_any(void *context, const char *name, uint64_t bytes)
{
    (void)context;
    (void)name;
    (void)bytes;
    return true;
}

int store_database_check(struct store_database *database, struct error *err)
{
    bool more;
    if (store_database_list(database, "", "", UINT32_MAX, take_any, NULL, &more))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "store: damaged: names or sizes");
    sqlite3_progress_handler(database->handle, 0, NULL, NULL);
    if (find_defect(database, "PRAGMA integrity_check(1)", err))
        return -1;
    if (find_defect(database,
                    "SELECT CASE WHEN EXISTS(SELECT 1 FROM passage WHERE object NOT IN "
                    "(SELECT id FROM object)) THEN 'a passage of no object' WHEN EXISTS(SELECT 1 "
                    "FROM (SELECT at,lag(at+length(data),1,0) OVER (PARTITION BY object ORDER BY "
                    "at) AS previous,data FROM passage) WHERE at<>previous OR typeof(data)<>'blob' "
                    "OR length(data) NOT BETWEEN 1 AND " PASSAGE_MAX
                    ") THEN 'a passage out of place' WHEN "
                    "EXISTS(SELECT 1 "
                    "FROM object WHERE bytes<>(SELECT coalesce(sum(length(data)),0) FROM passage "
                    "WHERE passage.object=object.id)) THEN 'an object of another size' WHEN "
                    "(SELECT count(*) FROM passage WHERE indexed)<>(SELECT count(*) FROM "
                    "word_docsize) THEN 'an index of other passages' ELSE 'ok' END",
                    err))
        return -1;
    if (!database->grant.writable)
        return 0;
    return run(database, "INSERT INTO word(word) VALUES('integrity-check')", err);
}
