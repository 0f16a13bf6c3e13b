// SPDX-License-Identifier: Apache-2.0
// guillotine quorum sign, show: what needs the file only, on whatever machine.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli_quorum.h"
#include "clock.h"
#include "escape.h"
#include "hex.h"
#include "whole_file.h"

static bool begins_with(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

int quorum_document_load(const char *path, struct quorum_document *document, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t length;
    if (whole_file_read(path, KEY_SET_MAX, &text, &length, err) < 0)
        return -1;
    // In canonical form the format comes first.
    document->is_order = !begins_with(text, "{\"format\":\"" SIGNED_KEY_SET_FORMAT "\"");
    return document->is_order ? signed_order_parse(path, text, length, &document->order, err)
                              : key_set_file_parse(path, text, length, &document->key_set, err);
}

int quorum_document_store(const char *path, const struct quorum_document *document,
                          struct error *err)
{
    cleanup_free char *text = NULL;
    int result = document->is_order ? signed_order_format(&document->order, &text, err)
                                    : key_set_file_format(&document->key_set, &text, err);
    return result < 0 ? -1 : whole_file_write(path, text, strlen(text), 0644, false, err);
}

int quorum_document_message(const struct quorum_document *document, char **message, size_t *length,
                            struct error *err)
{
    if (!document->is_order)
        return key_set_file_message(&document->key_set, message, length, err);
    *message = malloc(LEVEL_ORDER_MESSAGE_MAX);
    int written = *message ? level_order_message(&document->order.order, *message) : -1;
    if (written < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "order");
    *length = (size_t)written;
    return 0;
}

struct signature_list *quorum_document_signatures(struct quorum_document *document)
{
    return document->is_order ? &document->order.list : &document->key_set.list;
}

// One line of somebody's text: what could move the cursor, or look like another line, is escaped.
static void print_text(const char *label, const char *text)
{
    struct escape_terminal state = {0};
    char safe[LEVEL_ORDER_TEXT_SIZE * ESCAPE_MAX_EXPANSION + 32];
    size_t length = escape_terminal_filter(&state, safe, text, strlen(text));
    length += escape_terminal_finish(&state, safe + length);
    for (size_t i = 0; i < length; i++) {
        if (safe[i] == '\n' || safe[i] == '\t')
            safe[i] = ' ';
    }
    printf("  %s: %.*s\n", label, (int)length, safe);
}

static void print_time(const char *label, uint64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;
    char text[32] = "beyond all calendars";
    if (gmtime_r(&when, &parts))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    printf("  %s: %s\n", label, text);
}

static void print_order(const struct signed_order *document)
{
    const struct level_order *order = &document->order;
    char uuid[UUID_TEXT_SIZE];
    if (order->kind == LEVEL_ORDER_WITHDRAW)
        printf("WITHDRAW the open proposal, and all orders before number %llu\n",
               (unsigned long long)order->sequence);
    else if (order->kind == LEVEL_ORDER_POLICY)
        printf("PUT IN FORCE a policy document, however loose, at level %s\n",
               level_name(order->from));
    else
        printf("%s the isolation level from %s to %s\n",
               order->to < order->from ? "LOWER" : "RAISE", level_name(order->from),
               level_name(order->to));
    if (order->kind == LEVEL_ORDER_POLICY) {
        char digest[2 * sizeof(order->policy) + 1];
        hex_format(digest, order->policy, sizeof(order->policy));
        printf("  SHA-256 of the document: %s\n"
               "  what it loosens: guillotine policy diff RUNNING.json THIS.json\n",
               digest);
    }
    uuid_bytes_format(uuid, order->vm);
    printf("  VM: %s\n", uuid);
    uuid_bytes_format(uuid, order->deployment);
    printf("  deployment: %s\n", uuid);
    print_text("reason", order->reason);
    if (order->repaired)
        print_text("repaired", order->repair);
    printf("  order number: %llu, key set: %llu\n", (unsigned long long)order->sequence,
           (unsigned long long)order->key_set);
    print_time("expires", order->expires_s);
    printf("  signatures: %u\n", document->list.count);
}

static void print_key_set(const struct key_set_file *file)
{
    char text[65];
    printf("KEY SET version %llu%s: %u keys, %u raise, %u lower\n",
           (unsigned long long)file->set.version,
           file->set.demo ? " for DEMONSTRATION (its secrets are not secret)" : "", file->set.keys,
           file->set.raise, file->set.lower);
    uuid_bytes_format(text, file->set.deployment);
    printf("  deployment: %s\n", text);
    for (uint32_t i = 0; i < file->set.keys; i++) {
        hex_format(text, file->set.key[i], 32);
        printf("  key %s: %s\n", file->names[i], text);
    }
    for (uint32_t i = 0; i < file->replica_count; i++) {
        hex_format(text, file->replicas[i], 32);
        printf("  may run several times: weights %s\n", text);
    }
    printf("  signatures: %u\n", file->list.count);
}

void quorum_document_print(const struct quorum_document *document)
{
    if (document->is_order)
        print_order(&document->order);
    else
        print_key_set(&document->key_set);
}

// Asks on the terminal. True for "yes" alone.
static int confirm(const struct quorum_key *key, struct error *err)
{
    char line[16] = "";
    cleanup_fd int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "no terminal to ask on: say --yes if it is what you want to sign");
    fflush(stdout);
    dprintf(fd, "Sign this as %s%s? Type yes: ", key->name, key->demo ? " (DEMONSTRATION)" : "");
    ssize_t length = read(fd, line, sizeof(line) - 1);
    return length > 0 && !strcmp(line, "yes\n")
               ? 0
               : error_set(err, EXIT_STATUS_FAILURE, 0, "not signed");
}

static int sign_file(const char *path, const struct quorum_key *key,
                     const struct quorum_options *options, struct error *err)
{
    static struct quorum_document document; // large
    cleanup_free char *message = NULL;
    size_t length;
    if (quorum_document_load(path, &document, err) < 0)
        return -1;
    struct signature_list *list = quorum_document_signatures(&document);
    uint32_t most = document.is_order ? LEVEL_ORDER_MAX_SIGNATURES : SIGNATURE_LIST_MAX;
    if (!options->yes || !options->json)
        quorum_document_print(&document);
    if (document.is_order &&
        document.order.order.expires_s <= clock_wall_ns(&clock_host) / NS_PER_S)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "%s: the order has expired", path);
    for (uint32_t i = 0; i < list->count; i++) {
        if (!memcmp(list->signatures[i].key, key->public, 32))
            return error_set(err, EXIT_STATUS_FAILURE, 0, "%s: key %s has signed it already", path,
                             key->name);
    }
    if (list->count == most)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "%s has %u signatures already", path, most);
    if (quorum_document_message(&document, &message, &length, err) < 0 ||
        (!options->yes && confirm(key, err) < 0))
        return -1;
    quorum_key_sign(key, message, length, &list->signatures[list->count++]);
    return quorum_document_store(path, &document, err);
}

int quorum_sign(const struct quorum_options *options, struct error *err)
{
    struct quorum_key key;
    int result = 0;
    if (!options->key)
        return error_set(err, EXIT_STATUS_USAGE, 0, "sign: give the --key to sign with");
    if (quorum_key_load(options->key, &options->passphrase, &key, err) < 0)
        return -1;
    for (int i = 0; i < options->argument_count && result == 0; i++)
        result = sign_file(options->arguments[i], &key, options, err);
    quorum_key_clear(&key);
    return result;
}

int quorum_show(const struct quorum_options *options, struct error *err)
{
    static struct quorum_document document;
    cleanup_free char *message = NULL;
    size_t length;
    if (quorum_document_load(options->arguments[0], &document, err) < 0)
        return -1;
    if (!options->message) {
        quorum_document_print(&document);
        return 0;
    }
    if (quorum_document_message(&document, &message, &length, err) < 0)
        return -1;
    return fwrite(message, 1, length, stdout) == length
               ? 0
               : error_set(err, EXIT_STATUS_FAILURE, errno, "standard output");
}
