// SPDX-License-Identifier: Apache-2.0
// What a port writes to the log, and what it waits for: payloads, and at Probation the disk.
//
// The reader of the ring looks at the head first, then at the level, and from Probation on consumes
// only what is on the disk. So a record that was shown after the level was seen at Probation is on
// the disk once the reader's index has passed it; of one that was shown before, the index says
// nothing. docs/concurrency.md, tests/spin/durable.pml.
#include "port_internal.h"

void port_audit(struct port *port, const struct slot *slot, enum audit_type type,
                enum audit_decision decision, uint32_t rule, uint64_t now_ns)
{
    const struct port_request *request = &slot->request;
    bool ends = type == AUDIT_COMPLETION;
    struct audit_record record = {
        .type = (uint16_t)type,
        .port = port->index,
        .now_ns = now_ns,
        .request = request->number,
        .cookie = slot->header.cookie,
        .argument = slot->header.argument,
        .operation = slot->header.operation,
        .length = ends ? request->reply_length : request->length,
        .status = ends ? request->status : 0,
        .rule = rule,
        .decision = (uint16_t)decision,
        .level = (uint8_t)level_effective(port->fabric->level_supervisor, port->fabric->level_own),
    };
    audit_stream_append(port->fabric->audit, &record, NULL, 0);
}

// The bytes at `offset` of a payload, as one record.
static void append_piece(struct port *port, const struct slot *slot, const uint8_t *payload,
                         uint32_t total, uint32_t offset, uint32_t length,
                         enum audit_direction direction, enum audit_piece piece)
{
    struct audit_record record = {
        .type = AUDIT_PAYLOAD,
        .port = port->index,
        .now_ns = clock_now_ns(port->fabric->clock),
        .request = slot->request.number,
        .cookie = slot->header.cookie,
        .argument = offset,
        .operation = piece,
        .length = length,
        .status = total,
        .decision = (uint16_t)slot->decision,
        .level = (uint8_t)level_effective(port->fabric->level_supervisor, port->fabric->level_own),
        .detail = direction,
    };
    audit_stream_append(port->fabric->audit, &record, payload + offset, length);
}

static void append_payload(struct port *port, const struct slot *slot,
                           enum audit_direction direction, bool in_full)
{
    bool of_reply = direction == AUDIT_DIRECTION_REPLY;
    const uint8_t *payload = of_reply ? slot->request.reply : slot->request.payload;
    uint32_t total = of_reply ? slot->request.reply_length : port_copied_bytes(slot);
    enum audit_piece piece = in_full || !port->digests_only ? AUDIT_PIECE_FULL : AUDIT_PIECE_DIGEST;
    for (uint32_t offset = 0; offset < total;) {
        uint32_t part = total - offset < AUDIT_PIECE_BYTES ? total - offset : AUDIT_PIECE_BYTES;
        append_piece(port, slot, payload, total, offset, part, direction, piece);
        offset += part;
    }
}

uint64_t port_request_room(const struct port *port, const struct slot *slot, bool strict)
{
    bool logs = strict || port->logs_payloads || port->may_hold;
    uint64_t room = logs ? audit_payload_bytes(port_copied_bytes(slot)) : 0;
    return room + (port->may_hold ? sizeof(struct audit_record) : 0); // of the verdict
}

void port_log_request(struct port *port, struct slot *slot, bool strict)
{
    append_payload(port, slot, AUDIT_DIRECTION_REQUEST,
                   strict || slot->decision == AUDIT_DECISION_HOLD);
    slot->strict = strict;
    slot->durable_at = audit_stream_position(port->fabric->audit);
}

bool port_is_durable(struct port *port, uint64_t position)
{
    if (audit_stream_is_taken(port->fabric->audit, position))
        return true;
    // The earliest of those that are asked for; positions are compared as differences.
    uint64_t end = audit_stream_position(port->fabric->audit);
    if (!port->waits_for_disk || end - position > end - port->disk_position)
        port->disk_position = position;
    port->waits_for_disk = true;
    return false;
}

bool port_request_is_durable(struct port *port, struct slot *slot)
{
    if (!slot->strict) {
        bool is_there = !port_copied_bytes(slot) || (port->logs_payloads && !port->digests_only);
        uint64_t room =
            is_there ? audit_record_bytes(0) : audit_payload_bytes(port_copied_bytes(slot));
        if (!audit_stream_reserve_bytes(port->fabric->audit, room)) {
            port->record_room = room;
            return false;
        }
        if (is_there) // a mark behind the records that are in the ring already
            append_piece(port, slot, slot->request.payload, port_copied_bytes(slot),
                         port_copied_bytes(slot), 0, AUDIT_DIRECTION_REQUEST, AUDIT_PIECE_FULL);
        else
            append_payload(port, slot, AUDIT_DIRECTION_REQUEST, true);
        slot->strict = true;
        slot->durable_at = audit_stream_position(port->fabric->audit);
    }
    return port_is_durable(port, slot->durable_at);
}

bool port_log_reply(struct port *port, struct slot *slot)
{
    uint64_t room = audit_payload_bytes(slot->request.reply_length);
    if (!audit_stream_reserve_bytes(port->fabric->audit, room)) {
        port->reply_room = room;
        return false;
    }
    append_payload(port, slot, AUDIT_DIRECTION_REPLY, false);
    slot->reply_logged = true;
    return true;
}

bool port_seal(struct port *port, struct slot *slot)
{
    bool is_there = slot->reply_logged && !port->digests_only;
    uint64_t room = is_there ? 0 : audit_payload_bytes(slot->request.reply_length);
    // One more: if the gate shuts before the guest has its reply, that is recorded too.
    room += sizeof(struct audit_record);
    if (!audit_stream_reserve_bytes(port->fabric->audit, room)) {
        port->reply_room = room;
        return false;
    }
    if (!is_there)
        append_payload(port, slot, AUDIT_DIRECTION_REPLY, true);
    port_audit(port, slot, AUDIT_COMPLETION, slot->decision, slot->rule,
               clock_now_ns(port->fabric->clock));
    slot->durable_at = audit_stream_position(port->fabric->audit);
    return true;
}
