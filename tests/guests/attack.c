// SPDX-License-Identifier: Apache-2.0
// Picks one attack by name.
#include "attack.h"

#include <string.h>

int attack_main(int argc, char **argv, const struct attack *attacks, size_t count)
{
    if (argc < 2)
        return ATTACK_UNKNOWN;
    bool list = !strcmp(argv[1], "list");
    for (size_t i = 0; i < count; i++) {
        if (list)
            cell_print(attacks[i].name);
        else if (!strcmp(argv[1], attacks[i].name))
            return attacks[i].run();
    }
    return list ? ATTACK_DEFENDED : ATTACK_UNKNOWN;
}
