// SPDX-License-Identifier: Apache-2.0
// Names of isolation levels.
#include "level.h"

const char *level_name(unsigned level)
{
    static const char *const names[LEVEL_COUNT] = {
        "standard", "probation", "severed", "offline", "decapitation", "immolation",
    };
    return level < LEVEL_COUNT ? names[level] : "unknown";
}
