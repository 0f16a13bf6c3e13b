// SPDX-License-Identifier: Apache-2.0
// The slots of a port: free ones, lists in order of arrival, and how long requests took.
#include "port_internal.h"

struct slot *port_take_slot(struct port *port)
{
    struct slot *slot = &port->slots[port->free_slots];
    port->free_slots = slot->next;
    return slot;
}

void port_free_slot(struct port *port, struct slot *slot)
{
    slot->state = SLOT_FREE;
    slot->next = port->free_slots;
    port->free_slots = port_slot_index(port, slot);
}

void port_list_add(struct port *port, struct slot_list *list, struct slot *slot,
                   enum slot_state state)
{
    uint16_t index = port_slot_index(port, slot);
    slot->state = state;
    slot->next = SLOT_NONE;
    if (list->tail == SLOT_NONE)
        list->head = index;
    else
        port->slots[list->tail].next = index;
    list->tail = index;
}

void port_list_remove(struct port *port, struct slot_list *list, uint16_t previous, uint16_t index)
{
    uint16_t next = port->slots[index].next;
    if (previous == SLOT_NONE)
        list->head = next;
    else
        port->slots[previous].next = next;
    if (list->tail == index)
        list->tail = previous;
}

// Eight buckets for each power of two (port_latency_ns reads them).
void port_record_latency(struct port *port, uint64_t ns)
{
    unsigned bucket = (unsigned)ns;
    if (ns >= 8) {
        unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
        bucket = (exponent - 2) * 8 + (unsigned)(ns >> (exponent - 3) & 7);
    }
    if (bucket >= PORT_LATENCY_BUCKETS)
        bucket = PORT_LATENCY_BUCKETS - 1;
    port_count(&port->counters.latency[bucket], 1);
}
