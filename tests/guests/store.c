// SPDX-License-Identifier: Apache-2.0
// A guest that uses the store port named "store" as it is told, and says on the console what came
// of it.
//
//   get NAME                 the whole object, to the console
//   range NAME OFFSET BYTES  a part of it
//   list PREFIX LIMIT        all pages ("-": no prefix): names and sizes, then "pages N"
//   search LIMIT QUERY       the hits, each as "NAME OFFSET BYTES", then the status
//   same NAME COUNT          reads the object COUNT times and compares
//   put NAME TEXT            and the status
//   append NAME OFFSET TEXT
//   delete NAME
//   raw OPERATION ARGUMENT HEX  a payload as it is
//   fill COUNT BYTES         puts COUNT objects "fill/N" of BYTES; says how many were done
//   grow NAME COUNT BYTES    appends COUNT times; says the size
//   load COUNT               puts, reads, searches and deletes for ever (COUNT 0), or COUNT times
//   requests                 how many requests were answered so far
//
// Every word "--" between them ends one command and begins the next. Ends with 0, or 1 if a command
// made no sense.
#include <guillotine/store.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_SIZE (1u << 20)

static struct cell_port port;
static char data[DATA_SIZE];
static char other[DATA_SIZE];
static unsigned requests;

static void say(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    cell_console_write(line, length < (int)sizeof(line) ? (size_t)length : sizeof(line) - 1);
}

static int counted(int status)
{
    requests += status >= 0;
    return status;
}

static size_t room(void)
{
    return port.queue.reply_bytes - 64 < DATA_SIZE ? port.queue.reply_bytes - 64 : DATA_SIZE;
}

// Reads a whole object. Returns the status.
static int read_whole(const char *name, char *to, uint64_t *bytes)
{
    uint64_t done = 0;
    do {
        size_t got = 0;
        size_t part = DATA_SIZE - done < room() ? DATA_SIZE - done : room();
        int status = counted(cell_store_get(&port, name, done, to + done, part, &got, bytes));
        if (status)
            return status;
        if (!got && done < *bytes)
            return -2;
        done += got;
    } while (done < *bytes && done < DATA_SIZE);
    return 0;
}

static void get(const char *name)
{
    uint64_t bytes = 0;
    int status = read_whole(name, data, &bytes);
    if (status)
        say("status %d\n", status);
    else
        cell_console_write(data, bytes);
}

static void range(const char *name, const char *offset, const char *length)
{
    size_t got = 0;
    uint64_t bytes = 0;
    int status = counted(cell_store_get(&port, name, strtoull(offset, NULL, 10), data,
                                        strtoull(length, NULL, 10), &got, &bytes));
    say("status %d, %zu of %llu: ", status, got, (unsigned long long)bytes);
    cell_console_write(data, got);
    say("\n");
}

static void list(const char *prefix, const char *limit)
{
    char after[STORE_NAME_MAX + 1] = "";
    unsigned pages = 0;
    do {
        size_t length = 0;
        struct cell_store_object object;
        int status = counted(cell_store_list(&port, strcmp(prefix, "-") ? prefix : NULL,
                                             *after ? after : NULL, (unsigned)atoi(limit), data,
                                             room(), &length, after));
        if (status) {
            say("status %d\n", status);
            return;
        }
        for (const char *at = data; cell_store_next_object(&at, data + length, &object);)
            say("%s %llu\n", object.name, (unsigned long long)object.bytes);
        pages++;
    } while (*after);
    say("pages %u\n", pages);
}

static void search(const char *limit, const char *query)
{
    size_t length = 0;
    struct cell_store_hit hit;
    int status =
        counted(cell_store_search(&port, query, (unsigned)atoi(limit), data, room(), &length));
    for (const char *at = data; !status && cell_store_next_hit(&at, data + length, &hit);)
        say("%s %llu %llu\n", hit.name, (unsigned long long)hit.offset,
            (unsigned long long)hit.length);
    say("search %d\n", status);
}

static void same(const char *name, const char *count)
{
    uint64_t bytes = 0;
    uint64_t again = 0;
    int status = read_whole(name, data, &bytes);
    for (int i = atoi(count); !status && i > 1; i--) {
        status = read_whole(name, other, &again);
        if (!status && (again != bytes || memcmp(data, other, bytes)))
            status = -3;
    }
    say("same %d\n", status);
}

static void raw(const char *operation, const char *argument, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = strlen(hex) / 2;
    size_t got = 0;
    for (size_t i = 0; i < length; i++)
        data[i] = (char)((strchr(digits, hex[2 * i]) - digits) * 16 +
                         (strchr(digits, hex[2 * i + 1]) - digits));
    int status = counted(cell_port_call(&port, (uint32_t)strtoul(operation, NULL, 10),
                                        (uint32_t)strtoul(argument, NULL, 10), data, length, other,
                                        room(), &got));
    say("raw %d %zu\n", status, got);
}

static void fill(const char *count, const char *bytes)
{
    int done = 0;
    int status = 0;
    memset(data, 'x', DATA_SIZE);
    for (int i = 0; i < atoi(count) && !status; i++) {
        char name[32];
        snprintf(name, sizeof(name), "fill/%d", i);
        status = counted(cell_store_put(&port, name, data, strtoull(bytes, NULL, 10)));
        done += !status;
    }
    say("fill %d, then %d\n", done, status);
}

// Text whose every byte follows from its place.
static void grow(const char *name, const char *count, const char *bytes)
{
    uint64_t size = 0;
    int status = 0;
    size_t part = strtoull(bytes, NULL, 10);
    for (int i = 0; i < atoi(count) && !status; i++) {
        for (size_t k = 0; k < part; k++)
            other[k] = (size + k) % 7 == 6 ? ' ' : (char)('a' + (size + k) % 26);
        status = counted(cell_store_append(&port, name, size, other, part));
        size += status ? 0 : part;
    }
    if (!status)
        status = read_whole(name, data, &size);
    for (uint64_t k = 0; k < size && k < DATA_SIZE && !status; k++) {
        if (data[k] != (k % 7 == 6 ? ' ' : (char)('a' + k % 26)))
            status = -4;
    }
    say("grow %llu, then %d\n", (unsigned long long)size, status);
}

static void load(const char *count)
{
    int most = atoi(count);
    for (int i = 0; !most || i < most; i++) {
        char name[32];
        size_t length = 0;
        int size = snprintf(other, sizeof(other), "load number %d: ", i);
        memset(other + size, 'a' + i % 26, 20000);
        snprintf(name, sizeof(name), "load/%d", i % 50);
        counted(cell_store_put(&port, name, other, (size_t)size + 20000));
        counted(cell_store_get(&port, name, 0, data, 30000, &length, NULL));
        counted(cell_store_search(&port, "load number", 3, data, room(), &length));
        if (i % 3 == 0)
            counted(cell_store_delete(&port, name));
    }
}

static int run(int argc, char **argv)
{
    const char *what = argv[0];
    if (!strcmp(what, "get") && argc == 2)
        get(argv[1]);
    else if (!strcmp(what, "range") && argc == 4)
        range(argv[1], argv[2], argv[3]);
    else if (!strcmp(what, "list") && argc == 3)
        list(argv[1], argv[2]);
    else if (!strcmp(what, "search") && argc == 3)
        search(argv[1], argv[2]);
    else if (!strcmp(what, "same") && argc == 3)
        same(argv[1], argv[2]);
    else if (!strcmp(what, "put") && argc == 3)
        say("put %d\n", counted(cell_store_put(&port, argv[1], argv[2], strlen(argv[2]))));
    else if (!strcmp(what, "append") && argc == 4)
        say("append %d\n", counted(cell_store_append(&port, argv[1], strtoull(argv[2], NULL, 10),
                                                     argv[3], strlen(argv[3]))));
    else if (!strcmp(what, "delete") && argc == 2)
        say("delete %d\n", counted(cell_store_delete(&port, argv[1])));
    else if (!strcmp(what, "raw") && argc == 4)
        raw(argv[1], argv[2], argv[3]);
    else if (!strcmp(what, "fill") && argc == 3)
        fill(argv[1], argv[2]);
    else if (!strcmp(what, "grow") && argc == 4)
        grow(argv[1], argv[2], argv[3]);
    else if (!strcmp(what, "load") && argc == 2)
        load(argv[1]);
    else if (!strcmp(what, "requests") && argc == 1)
        say("requests %u\n", requests);
    else
        return 1;
    return 0;
}

int main(int argc, char **argv)
{
    int status = cell_port_open(&port, "store");
    for (int at = 1; at < argc && !status;) {
        int end = at;
        while (end < argc && strcmp(argv[end], "--"))
            end++;
        status = end > at ? run(end - at, argv + at) : 1;
        at = end + 1;
    }
    return status ? 1 : 0;
}
