// SPDX-License-Identifier: Apache-2.0
// What the supervisor keeps of a store's "settings", and what the store's program gets of it.
#ifndef BASE_STORE_SETTINGS_H
#define BASE_STORE_SETTINGS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

// The program's settings: it gets the files as descriptors, never their names.
struct store_grant {
    uint64_t quota_bytes; // of all objects' data
    uint64_t max_objects;
    uint32_t writable; // 1: a descriptor of the journal comes behind that of the database
    uint32_t pad;      // 0
};
_Static_assert(sizeof(struct store_grant) == 24, "format");
_Static_assert(offsetof(struct store_grant, writable) == 16, "format");

#define STORE_QUOTA_DEFAULT       (64ull << 20)
#define STORE_QUOTA_MAX           (1ull << 40)
#define STORE_MAX_OBJECTS_DEFAULT 65536u
#define STORE_MAX_OBJECTS_MAX     (1u << 24)

struct store_settings {
    struct store_grant grant;
    char path[PATH_MAX]; // of the database; terminated
};

// Descriptors of a store's program, behind those of every backend process.
enum store_fd {
    STORE_FD_DATABASE,
    STORE_FD_JOURNAL, // only if it is writable
    STORE_FDS,
};

#endif
