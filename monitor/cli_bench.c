// SPDX-License-Identifier: Apache-2.0
// guillotine bench: hands over to the benchmark program, so that the CLI carries none of it.
#include <errno.h>
#include <unistd.h>

#include "cli.h"
#include "paths.h"

int cli_bench(int argc, char **argv)
{
    char path[PATH_MAX];
    struct error err;
    (void)argc;
    if (paths_sibling("guillotine-bench", path, &err) < 0)
        return cli_fail(&err);
    execv(path, argv);
    error_set(&err, EXIT_STATUS_INTERNAL, errno, "%s", path);
    return cli_fail(&err);
}
