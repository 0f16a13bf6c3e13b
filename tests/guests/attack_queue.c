// SPDX-License-Identifier: Apache-2.0
// Attacks on a queue: a malformed chain closes the port, an illegal request gets an error.
#include <string.h>

#include "cell_layout.h"
#include "hostile_driver.h"

static struct hostile_driver driver;

// An honest request of a few bytes, for an attack to spoil.
static void prepare(void)
{
    driver_open(&driver);
    driver_fill(&driver, CONSOLE_WRITE, 0, 4);
    memcpy(driver.request + 1, "leak", 4); // must never reach standard output
}

static int expect_closed(void)
{
    return driver_expect_closed(&driver);
}

// The available index

static int index_moved(uint16_t by)
{
    prepare();
    driver.published = (uint16_t)(driver.published + by - 1);
    return expect_closed();
}

static int index_jump(void)
{
    return index_moved(65);
}

static int index_half(void)
{
    return index_moved(0x8000);
}

static int index_back(void)
{
    return index_moved(0xffff);
}

// Heads

static int head(uint16_t number)
{
    prepare();
    driver_publish(&driver, number);
    return expect_closed();
}

static int head_size(void)
{
    return head(64);
}

static int head_huge(void)
{
    return head(0xffff);
}

// The first request stays with the backend, since there is no input; the second has its head.
static int head_in_flight(void)
{
    driver_open(&driver);
    driver_fill(&driver, CONSOLE_READ, 1, 0);
    driver_publish(&driver, 0);
    return expect_closed();
}

// Chains

static int next(uint16_t number)
{
    prepare();
    driver.descriptors[0].next = number;
    return expect_closed();
}

static int next_size(void)
{
    return next(64);
}

static int next_huge(void)
{
    return next(0xffff);
}

static int loop_self(void)
{
    return next(0);
}

static int loop_pair(void)
{
    prepare();
    driver.descriptors[1] = driver.descriptors[0];
    driver.descriptors[1].next = 0;
    return expect_closed();
}

// A chain of `count` readable descriptors of one byte and the reply.
static void make_chain(uint16_t count)
{
    prepare();
    struct virtq_descriptor reply = driver.descriptors[1];
    for (uint16_t i = 0; i < count; i++) {
        driver.descriptors[i] = driver.descriptors[0];
        driver.descriptors[i].length = 1;
        driver.descriptors[i].next = (uint16_t)(i + 1);
    }
    driver.descriptors[count] = reply;
}

static int loop_all(void)
{
    make_chain(63);
    driver.descriptors[63] = driver.descriptors[62];
    driver.descriptors[63].next = 0;
    return expect_closed();
}

static int segments_many(void)
{
    make_chain(16);
    return expect_closed();
}

static int flags(uint16_t value)
{
    prepare();
    driver.descriptors[0].flags |= value;
    return expect_closed();
}

static int flags_unknown(void)
{
    return flags(0x8000);
}

static int flags_reply(void)
{
    prepare();
    driver.descriptors[1].flags |= 8;
    return expect_closed();
}

static int readable_after_writable(void)
{
    prepare();
    struct virtq_descriptor request = driver.descriptors[0];
    driver.descriptors[0] = driver.descriptors[1];
    driver.descriptors[0].flags |= VIRTQ_DESCRIPTOR_NEXT;
    driver.descriptors[0].next = 1;
    driver.descriptors[1] = request;
    driver.descriptors[1].flags = 0;
    return expect_closed();
}

static int empty_request(void)
{
    prepare();
    driver.descriptors[0].length = 0;
    return expect_closed();
}

static int empty_reply(void)
{
    prepare();
    driver.descriptors[1].length = 0;
    return expect_closed();
}

// Makes a descriptor refer to an indirect table.
static void refer(uint16_t descriptor, uint64_t address, uint32_t length)
{
    driver.descriptors[descriptor] = (struct virtq_descriptor){
        .address = address,
        .length = length,
        .flags = VIRTQ_DESCRIPTOR_INDIRECT,
    };
}

// Addresses: X(function, name, address, length), each for the readable side, the writable side and
// an indirect table.
#define IO_END (ATTACK_GPA_IO + cell_boot()->io_bytes)
#define ADDRESSES(X)                                                                               \
    X(zero, "zero", 0, 64)                                                                         \
    X(system, "system", CELL_GPA_SYSTEM, 64)                                                       \
    X(idt, "idt", CELL_GPA_SYSTEM + CELL_SYSTEM_IDT, 64)                                           \
    X(tables, "tables", ATTACK_GPA_TABLES, 64)                                                     \
    X(code, "code", CELL_GPA_CODE, 64)                                                             \
    X(device, "device", CELL_GPA_DEVICE, 64)                                                       \
    X(ram, "ram", CELL_GPA_RAM, 64)                                                                \
    X(before_io, "before-io", ATTACK_GPA_IO - 64, 64)                                              \
    X(across_start, "across-start", ATTACK_GPA_IO - 32, 64)                                        \
    X(across_end, "across-end", IO_END - 32, 64)                                                   \
    X(after_io, "after-io", IO_END, 64)                                                            \
    X(virtual_io, "virtual", CELL_GVA_IO, 64)                                                      \
    X(wrap, "wrap", 0xfffffffffffffff0ull, 64)                                                     \
    X(wrap_to_io, "wrap-into-io", ATTACK_GPA_IO - 0x80000000ull, 0x80000040u)                      \
    X(longest, "longest", ATTACK_GPA_IO, 0xffffffffu)                                              \
    X(sign, "sign", ATTACK_GPA_IO | 1ull << 63, 64)                                                \
    X(high_bits, "high-bits", ATTACK_GPA_IO | 1ull << 40, 64)

#define DEFINE(function, name, where, bytes)                                                       \
    static int read_##function(void)                                                               \
    {                                                                                              \
        prepare();                                                                                 \
        driver.descriptors[0].address = where;                                                     \
        driver.descriptors[0].length = bytes;                                                      \
        return expect_closed();                                                                    \
    }                                                                                              \
    static int write_##function(void)                                                              \
    {                                                                                              \
        prepare();                                                                                 \
        driver.descriptors[1].address = where;                                                     \
        driver.descriptors[1].length = bytes;                                                      \
        return expect_closed();                                                                    \
    }                                                                                              \
    static int table_##function(void)                                                              \
    {                                                                                              \
        prepare();                                                                                 \
        refer(0, where, bytes);                                                                    \
        return expect_closed();                                                                    \
    }
ADDRESSES(DEFINE)

// Payload outside, behind an honest header.
static int payload_outside(void)
{
    prepare();
    driver.descriptors[2] = driver.descriptors[1];
    driver.descriptors[1] = (struct virtq_descriptor){
        .address = CELL_GPA_CODE,
        .length = 4,
        .flags = VIRTQ_DESCRIPTOR_NEXT,
        .next = 2,
    };
    driver.descriptors[0].length = sizeof(*driver.request);
    return expect_closed();
}

// Indirect descriptors

// An honest request in an indirect table, and room for more behind it.
static struct virtq_descriptor *table;

static void prepare_table(void)
{
    prepare();
    table = (struct virtq_descriptor *)(driver.entry->buffers + 1024);
    memcpy(table, driver.descriptors, 2 * sizeof(*table));
    refer(0, driver_physical(table), 2 * sizeof(*table));
}

static int indirect_next(void)
{
    prepare_table();
    driver.descriptors[0].flags |= VIRTQ_DESCRIPTOR_NEXT;
    driver.descriptors[0].next = 1;
    return expect_closed();
}

static int nested(uint64_t address)
{
    table[0] = (struct virtq_descriptor){
        .address = address,
        .length = 2 * sizeof(*table),
        .flags = VIRTQ_DESCRIPTOR_INDIRECT,
    };
    return expect_closed();
}

static int indirect_nested(void)
{
    prepare_table();
    memcpy(table + 2, table, 2 * sizeof(*table));
    return nested(driver_physical(table + 2));
}

static int indirect_itself(void)
{
    prepare_table();
    return nested(driver_physical(table));
}

// The last entry of a table refers to one more.
static int indirect_nested_last(void)
{
    prepare_table();
    memcpy(table + 2, table + 1, sizeof(*table));
    table[1] = (struct virtq_descriptor){
        .address = driver_physical(table + 2),
        .length = sizeof(*table),
        .flags = VIRTQ_DESCRIPTOR_INDIRECT | VIRTQ_DESCRIPTOR_WRITE,
    };
    return expect_closed();
}

// The table is the queue's own, whose first descriptor is the one that refers to it.
static int indirect_queue(void)
{
    prepare_table();
    driver.descriptors[0].address = driver_physical(driver.descriptors);
    return expect_closed();
}

static int table_length(uint32_t length)
{
    prepare_table();
    driver.descriptors[0].length = length;
    return expect_closed();
}

static int indirect_empty(void)
{
    return table_length(0);
}

static int indirect_short(void)
{
    return table_length(15);
}

static int indirect_odd(void)
{
    return table_length(33);
}

static int indirect_long(void)
{
    return table_length(65 * sizeof(*table));
}

static int indirect_huge(void)
{
    return table_length(0xfffffff0);
}

static int entry_next(uint16_t number)
{
    prepare_table();
    table[0].next = number;
    return expect_closed();
}

static int indirect_next_size(void)
{
    return entry_next(2);
}

// A descriptor of the queue, but none of the table.
static int indirect_next_queue(void)
{
    return entry_next(63);
}

static int indirect_next_huge(void)
{
    return entry_next(0xffff);
}

static int indirect_loop_self(void)
{
    return entry_next(0);
}

static int indirect_loop_pair(void)
{
    prepare_table();
    table[1] = table[0];
    table[1].next = 0;
    return expect_closed();
}

static int indirect_segments(void)
{
    prepare_table();
    struct virtq_descriptor reply = table[1];
    for (uint16_t i = 0; i < 16; i++) {
        table[i] = table[0];
        table[i].length = 1;
        table[i].next = (uint16_t)(i + 1);
    }
    table[16] = reply;
    driver.descriptors[0].length = 17 * sizeof(*table);
    return expect_closed();
}

static int indirect_flags(void)
{
    prepare_table();
    table[1].flags |= 0x8000;
    return expect_closed();
}

static int indirect_order(void)
{
    prepare_table();
    struct virtq_descriptor request = table[0];
    table[0] = table[1];
    table[0].flags |= VIRTQ_DESCRIPTOR_NEXT;
    table[0].next = 1;
    table[1] = request;
    table[1].flags = 0;
    return expect_closed();
}

// A table that is to be read behind a reply: its own WRITE flag is no help.
static int indirect_order_table(void)
{
    prepare_table();
    driver.descriptors[0] = table[1];
    driver.descriptors[0].flags |= VIRTQ_DESCRIPTOR_NEXT;
    driver.descriptors[0].next = 1;
    refer(1, driver_physical(table), sizeof(*table));
    driver.descriptors[1].flags |= VIRTQ_DESCRIPTOR_WRITE;
    table[0].flags = 0;
    return expect_closed();
}

static int indirect_entry_empty(void)
{
    prepare_table();
    table[0].length = 0;
    return expect_closed();
}

static int indirect_entry_outside(void)
{
    prepare_table();
    table[0].address = CELL_GPA_CODE;
    return expect_closed();
}

static int indirect_entry_beyond(void)
{
    prepare_table();
    table[1].address = IO_END - 32;
    return expect_closed();
}

// Headers

static int header_short(void)
{
    prepare();
    driver.descriptors[0].length = sizeof(*driver.request) - 1;
    return expect_closed();
}

static int header_missing(void)
{
    prepare();
    driver.descriptors[0] = driver.descriptors[1];
    return expect_closed();
}

static int header_length(uint32_t length)
{
    prepare();
    driver.request->length = length;
    return expect_closed();
}

static int header_length_more(void)
{
    return header_length(5);
}

static int header_length_less(void)
{
    return header_length(3);
}

static int header_length_wrap(void)
{
    return header_length(UINT32_MAX - 19);
}

static int header_flags(void)
{
    prepare();
    driver.request->flags = 1u << 31;
    return expect_closed();
}

static int reply_missing(void)
{
    prepare();
    driver.descriptors[0].flags = 0;
    return expect_closed();
}

static int reply_short(void)
{
    prepare();
    driver.descriptors[1].length = sizeof(*driver.reply) - 1;
    return expect_closed();
}

// Requests that are well formed and not legal: an answer, and the port stays open.

static int refused(uint32_t operation, uint32_t argument, uint32_t length, uint32_t status)
{
    driver_open(&driver);
    driver_fill(&driver, operation, argument, length);
    int result = driver_expect(&driver, status);
    if (result != ATTACK_DEFENDED)
        return result;
    driver_fill(&driver, CONSOLE_WRITE, 0, 0);
    return driver_expect(&driver, PORT_STATUS_OK);
}

static int operation_zero(void)
{
    return refused(0, 0, 0, PORT_STATUS_DENIED);
}

static int operation_unknown(void)
{
    return refused(3, 0, 0, PORT_STATUS_DENIED);
}

static int operation_64(void)
{
    return refused(64 + CONSOLE_WRITE, 0, 0, PORT_STATUS_DENIED);
}

static int operation_huge(void)
{
    return refused(UINT32_MAX, 0, 0, PORT_STATUS_DENIED);
}

static int read_nothing(void)
{
    return refused(CONSOLE_READ, 0, 0, PORT_STATUS_INVALID);
}

static int read_with_payload(void)
{
    return refused(CONSOLE_READ, 1, 8, PORT_STATUS_TOO_LARGE);
}

static int payload_beyond_grant(void)
{
    return refused(CONSOLE_WRITE, 0, CONSOLE_MAX_REQUEST + 1, PORT_STATUS_TOO_LARGE);
}

static int payload_64k(void)
{
    return refused(CONSOLE_WRITE, 0, 0x10000, PORT_STATUS_TOO_LARGE);
}

// A reader that leaves room for the reply's header only.
static int read_no_room(void)
{
    driver_open(&driver);
    driver_fill(&driver, CONSOLE_READ, 16, 0);
    driver.descriptors[1].length = sizeof(*driver.reply);
    return driver_expect(&driver, PORT_STATUS_INVALID);
}

// Odd, but legal: the header in three pieces.
static int header_in_pieces(void)
{
    prepare();
    memcpy(driver.request + 1, "kept", 4);
    static const uint32_t lengths[] = {1, 22, 5};
    uint64_t at = driver.descriptors[0].address;
    driver.descriptors[3] = driver.descriptors[1];
    for (uint16_t i = 0; i < 3; i++) {
        driver.descriptors[i] = (struct virtq_descriptor){
            .address = at,
            .length = lengths[i],
            .flags = VIRTQ_DESCRIPTOR_NEXT,
            .next = (uint16_t)(i + 1),
        };
        at += lengths[i];
    }
    return driver_expect(&driver, PORT_STATUS_OK);
}

// Odd, but legal: indirect tables.

static int indirect_request(void)
{
    prepare_table();
    memcpy(driver.request + 1, "kept", 4);
    return driver_expect(&driver, PORT_STATUS_OK);
}

// The header in a normal descriptor, payload and reply in the table; WRITE means nothing there.
static int indirect_behind(void)
{
    prepare_table();
    memcpy(driver.request + 1, "kept", 4);
    driver.descriptors[0] = table[0];
    driver.descriptors[0].length = sizeof(*driver.request);
    driver.descriptors[0].next = 7;
    refer(7, driver_physical(table), 2 * sizeof(*table));
    driver.descriptors[7].flags |= VIRTQ_DESCRIPTOR_WRITE;
    table[0].address = driver_physical(driver.request + 1);
    table[0].length = 4;
    return driver_expect(&driver, PORT_STATUS_OK);
}

static int indirect_unaligned(void)
{
    prepare_table();
    memcpy(driver.request + 1, "kept", 4);
    memmove((uint8_t *)table + 1, table, 2 * sizeof(*table));
    driver.descriptors[0].address++;
    return driver_expect(&driver, PORT_STATUS_OK);
}

// The reply lands on the table, which was copied.
static int indirect_overlap(void)
{
    prepare_table();
    driver.request->length = 0;
    table[0].length = sizeof(*driver.request);
    table[1].address = driver_physical(table);
    driver.reply = (struct port_reply_header *)table;
    return driver_expect(&driver, PORT_STATUS_OK);
}

// Buffers that overlap each other or the rings: the model hurts itself only.

static int overlap_request(void)
{
    prepare();
    driver.request->length = 0;
    driver.descriptors[0].length = sizeof(*driver.request);
    driver.descriptors[1].address = driver.descriptors[0].address;
    driver.reply = (struct port_reply_header *)driver.request;
    return driver_expect(&driver, PORT_STATUS_OK);
}

static int overlap_descriptors(void)
{
    prepare();
    driver.request->length = 0;
    driver.descriptors[0].length = sizeof(*driver.request);
    driver.descriptors[1].address = driver_physical(driver.descriptors);
    driver.reply = (struct port_reply_header *)driver.descriptors;
    return driver_expect(&driver, PORT_STATUS_OK);
}

// The reply's header lands on the used ring; the fabric then writes its own index there.
static int overlap_used(void)
{
    prepare();
    driver.request->length = 0;
    driver.descriptors[0].length = sizeof(*driver.request);
    driver.descriptors[1].address = driver_physical(driver.used);
    driver_publish(&driver, 0);
    driver_ring(&driver);
    return driver_wait(&driver, 1) ? ATTACK_DEFENDED : ATTACK_SILENT;
}

// The reply's header sets the available index to 0, one back: a jump. No answer after that.
static int overlap_available(void)
{
    prepare();
    driver.request->length = 0;
    driver.descriptors[0].length = sizeof(*driver.request);
    driver.descriptors[1].address = driver_physical(driver.available);
    driver_publish(&driver, 0);
    driver_ring(&driver);
    if (!driver_wait(&driver, 1))
        return ATTACK_SILENT;
    prepare();
    driver.published = 0xfff0;
    return expect_closed();
}

// The published event counts are copies: to scribble on them confuses nobody but the model.
static int overlap_events(void)
{
    driver_open(&driver);
    driver_fill(&driver, CONSOLE_WRITE, 0, 0);
    driver.descriptors[1].address = driver_physical((const void *)cell_boot()->events);
    driver_publish(&driver, 0);
    driver_ring(&driver);
    if (!driver_wait(&driver, 1))
        return ATTACK_SILENT;
    driver_fill(&driver, CONSOLE_WRITE, 0, 0);
    return driver_expect(&driver, PORT_STATUS_OK);
}

// The device's own index is private: to overwrite the used ring changes only what the model reads.
static int used_overwritten(void)
{
    driver_open(&driver);
    memset(driver.used, 0xff, VIRTQ_RING_ENTRIES + 8u * driver.size);
    driver_fill(&driver, CONSOLE_WRITE, 0, 0);
    return driver_expect(&driver, PORT_STATUS_OK);
}

// All entries at once, one descriptor's worth of work each.
static int full_queue(void)
{
    driver_open(&driver);
    for (uint16_t i = 0; i < driver.size / 2; i++) {
        driver_fill(&driver, CONSOLE_WRITE, 0, 0);
        driver.descriptors[2 * i] = driver.descriptors[0];
        driver.descriptors[2 * i].next = (uint16_t)(2 * i + 1);
        driver.descriptors[2 * i + 1] = driver.descriptors[1];
    }
    for (uint16_t i = 0; i < driver.size / 2; i++)
        driver_publish(&driver, (uint16_t)(2 * i));
    driver_ring(&driver);
    return driver_wait(&driver, driver.size / 2) ? ATTACK_DEFENDED : ATTACK_SILENT;
}

#define ROWS(function, name, where, bytes)                                                         \
    {"read-" name, read_##function}, {"write-" name, write_##function},                            \
        {"table-" name, table_##function},

static const struct attack attacks[] = {
    // Indices.
    {"index-jump", index_jump},
    {"index-half", index_half},
    {"index-back", index_back},
    {"head-size", head_size},
    {"head-huge", head_huge},
    {"head-in-flight", head_in_flight}, // standard input open and without data
    {"next-size", next_size},
    {"next-huge", next_huge},
    // Loops and long chains.
    {"loop-self", loop_self},
    {"loop-pair", loop_pair},
    {"loop-all", loop_all},
    {"segments-many", segments_many},
    // Flags, order, lengths.
    {"flags-unknown", flags_unknown},
    {"flags-reply", flags_reply},
    {"readable-after-writable", readable_after_writable},
    {"empty-request", empty_request},
    {"empty-reply", empty_reply},
    {"payload-outside", payload_outside},
    // Indirect tables.
    {"indirect-next", indirect_next},
    {"indirect-nested", indirect_nested},
    {"indirect-nested-last", indirect_nested_last},
    {"indirect-itself", indirect_itself},
    {"indirect-queue", indirect_queue},
    {"indirect-empty", indirect_empty},
    {"indirect-short", indirect_short},
    {"indirect-odd", indirect_odd},
    {"indirect-long", indirect_long},
    {"indirect-huge", indirect_huge},
    {"indirect-next-size", indirect_next_size},
    {"indirect-next-queue", indirect_next_queue},
    {"indirect-next-huge", indirect_next_huge},
    {"indirect-loop-self", indirect_loop_self},
    {"indirect-loop-pair", indirect_loop_pair},
    {"indirect-segments", indirect_segments},
    {"indirect-flags", indirect_flags},
    {"indirect-order", indirect_order},
    {"indirect-order-table", indirect_order_table},
    {"indirect-entry-empty", indirect_entry_empty},
    {"indirect-entry-outside", indirect_entry_outside},
    {"indirect-entry-beyond", indirect_entry_beyond},
    // Headers.
    {"header-short", header_short},
    {"header-missing", header_missing},
    {"header-length-more", header_length_more},
    {"header-length-less", header_length_less},
    {"header-length-wrap", header_length_wrap},
    {"header-flags", header_flags},
    {"reply-missing", reply_missing},
    {"reply-short", reply_short},
    // Well formed and refused.
    {"operation-zero", operation_zero},
    {"operation-unknown", operation_unknown},
    {"operation-64", operation_64},
    {"operation-huge", operation_huge},
    {"read-nothing", read_nothing},
    {"read-with-payload", read_with_payload},
    {"read-no-room", read_no_room},
    {"payload-beyond-grant", payload_beyond_grant},
    {"payload-64k", payload_64k},
    // Odd and harmless.
    {"header-in-pieces", header_in_pieces},
    {"indirect-request", indirect_request},
    {"indirect-behind", indirect_behind},
    {"indirect-unaligned", indirect_unaligned},
    {"indirect-overlap", indirect_overlap},
    {"overlap-request", overlap_request},
    {"overlap-descriptors", overlap_descriptors},
    {"overlap-used", overlap_used},
    {"overlap-available", overlap_available},
    {"overlap-events", overlap_events},
    {"used-overwritten", used_overwritten},
    {"full-queue", full_queue},
    // Buffers that are not in the I/O region.
    ADDRESSES(ROWS)};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
