// SPDX-License-Identifier: Apache-2.0
// What the commands share: messages on standard error.
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "escape.h"
#include "paths.h"

void cli_say(const char *text)
{
    char safe[sizeof(((struct error *)0)->text) * ESCAPE_MAX_EXPANSION];
    escape_message(safe, sizeof(safe), text);
    fprintf(stderr, "guillotine: %s\n", safe);
}

int cli_fail(const struct error *err)
{
    cli_say(err->text);
    return (int)err->status;
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "guillotine%s%s: ", command ? " " : "", command ? command : "");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "; see guillotine %s%s--help\n", command ? command : "", command ? " " : "");
    va_end(arguments);
    return EXIT_STATUS_USAGE;
}

int cli_become(const char *program, char **argv)
{
    char path[PATH_MAX];
    struct error err;
    if (paths_sibling(program, path, &err) < 0)
        return cli_fail(&err);
    execv(path, argv);
    error_set(&err, EXIT_STATUS_INTERNAL, errno, "%s", path);
    return cli_fail(&err);
}
