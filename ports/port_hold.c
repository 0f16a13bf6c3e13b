// SPDX-License-Identifier: Apache-2.0
// Requests that a rule holds until somebody approves them.
//
// Who approves sees the request in the audit log's ring; the verdict comes through a small table
// that any thread may fill. No verdict in time means no.
#include "port_internal.h"

void port_hold_begin(struct port *port, struct slot *slot, uint64_t hold_ns, uint64_t now_ns)
{
    slot->verdict = slot->recorded_verdict = 0;
    if (__builtin_add_overflow(now_ns, hold_ns, &slot->held_until_ns))
        slot->held_until_ns = UINT64_MAX;
    port_list_add(port, &port->held, slot, SLOT_HELD);
}

bool port_answer(struct port *port, uint64_t request, bool approved)
{
    for (unsigned i = 0; i < PORT_MAX_IN_FLIGHT; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&port->verdicts[i], &none, request << 1 | approved)) {
            atomic_fetch_add(&port->verdict_count, 1);
            return true;
        }
    }
    return false;
}

void port_hold_take_verdicts(struct port *port)
{
    if (!atomic_load_explicit(&port->verdict_count, memory_order_acquire))
        return;
    for (unsigned i = 0; i < PORT_MAX_IN_FLIGHT; i++) {
        uint64_t verdict = atomic_exchange(&port->verdicts[i], 0);
        if (!verdict)
            continue;
        atomic_fetch_sub(&port->verdict_count, 1);
        for (uint16_t held = port->held.head; held != SLOT_NONE; held = port->slots[held].next) {
            struct slot *slot = &port->slots[held];
            if (slot->request.number == verdict >> 1 && !slot->verdict)
                slot->verdict = verdict & 1 ? AUDIT_VERDICT_APPROVED : AUDIT_VERDICT_REJECTED;
        }
    }
}

static void record(struct port *port, const struct slot *slot, uint64_t now_ns)
{
    struct audit_record entry = {
        .type = AUDIT_VERDICT,
        .port = port->index,
        .now_ns = now_ns,
        .request = slot->request.number,
        .cookie = slot->header.cookie,
        .argument = slot->header.argument,
        .operation = slot->header.operation,
        .length = slot->request.length,
        .rule = slot->rule,
        .decision = (uint16_t)slot->decision,
        .level = (uint8_t)level_effective(port->fabric->level_supervisor, port->fabric->level_own),
        .detail = slot->verdict,
    };
    audit_stream_append(port->fabric->audit, &entry, NULL, 0);
}

uint16_t port_hold_look(struct port *port, struct slot *slot, uint64_t now_ns)
{
    if (slot->recorded_verdict)
        return slot->recorded_verdict;
    // Late is late, also for a verdict that came at the same moment.
    if (now_ns >= slot->held_until_ns)
        slot->verdict = AUDIT_VERDICT_TIMED_OUT;
    if (!slot->verdict)
        return 0;
    bool approved = slot->verdict == AUDIT_VERDICT_APPROVED;
    slot->decision = approved ? AUDIT_DECISION_ALLOW : AUDIT_DECISION_DENY;
    slot->recorded_verdict = slot->verdict;
    record(port, slot, now_ns);
    slot->durable_at = audit_stream_position(port->fabric->audit);
    return slot->verdict;
}

bool port_hold_prepare_sleep(const struct port *port, uint64_t *wake_ns)
{
    // A verdict comes after its request: with none held it is an old one, and no work.
    if (port->held.head != SLOT_NONE && atomic_load(&port->verdict_count))
        return false;
    for (uint16_t i = port->held.head; i != SLOT_NONE; i = port->slots[i].next) {
        if (port->slots[i].held_until_ns < *wake_ns)
            *wake_ns = port->slots[i].held_until_ns;
    }
    return true;
}
