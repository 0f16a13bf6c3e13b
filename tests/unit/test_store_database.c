// SPDX-License-Identifier: Apache-2.0
// The database of a store, against a model of it in memory, and with its process ended at every
// system call that writes.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_database.h"
#include "store_request.h"
#include "support.h"

static struct store_files files;
static struct store_database database;

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t length, off_t offset);
ssize_t __real_pwrite64(int fd, const void *bytes, size_t length, off_t offset);
int __wrap_ftruncate64(int fd, off_t length);
int __real_ftruncate64(int fd, off_t length);

// Calls until the process ends; 0: it does not.
static unsigned calls_left;
static bool torn; // the last call does half of its work

static bool ends_here(void)
{
    return calls_left && --calls_left == 0;
}

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
    if (ends_here()) {
        if (torn)
            __real_pwrite64(fd, bytes, length / 2, offset);
        _exit(9);
    }
    return __real_pwrite64(fd, bytes, length, offset);
}

int __wrap_ftruncate64(int fd, off_t length)
{
    if (ends_here())
        _exit(9);
    return __real_ftruncate64(fd, length);
}

static void open_store(uint64_t quota, uint64_t objects)
{
    const struct store_grant grant = {quota, objects, 1, 0};
    struct error err = {0};
    if (files.database <= 0) {
        files.database = memfd_create("database", MFD_CLOEXEC);
        files.journal = memfd_create("journal", MFD_CLOEXEC);
    }
    cr_assert_eq(store_database_open(&database, &files, &grant, &err), 0, "%s", err.text);
}

static void check_store(void)
{
    struct error err = {0};
    cr_assert_eq(store_database_check(&database, &err), 0, "%s", err.text);
}

static uint32_t put(const char *name, const void *data, size_t length)
{
    return store_database_put(&database, name, data, length, false, 0);
}

// What the store should have.
#define OBJECTS 6u
#define MOST    20000u

static struct {
    bool there;
    size_t length;
    uint8_t data[2 * MOST];
} model[OBJECTS];

static const char *name_of(unsigned object)
{
    static const char *const names[OBJECTS] = {"a", "a-b", "a/b", "a/b/c", "ab", "b"};
    return names[object];
}

static void random_text(struct random *random, uint8_t *data, size_t length)
{
    static const char *const pieces[] = {"word ", "other\n", "\n\n", "\xc3\xa4",
                                         "x",     "\xff",    "the "};
    for (size_t i = 0; i < length;) {
        const char *piece = pieces[random_below(random, COUNT(pieces))];
        for (; *piece && i < length; piece++)
            data[i++] = (uint8_t)*piece;
    }
}

static void expect_object(struct random *random, unsigned object)
{
    static uint8_t got[2 * MOST];
    uint64_t length;
    uint64_t bytes = 0;
    uint64_t offset = random_below(random, model[object].length + 100);
    uint64_t room = random_below(random, sizeof(got));
    uint32_t status =
        store_database_read(&database, name_of(object), offset, got, room, &length, &bytes);
    if (!model[object].there) {
        cr_assert_eq(status, PORT_STATUS_NOT_FOUND);
        return;
    }
    cr_assert_eq(status, PORT_STATUS_OK);
    cr_assert_eq(bytes, model[object].length);
    uint64_t behind = offset < bytes ? bytes - offset : 0;
    cr_assert_eq(length, behind < room ? behind : room);
    cr_assert_eq(memcmp(got, model[object].data + offset, length), 0);
}

// One random change of both.
static void change(struct random *random)
{
    static uint8_t data[MOST];
    unsigned object = (unsigned)random_below(random, OBJECTS);
    size_t length = random_below(random, random_below(random, 2) ? MOST : 900);
    size_t old = model[object].there ? model[object].length : 0;
    random_text(random, data, length);
    switch (random_below(random, 4)) {
    case 0:
        cr_assert_eq(put(name_of(object), data, length), PORT_STATUS_OK);
        model[object].there = true;
        model[object].length = length;
        memcpy(model[object].data, data, length);
        break;
    case 1:
    case 2:
        if (old + length > sizeof(model[0].data))
            break;
        cr_assert_eq(store_database_put(&database, name_of(object), data, length, true, old + 1),
                     model[object].there ? PORT_STATUS_INVALID : PORT_STATUS_NOT_FOUND);
        cr_assert_eq(store_database_put(&database, name_of(object), data, length, true, old),
                     PORT_STATUS_OK);
        model[object].there = true;
        memcpy(model[object].data + old, data, length);
        model[object].length = old + length;
        break;
    default:
        cr_assert_eq(store_database_delete(&database, name_of(object)),
                     model[object].there ? PORT_STATUS_OK : PORT_STATUS_NOT_FOUND);
        model[object].there = false;
        model[object].length = 0;
        break;
    }
}

Test(store_database, agrees_with_a_model)
{
    struct random random = random_start(17);
    open_store(1 << 30, 1000);
    for (unsigned round = 0; round < 3000; round++) {
        change(&random);
        expect_object(&random, (unsigned)random_below(&random, OBJECTS));
        if (round % 300 == 0) {
            uint64_t bytes = 0;
            uint64_t objects = 0;
            for (unsigned i = 0; i < OBJECTS; i++) {
                objects += model[i].there;
                bytes += model[i].length;
            }
            check_store();
            cr_assert_eq(database.objects, objects);
            cr_assert_eq(database.bytes, bytes);
            store_database_close(&database);
            open_store(1 << 30, 1000);
            cr_assert_eq(database.objects, objects);
            cr_assert_eq(database.bytes, bytes);
        }
    }
}

struct names {
    char text[256];
    unsigned room;
};

static bool take_name(void *context, const char *name, uint64_t bytes)
{
    struct names *names = context;
    (void)bytes;
    if (!names->room)
        return false;
    names->room--;
    strcat(strcat(names->text, name), " ");
    return true;
}

Test(store_database, lists_in_the_order_of_bytes)
{
    static const struct {
        const char *prefix, *after, *names;
        uint32_t limit;
        unsigned room;
        bool more;
    } cases[] = {
        {"", "", "a a-b a/b a/b/c ab b ", 10, 10, false},
        {"", "", "a a-b ", 2, 10, true},
        {"", "", "a a-b ", 10, 2, true},
        {"", "", "a a-b a/b a/b/c ab b ", 6, 10, false},
        {"", "a", "a-b a/b a/b/c ab b ", 10, 10, false},
        {"", "a/", "a/b a/b/c ab b ", 10, 10, false},
        {"", "a0", "ab b ", 10, 10, false},
        {"", "b", "", 10, 10, false},
        {"a/", "", "a/b a/b/c ", 10, 10, false},
        {"a/", "a/b", "a/b/c ", 10, 10, false},
        {"a/", "0", "a/b a/b/c ", 10, 10, false},
        {"a/", "z", "", 10, 10, false},
        {"a/b", "", "a/b a/b/c ", 10, 10, false},
        {"c", "", "", 10, 10, false},
    };
    open_store(1 << 20, 10);
    for (unsigned i = 0; i < OBJECTS; i++)
        cr_assert_eq(put(name_of(i), "x", 1), PORT_STATUS_OK);
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct names names = {.room = cases[i].room};
        bool more;
        cr_expect_eq(store_database_list(&database, cases[i].prefix, cases[i].after, cases[i].limit,
                                         take_name, &names, &more),
                     PORT_STATUS_OK);
        cr_expect_str_eq(names.text, cases[i].names, "case %u: %s", i, names.text);
        cr_expect_eq(more, cases[i].more, "case %u", i);
    }
}

static bool count_hit(void *context, const struct store_hit *hit)
{
    unsigned *count = context;
    cr_assert(store_name_is_valid(hit->name, strlen(hit->name)));
    return ++*count < 1000;
}

static uint32_t search(const char *query, unsigned *hits)
{
    static char expression[STORE_EXPRESSION_SIZE];
    *hits = 0;
    cr_assert_eq(store_query_compile((const uint8_t *)query, (uint32_t)strlen(query), expression),
                 PORT_STATUS_OK);
    return store_database_search(&database, expression, 1000, count_hit, hits);
}

// What changes is found as it is, never as it was.
Test(store_database, the_index_follows)
{
    unsigned hits;
    open_store(1 << 20, 10);
    cr_assert_eq(put("a", "alpha beta", 10), PORT_STATUS_OK);
    cr_assert_eq(store_database_put(&database, "a", (const uint8_t *)"gamma", 5, true, 10),
                 PORT_STATUS_OK);
    cr_expect_eq(search("alpha", &hits), PORT_STATUS_OK);
    cr_expect_eq(hits, 1u);
    search("beta", &hits);
    cr_expect_eq(hits, 0u, "it is betagamma now");
    search("betagamma", &hits);
    cr_expect_eq(hits, 1u);
    cr_assert_eq(put("a", "delta\0", 6), PORT_STATUS_OK);
    search("alpha betagamma delta", &hits);
    cr_expect_eq(hits, 0u, "what is no text is not indexed");
    cr_assert_eq(put("a", "delta", 5), PORT_STATUS_OK);
    cr_assert_eq(store_database_delete(&database, "a"), PORT_STATUS_OK);
    search("delta", &hits);
    cr_expect_eq(hits, 0u);
    check_store();
}

// A search that would look at too much ends by counting steps, and the next one starts anew.
Test(store_database, work_is_bounded)
{
    static uint8_t text[1 << 20];
    unsigned hits;
    open_store(1 << 30, 1000);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % STORE_PASSAGE_MIN == STORE_PASSAGE_MIN - 1 ? '\n' : i % 2 ? ' ' : 'a';
    for (size_t i = 1; i < sizeof(text); i += 1000)
        text[i] = text[i - 1] = '\n';
    cr_assert_eq(store_database_begin(&database), PORT_STATUS_OK);
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "o%u", i);
        cr_assert_eq(put(name, text, sizeof(text)), PORT_STATUS_OK);
    }
    cr_assert_eq(put("rare", "needle", 6), PORT_STATUS_OK);
    cr_assert_eq(store_database_end(&database, PORT_STATUS_OK), PORT_STATUS_OK);
    cr_expect_eq(search("a", &hits), PORT_STATUS_OK, "20 MiB are not too much");
    cr_expect_eq(hits, 1000u);
    database.steps_max = 100;
    cr_expect_eq(search("a", &hits), PORT_STATUS_TOO_LARGE);
    cr_expect_eq(hits, 0u);
    for (unsigned i = 0; i < 100; i++) {
        cr_expect_eq(search("needle", &hits), PORT_STATUS_OK);
        cr_expect_eq(hits, 1u);
    }
    cr_expect_eq(search("a", &hits), PORT_STATUS_TOO_LARGE);
}

// Objects of next to nothing cost more than their bytes: the file is bounded by itself.
Test(store_database, the_file_is_bounded)
{
    char name[16];
    uint32_t status = PORT_STATUS_OK;
    unsigned count = 0;
    open_store(1 << 16, 1 << 24);
    cr_assert_eq(store_database_begin(&database), PORT_STATUS_OK);
    for (; !status && count < 1000000; count++) {
        snprintf(name, sizeof(name), "%u", count);
        status = put(name, "", 0);
    }
    cr_expect_eq(status, PORT_STATUS_EXHAUSTED);
    cr_expect_eq(store_database_end(&database, status), PORT_STATUS_EXHAUSTED);
    cr_expect_gt(count, 10000u);
    cr_expect_leq(lseek(files.database, 0, SEEK_END), (17 << 20) + (128 << 10));
    cr_expect_eq(database.objects, 0u, "all of it is undone");
    cr_expect_eq(put("after", "x", 1), PORT_STATUS_OK);
    check_store();
}

Test(store_database, limits_of_a_grant)
{
    open_store(10, 2);
    cr_expect_eq(put("a", "0123456789", 10), PORT_STATUS_OK);
    cr_expect_eq(put("b", "", 0), PORT_STATUS_OK);
    cr_expect_eq(put("c", "", 0), PORT_STATUS_EXHAUSTED);
    cr_expect_eq(put("b", "x", 1), PORT_STATUS_EXHAUSTED);
    cr_expect_eq(put("a", "0123456789x", 11), PORT_STATUS_EXHAUSTED);
    cr_expect_eq(put("a", "0123", 4), PORT_STATUS_OK);
    cr_expect_eq(store_database_put(&database, "a", (const uint8_t *)"456789", 6, true, 4),
                 PORT_STATUS_OK);
    cr_expect_eq(store_database_put(&database, "a", (const uint8_t *)"x", 1, true, 10),
                 PORT_STATUS_EXHAUSTED);
    cr_expect_eq(store_database_delete(&database, "a"), PORT_STATUS_OK);
    cr_expect_eq(put("c", "0123456789", 10), PORT_STATUS_OK);
    cr_expect_eq(database.bytes, 10u);
    check_store();
}

// Copies what is in a file.
static void copy_file(int to, int from)
{
    static uint8_t bytes[4 << 20];
    ssize_t length = pread(from, bytes, sizeof(bytes), 0);
    cr_assert(length >= 0 && length < (ssize_t)sizeof(bytes));
    cr_assert_eq(__real_ftruncate64(to, 0), 0);
    cr_assert_eq(__real_pwrite64(to, bytes, (size_t)length, 0), length);
}

static uint8_t before[30000];
static uint8_t after[25000];

// The change that is interrupted: it touches every table and makes the file larger and smaller.
static uint32_t change_all(void)
{
    uint32_t status = store_database_begin(&database);
    if (!status)
        status = put("changed", after, sizeof(after));
    if (!status)
        status = store_database_delete(&database, "deleted");
    if (!status)
        status = put("new", before, sizeof(before));
    return store_database_end(&database, status);
}

// Returns whether the change is done: all of it or nothing.
static bool is_changed(void)
{
    static uint8_t got[sizeof(before)];
    uint64_t length;
    uint64_t bytes;
    uint32_t status =
        store_database_read(&database, "changed", 0, got, sizeof(got), &length, &bytes);
    cr_assert_eq(status, PORT_STATUS_OK);
    bool changed = bytes == sizeof(after);
    cr_assert_eq(bytes, changed ? sizeof(after) : sizeof(before));
    cr_assert_eq(memcmp(got, changed ? after : before, bytes), 0);
    cr_assert_eq(store_database_read(&database, "deleted", 0, got, 1, &length, &bytes),
                 changed ? PORT_STATUS_NOT_FOUND : PORT_STATUS_OK);
    cr_assert_eq(store_database_read(&database, "new", 0, got, 1, &length, &bytes),
                 changed ? PORT_STATUS_OK : PORT_STATUS_NOT_FOUND);
    return changed;
}

// Ends a process at its n-th call that writes, for all n, whole or in the middle of the bytes.
Test(store_database, ends_anywhere_and_is_sound, .timeout = 120)
{
    struct random random = random_start(23);
    unsigned ended = 0;
    unsigned done = 0;
    random_text(&random, before, sizeof(before));
    random_text(&random, after, sizeof(after));
    open_store(1 << 20, 100);
    cr_assert_eq(put("changed", before, sizeof(before)), PORT_STATUS_OK);
    cr_assert_eq(put("deleted", before, sizeof(before)), PORT_STATUS_OK);
    store_database_close(&database);
    const struct store_files start = {memfd_create("d", 0), memfd_create("j", 0)};
    copy_file(start.database, files.database);
    copy_file(start.journal, files.journal);
    for (unsigned n = 1, status = 9; status == 9; n++) {
        for (torn = false;; torn = true) {
            copy_file(files.database, start.database);
            copy_file(files.journal, start.journal);
            pid_t pid = fork();
            if (pid == 0) {
                calls_left = n;
                open_store(1 << 20, 100);
                _exit(change_all() ? 8 : 0);
            }
            int result;
            cr_assert_eq(waitpid(pid, &result, 0), pid);
            status = (unsigned)WEXITSTATUS(result);
            cr_assert(WIFEXITED(result) && (status == 9 || status == 0));
            open_store(1 << 20, 100);
            check_store();
            bool changed = is_changed();
            if (status == 0)
                cr_assert(changed, "what was reported is there");
            ended += status == 9;
            done += changed;
            store_database_close(&database);
            if (torn || status == 0)
                break;
        }
    }
    cr_expect_gt(ended, 40u);
    cr_expect_geq(done, 1u);
}
