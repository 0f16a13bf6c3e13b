// SPDX-License-Identifier: Apache-2.0
// Requests of the model that a rule holds until somebody approves them.
#include "approvals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hex.h"

#define ID_FORMAT     "guillotine-approval/1"
#define ID_DIGITS_MIN 32u

static struct approval *find(struct approvals *approvals, unsigned port, uint64_t request)
{
    for (unsigned i = 0; i < APPROVALS_MAX; i++) {
        struct approval *entry = &approvals->entries[i];
        if (entry->used && entry->port == port && entry->request == request)
            return entry;
    }
    return NULL;
}

static void drop(struct approvals *approvals, struct approval *entry)
{
    if (entry->payload) {
        explicit_bzero(entry->payload, entry->length);
        free(entry->payload);
        approvals->bytes -= entry->length;
    }
    *entry = (struct approval){0};
}

static void finish(const struct approvals *approvals, struct approval *entry)
{
    const struct vmm_port_config *port = &approvals->ports[entry->port];
    struct {
        char format[24];
        uint8_t uuid[16];
        char port[32];
        uint64_t request;
        uint64_t argument;
        uint32_t operation;
        uint32_t length;
    } head = {
        .format = ID_FORMAT,
        .request = entry->request,
        .argument = entry->argument,
        .operation = entry->operation,
        .length = entry->length,
    };
    struct sha256_piece pieces[] = {{&head, sizeof(head)}, {entry->payload, entry->length}};
    memcpy(head.uuid, approvals->uuid, sizeof(head.uuid));
    memcpy(head.port, port->name, sizeof(head.port));
    sha256_pieces(pieces, 2, entry->id);
    entry->complete = true;
}

static void begin(struct approvals *approvals, const struct audit_record *record, uint64_t hold_ns,
                  const char *rule)
{
    struct approval *entry = NULL;
    if (record->port >= approvals->port_count || find(approvals, record->port, record->request))
        return;
    for (unsigned i = 0; i < APPROVALS_MAX && !entry; i++)
        entry = approvals->entries[i].used ? NULL : &approvals->entries[i];
    uint8_t *payload = NULL;
    if (entry && record->length <= APPROVALS_MAX_BYTES - approvals->bytes)
        payload = malloc(record->length ? record->length : 1);
    if (!payload) {
        approvals->missed++;
        return;
    }
    approvals->bytes += record->length;
    *entry = (struct approval){
        .used = true,
        .port = record->port,
        .request = record->request,
        .cookie = record->cookie,
        .argument = record->argument,
        .operation = record->operation,
        .length = record->length,
        .rule = record->rule,
        .deadline_ns = record->now_ns + hold_ns,
        .payload = payload,
    };
    snprintf(entry->rule_name, sizeof(entry->rule_name), "%s", rule ? rule : "?");
    if (!record->length)
        finish(approvals, entry);
}

// A piece of a payload. Pieces come in order; what does not fit is of no request that waits.
static void add_piece(struct approvals *approvals, const struct audit_record *record,
                      const void *data)
{
    struct approval *entry = find(approvals, record->port, record->request);
    if (!entry || entry->complete || !record->length)
        return;
    if (record->argument != entry->have || record->length > entry->length - entry->have) {
        drop(approvals, entry);
        return;
    }
    memcpy(entry->payload + entry->have, data, record->length);
    entry->have += record->length;
    if (entry->have == entry->length)
        finish(approvals, entry);
}

void approvals_observe(struct approvals *approvals, const struct audit_record *record,
                       const void *data, uint64_t hold_ns, const char *rule)
{
    struct approval *entry;
    switch (record->type) {
    case AUDIT_REQUEST:
        if (record->decision == AUDIT_DECISION_HOLD)
            begin(approvals, record, hold_ns, rule);
        break;
    case AUDIT_PAYLOAD:
        if (record->detail == AUDIT_DIRECTION_REQUEST && record->operation == AUDIT_PIECE_FULL)
            add_piece(approvals, record, data);
        break;
    case AUDIT_VERDICT:
    case AUDIT_COMPLETION:
        entry = find(approvals, record->port, record->request);
        if (entry)
            drop(approvals, entry);
        break;
    default:
        break;
    }
}

struct approval *approvals_find(struct approvals *approvals, const char *id, uint64_t now_ns,
                                const char **why)
{
    struct approval *found = NULL;
    size_t digits = strlen(id);
    *why = "no held request has this id: see guillotine approvals";
    if (digits < ID_DIGITS_MIN || digits > 2 * SHA256_BYTES) {
        *why = "an id has 32 to 64 hexadecimal digits";
        return NULL;
    }
    for (unsigned i = 0; i < APPROVALS_MAX; i++) {
        struct approval *entry = &approvals->entries[i];
        char text[2 * SHA256_BYTES + 1];
        if (!entry->complete)
            continue;
        hex_format(text, entry->id, SHA256_BYTES);
        if (strncmp(text, id, digits) != 0)
            continue;
        if (found) {
            *why = "more than one held request begins like this: give all 64 digits";
            return NULL;
        }
        found = entry;
    }
    if (found && found->answered) {
        *why = "this request has been answered: an answer counts once";
        return NULL;
    }
    if (found && now_ns >= found->deadline_ns) {
        *why = "too late: nobody approved it in time, which is a no";
        return NULL;
    }
    return found;
}

void approvals_free(struct approvals *approvals)
{
    for (unsigned i = 0; i < APPROVALS_MAX; i++) {
        if (approvals->entries[i].used)
            drop(approvals, &approvals->entries[i]);
    }
}
