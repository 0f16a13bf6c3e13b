// SPDX-License-Identifier: Apache-2.0
// guillotine store: hands over to the program that knows databases.
#include "cli.h"

int cli_store(int argc, char **argv)
{
    (void)argc;
    return cli_become("guillotine-store", argv);
}
