// SPDX-License-Identifier: Apache-2.0
// guillotine store: the operator's commands on databases of stores.
#include "store_command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "escape.h"
#include "store_request.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define GET_BYTES (1u << 18)

struct options {
    const char *prefix;
    uint32_t limit;
    bool json;
    bool force;
    bool help;
};

struct command {
    const char *name;
    enum store_access access;
    int arguments_min; // behind the database
    int arguments_max;
    int (*run)(struct store_database *database, const struct options *options, char **arguments,
               int count, struct error *err);
};

static int help(void)
{
    printf("Usage: guillotine store import [OPTIONS] DB PATH...\n"
           "       guillotine store list [OPTIONS] DB\n"
           "       guillotine store search [OPTIONS] DB QUERY\n"
           "       guillotine store get DB NAME\n"
           "       guillotine store export [OPTIONS] DB FOLDER|-\n"
           "       guillotine store delete DB NAME...\n"
           "       guillotine store check [--json] DB\n"
           "\n"
           "A store is a database of named objects that a model reads and searches through a\n"
           "port (docs/ports.md). It must not be in use by a VM that may write to it, and for\n"
           "import, delete and check by nobody.\n"
           "  import   files and folders: all of them, or none. DB is made if it is not there\n"
           "  list     names and sizes\n"
           "  search   what a model would find: names, offsets and passages, best first\n"
           "  get      one object, to standard output\n"
           "  export   files below FOLDER, or a tar archive to standard output\n"
           "  delete   objects: all of them, or none\n"
           "  check    undoes what a writer that died left, and reads everything\n"
           "\n"
           "Options:\n"
           "  --prefix P   import: in front of every name; list, export: only such names\n"
           "  --limit N    search: most passages (10)\n"
           "  --force      export: replace files that are there\n"
           "  --json       one object on standard output\n"
           "\n"
           "Examples:\n"
           "  guillotine store import corpus.store docs\n"
           "  guillotine store import --prefix manual/ corpus.store manual.txt\n"
           "  guillotine store list --json corpus.store\n"
           "  guillotine store search corpus.store 'isolation level'\n"
           "  guillotine store export corpus.store - | tar -t\n");
    return EXIT_STATUS_OK;
}

static int complain(const char *text, int status)
{
    char safe[sizeof(((struct error *)0)->text) * ESCAPE_MAX_EXPANSION];
    escape_message(safe, sizeof(safe), text);
    fprintf(stderr, "guillotine: %s\n", safe);
    return status;
}

static int usage(const char *text)
{
    fprintf(stderr, "guillotine store: %s; see guillotine store --help\n", text);
    return EXIT_STATUS_USAGE;
}

struct store_grant store_operator_grant(void)
{
    return (struct store_grant){STORE_QUOTA_MAX, STORE_MAX_OBJECTS_MAX, 0, 0};
}

int store_refuse(uint32_t status, const char *name, struct error *err)
{
    switch (status) {
    case PORT_STATUS_NOT_FOUND:
        return error_set(err, EXIT_STATUS_FAILURE, 0, "%s: no such object", name);
    case PORT_STATUS_EXHAUSTED:
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "%s: no room in the store or on the disk",
                         name);
    case PORT_STATUS_TOO_LARGE:
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "%s: too much work or memory", name);
    case PORT_STATUS_INVALID:
        return error_set(err, EXIT_STATUS_USAGE, 0, "%s: refused", name);
    default:
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s: the store is damaged or cannot be read or written", name);
    }
}

static int run_import(struct store_database *database, const struct options *options,
                      char **arguments, int count, struct error *err)
{
    struct store_import import = {
        .database = database, .prefix = options->prefix, .progress = isatty(STDERR_FILENO)};
    if (store_import_paths(&import, arguments, count, err) < 0)
        return -1;
    printf(options->json ? "{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"skipped\":%" PRIu64 "}\n"
                         : "%" PRIu64 " files, %" PRIu64 " bytes; %" PRIu64 " left out\n",
           import.files, import.bytes, import.skipped);
    return 0;
}

struct listing {
    bool json;
    uint64_t count;
    char last[STORE_NAME_MAX + 1];
};

// Names have no character that JSON or a terminal would mind.
static bool print_object(void *context, const char *name, uint64_t bytes)
{
    struct listing *listing = context;
    if (listing->json)
        printf("%s{\"name\":\"%s\",\"bytes\":%" PRIu64 "}", listing->count ? "," : "", name, bytes);
    else
        printf("%12" PRIu64 " %s\n", bytes, name);
    listing->count++;
    memcpy(listing->last, name, strlen(name) + 1);
    return true;
}

static int run_list(struct store_database *database, const struct options *options,
                    char **arguments, int count, struct error *err)
{
    struct listing listing = {.json = options->json};
    bool more = true;
    (void)arguments;
    (void)count;
    if (options->json)
        printf("{\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"list\":[", database->objects,
               database->bytes);
    while (more) {
        uint32_t status =
            store_database_list(database, options->prefix ? options->prefix : "", listing.last,
                                STORE_LIMIT_MAX, print_object, &listing, &more);
        if (status)
            return store_refuse(status, "list", err);
    }
    if (options->json)
        printf("]}\n");
    return 0;
}

static void print_json_text(const uint8_t *text, size_t length)
{
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\')
            printf("\\%c", text[i]);
        else if (text[i] < ' ')
            printf("\\u%04x", text[i]);
        else
            putchar(text[i]);
    }
    putchar('"');
}

// What is indexed is text; whether it is, the file says.
static bool print_hit(void *context, const struct store_hit *hit)
{
    struct listing *listing = context;
    bool text = store_is_text(hit->text, hit->length);
    if (listing->json) {
        printf("%s{\"name\":\"%s\",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu32 ",\"text\":",
               listing->count ? "," : "", hit->name, hit->offset, hit->length);
        print_json_text(hit->text, text ? hit->length : 0);
        printf("}");
    } else {
        struct escape_terminal state = {0};
        static char shown[(STORE_PASSAGE_MAX + 4) * ESCAPE_MAX_EXPANSION];
        size_t used = escape_terminal_filter(&state, shown, hit->text, hit->length);
        printf("%s %" PRIu64 "\n%.*s\n", hit->name, hit->offset, (int)used, shown);
    }
    listing->count++;
    return true;
}

static int run_search(struct store_database *database, const struct options *options,
                      char **arguments, int count, struct error *err)
{
    static char expression[STORE_EXPRESSION_SIZE];
    struct listing listing = {.json = options->json};
    size_t length = strlen(arguments[0]);
    (void)count;
    uint32_t status =
        store_query_compile((const uint8_t *)arguments[0],
                            length < UINT32_MAX ? (uint32_t)length : UINT32_MAX, expression);
    if (status)
        return error_set(err, EXIT_STATUS_USAGE, 0, "a query has 1 to %u words of UTF-8",
                         STORE_WORDS_MAX);
    if (options->json)
        printf("{\"hits\":[");
    status = store_database_search(database, expression, options->limit, print_hit, &listing);
    if (options->json)
        printf("]}\n");
    return status ? store_refuse(status, "search", err) : 0;
}

static int run_get(struct store_database *database, const struct options *options, char **arguments,
                   int count, struct error *err)
{
    static uint8_t piece[GET_BYTES];
    uint64_t done = 0;
    uint64_t bytes = 1;
    (void)options;
    (void)count;
    while (done < bytes) {
        uint64_t got;
        uint32_t status =
            store_database_read(database, arguments[0], done, piece, sizeof(piece), &got, &bytes);
        if (status)
            return store_refuse(status, arguments[0], err);
        if (got && fwrite(piece, got, 1, stdout) != 1)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "write");
        done += got;
    }
    return 0;
}

static int run_export(struct store_database *database, const struct options *options,
                      char **arguments, int count, struct error *err)
{
    struct store_export export = {
        .database = database, .prefix = options->prefix, .force = options->force};
    bool tar = !strcmp(arguments[0], "-");
    (void)count;
    int result = tar ? store_export_tar(&export, STDOUT_FILENO, err)
                     : store_export_folder(&export, arguments[0], err);
    if (result < 0 || tar)
        return result;
    printf(options->json ? "{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n"
                         : "%" PRIu64 " files, %" PRIu64 " bytes\n",
           export.files, export.bytes);
    return 0;
}

static int run_delete(struct store_database *database, const struct options *options,
                      char **arguments, int count, struct error *err)
{
    uint32_t status = store_database_begin(database);
    int at = 0;
    (void)options;
    for (; at < count && !status; at++)
        status = store_database_delete(database, arguments[at]);
    status = store_database_end(database, status);
    return status ? store_refuse(status, at ? arguments[at - 1] : "delete", err) : 0;
}

static int run_check(struct store_database *database, const struct options *options,
                     char **arguments, int count, struct error *err)
{
    (void)arguments;
    (void)count;
    if (store_database_check(database, err) < 0)
        return -1;
    printf(options->json ? "{\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n"
                         : "%" PRIu64 " objects, %" PRIu64 " bytes\n",
           database->objects, database->bytes);
    return 0;
}

static const struct command commands[] = {
    {"import", STORE_ACCESS_CREATE, 1, INT32_MAX, run_import},
    {"list", STORE_ACCESS_READ, 0, 0, run_list},
    {"search", STORE_ACCESS_READ, 1, 1, run_search},
    {"get", STORE_ACCESS_READ, 1, 1, run_get},
    {"export", STORE_ACCESS_READ, 1, 1, run_export},
    {"delete", STORE_ACCESS_WRITE, 1, INT32_MAX, run_delete},
    {"check", STORE_ACCESS_WRITE, 0, 0, run_check},
};

// Takes the options. Returns 0, or the status to end with.
static int parse(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"prefix", 1, NULL, 'p'}, {"limit", 1, NULL, 'l'}, {"force", 0, NULL, 'f'},
        {"json", 0, NULL, 'j'},   {"help", 0, NULL, 'h'},  {0},
    };
    int option;
    opterr = 0;
    options->limit = STORE_HITS_DEFAULT;
    while ((option = getopt_long(argc, argv, ":h", table, NULL)) >= 0) {
        char *end = NULL;
        unsigned long limit = option == 'l' ? strtoul(optarg, &end, 10) : 1;
        if (option == 'p')
            options->prefix = optarg;
        else if (option == 'f')
            options->force = true;
        else if (option == 'j')
            options->json = true;
        else if (option == 'h')
            options->help = true;
        else if (option != 'l' || *end || limit < 1 || limit > STORE_LIMIT_MAX)
            return usage("bad option");
        if (option == 'l')
            options->limit = (uint32_t)limit;
    }
    return 0;
}

static int run(const struct command *command, const struct options *options, char **arguments,
               int count)
{
    static struct store_database database;
    const struct store_grant grant = store_operator_grant();
    struct error err = {0};
    cleanup_store_files struct store_files files = STORE_FILES_NONE;
    if (store_files_open(arguments[0], command->access, &files, &err) < 0 ||
        store_database_open(&database, &files, &grant, &err) < 0)
        return complain(err.text, (int)err.status);
    int result = command->run(&database, options, arguments + 1, count - 1, &err);
    store_database_close(&database);
    if (fflush(stdout) && result == 0)
        result = error_set(&err, EXIT_STATUS_FAILURE, errno, "write");
    return result < 0 ? complain(err.text, (int)err.status) : EXIT_STATUS_OK;
}

int store_command(int argc, char **argv)
{
    struct options options = {0};
    int status = parse(argc, argv, &options);
    if (status)
        return status;
    if (options.help)
        return help();
    for (size_t i = 0; argc > optind && i < COUNT(commands); i++) {
        const struct command *command = &commands[i];
        int count = argc - optind - 1; // with the database
        if (strcmp(argv[optind], command->name) != 0)
            continue;
        if (count < 1 + command->arguments_min || count - 1 > command->arguments_max)
            return usage("the command has other arguments");
        return run(command, &options, argv + optind + 1, count);
    }
    return usage(argc > optind ? "unknown command" : "a command is missing");
}
