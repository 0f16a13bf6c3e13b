// SPDX-License-Identifier: Apache-2.0
// guillotine bench: hands over to the benchmark program, so that the CLI carries none of it.
#include "cli.h"

int cli_bench(int argc, char **argv)
{
    (void)argc;
    return cli_become("guillotine-bench", argv);
}
