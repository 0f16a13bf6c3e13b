// SPDX-License-Identifier: Apache-2.0
// Where things lie in the memory that the VMM shares with a backend process.
#include <criterion/criterion.h>

#include "backend_protocol.h"
#include "port_abi.h"
#include "support.h"

struct area {
    uint64_t from, bytes, alignment;
};

static void check(const struct vmm_port_config *port)
{
    struct backend_layout layout;
    struct area areas[3 + 2 * VMM_MAX_IN_FLIGHT];
    unsigned count = 0;
    backend_layout_init(&layout, port);
    cr_assert_eq(layout.slots, port->in_flight);
    // A queue of two descriptors for each slot.
    cr_assert_geq(layout.queue_size, 2 * layout.slots);
    cr_assert_eq(layout.queue_size & (layout.queue_size - 1), 0u);
    cr_assert_leq(layout.queue_size, VIRTQ_MAX_SIZE);
    areas[count++] = (struct area){layout.descriptors, layout.queue_size * 16ull, 16};
    areas[count++] = (struct area){layout.available, VIRTQ_AVAILABLE_BYTES(layout.queue_size), 2};
    areas[count++] = (struct area){layout.used, VIRTQ_USED_BYTES(layout.queue_size), 4};
    for (uint32_t i = 0; i < layout.slots; i++) {
        uint64_t slot = layout.buffers + i * layout.stride;
        areas[count++] = (struct area){
            slot, sizeof(struct port_request_header) + (uint64_t)port->max_request_bytes, 8};
        areas[count++] =
            (struct area){slot + layout.reply,
                          sizeof(struct port_reply_header) + (uint64_t)port->max_reply_bytes, 8};
    }
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(areas[i].from % areas[i].alignment, 0u);
        cr_assert_leq(areas[i].from + areas[i].bytes, layout.bytes, "area %u of %u", i, count);
        for (unsigned k = 0; k < i; k++)
            cr_assert(areas[i].from >= areas[k].from + areas[k].bytes ||
                          areas[k].from >= areas[i].from + areas[i].bytes,
                      "areas %u and %u overlap", k, i);
        // What is cleared for another process is not what requests lie in.
        cr_assert(i < 3 ? areas[i].from + areas[i].bytes <= layout.buffers
                        : areas[i].from >= layout.buffers);
    }
    cr_assert_eq(layout.bytes % 4096, 0u);
}

Test(backend_protocol, layout_of_any_grant)
{
    static const uint32_t sizes[] = {0, 1, 23, 24, 40, 41, 4096, PORT_MAX_BYTES};
    struct random random = random_start(67);
    for (uint32_t in_flight = 1; in_flight <= VMM_MAX_IN_FLIGHT; in_flight++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            struct vmm_port_config port = {.in_flight = in_flight,
                                           .max_request_bytes = sizes[i],
                                           .max_reply_bytes = sizes[COUNT(sizes) - 1 - i]};
            check(&port);
        }
    for (int round = 0; round < 5000; round++) {
        struct vmm_port_config port = {
            .in_flight = 1 + random_below(&random, VMM_MAX_IN_FLIGHT),
            .max_request_bytes = random_below(&random, PORT_MAX_BYTES + 1),
            .max_reply_bytes = random_below(&random, PORT_MAX_BYTES + 1),
        };
        check(&port);
    }
}

// Both sides compute it from the same grant: nothing else of the configuration counts.
Test(backend_protocol, layout_follows_from_the_grant)
{
    struct random random = random_start(68);
    struct vmm_port_config a = {.in_flight = 7, .max_request_bytes = 100, .max_reply_bytes = 200};
    struct vmm_port_config b;
    struct backend_layout one, other;
    random_fill(&random, &b, sizeof(b));
    b.in_flight = a.in_flight;
    b.max_request_bytes = a.max_request_bytes;
    b.max_reply_bytes = a.max_reply_bytes;
    memset(&one, 0, sizeof(one));
    memset(&other, 0xff, sizeof(other));
    backend_layout_init(&one, &a);
    backend_layout_init(&other, &b);
    cr_expect_eq(memcmp(&one, &other, sizeof(one)), 0);
}
