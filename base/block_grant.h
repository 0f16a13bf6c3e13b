// SPDX-License-Identifier: Apache-2.0
// What guillotine-block gets of a block port's settings: the disk, as it was when the VM file was
// read.
#ifndef BASE_BLOCK_GRANT_H
#define BASE_BLOCK_GRANT_H

#include <limits.h>
#include <stdint.h>

struct block_grant {
    uint64_t bytes; // whole sectors; the file may be longer
    uint32_t writable;
    uint32_t discards; // blocks that are not needed any more are given back
};

// What a VM file says.
struct block_settings {
    struct block_grant grant;
    char path[PATH_MAX];
};

#endif
