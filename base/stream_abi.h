// SPDX-License-Identifier: Apache-2.0
// Ports over streams: how the processes of a Linux guest reach ports through vsock.
//
// A guest process connects to CID 2, vsock port STREAM_FIRST_PORT + index of the port, and sends
// requests: struct port_request_header, then its payload. Replies come as struct port_reply_header
// and payload, in any order: the cookie says to which request. A stream that breaks these rules, or
// whose port is closed, is reset. At STREAM_TABLE_PORT every connection gets the table of ports,
// and then its end.
#ifndef BASE_STREAM_ABI_H
#define BASE_STREAM_ABI_H

#include <stddef.h>
#include <stdint.h>

#define STREAM_NAME_SIZE 32 // PORT_NAME_SIZE

#define STREAM_FORMAT     "guillotine-st/1"
#define STREAM_HOST_CID   2u
#define STREAM_GUEST_CID  3u
#define STREAM_TABLE_PORT 1023u
#define STREAM_FIRST_PORT 1024u

// Streams of a guest that are open at once.
#define STREAM_MAX 64u

struct stream_table {
    char format[16]; // terminated
    uint32_t count;  // of entries that follow
    uint32_t entry_size;
};
_Static_assert(sizeof(struct stream_table) == 24, "ABI");

struct stream_table_entry {
    char name[STREAM_NAME_SIZE]; // terminated
    uint32_t kind;               // enum port_kind
    uint32_t vsock_port;         // 0: the port has a device of its own
    uint32_t max_request_bytes;
    uint32_t max_reply_bytes;
    uint32_t in_flight; // requests that the port takes at once, of all streams together
    uint32_t pad;
    uint64_t operations; // granted: bit n for operation n
};
_Static_assert(sizeof(struct stream_table_entry) == 64, "ABI");
_Static_assert(offsetof(struct stream_table_entry, operations) == 56, "ABI");

#endif
