// SPDX-License-Identifier: Apache-2.0
// Rules of a queue that its driver can break. They stand in audit records.
#ifndef BASE_QUEUE_RULE_H
#define BASE_QUEUE_RULE_H

// Rules that a chain can break. Stable numbers: they stand in audit logs.
enum queue_rule {
    QUEUE_RULE_NONE = 0,
    QUEUE_RULE_INDEX_JUMP = 1,       // available index moved by more than the queue's size
    QUEUE_RULE_HEAD_RANGE = 2,       // head is not a descriptor of the table
    QUEUE_RULE_HEAD_IN_FLIGHT = 3,   // head was made available twice before it was used
    QUEUE_RULE_NEXT_RANGE = 4,       // next is not a descriptor of the table
    QUEUE_RULE_CHAIN_LENGTH = 5,     // more descriptors than the queue's size: a loop
    QUEUE_RULE_FLAGS = 6,            // unknown or unsupported flag
    QUEUE_RULE_ORDER = 7,            // readable descriptor after a writable one
    QUEUE_RULE_EMPTY = 8,            // descriptor of length 0
    QUEUE_RULE_ADDRESS = 9,          // buffer outside the I/O region, or wrapping
    QUEUE_RULE_TOTAL_LENGTH = 10,    // chain longer than 2^32 bytes (virtio 1.2, 2.7.4)
    QUEUE_RULE_REQUEST_HEADER = 11,  // no room for the header, or its length is not the chain's
    QUEUE_RULE_REPLY_HEADER = 12,    // no room for the reply header
    QUEUE_RULE_RESERVED = 13,        // reserved field of the request header is not 0
    QUEUE_RULE_SEGMENTS = 14,        // more descriptors in one chain than the fabric takes
    QUEUE_RULE_INDIRECT_LENGTH = 15, // table empty, not of whole descriptors, or too long (2.7.5.3)
    QUEUE_RULE_INDIRECT_CHAIN = 16,  // INDIRECT together with NEXT, or inside a table
    QUEUE_RULE_INDIRECT_TABLE = 17,  // table outside the I/O region
    QUEUE_RULE_AREA = 18,            // a virtio device's queue lies outside memory, or unaligned
    QUEUE_RULE_DEVICE_HEADER = 19,   // a chain is none of the virtio device's requests
};

// "index-jump" ... ; "unknown" for anything else.
const char *queue_rule_name(unsigned rule);

#endif
