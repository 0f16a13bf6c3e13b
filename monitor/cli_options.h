// SPDX-License-Identifier: Apache-2.0
// Options of a command, by a table.
#ifndef MONITOR_CLI_OPTIONS_H
#define MONITOR_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <unistd.h> // optind

// Either a flag, or an option that takes a value. The value points into argv.
struct cli_option {
    const char *name;
    const char **text;
    bool *flag;
};

// Most options of a command.
#define CLI_OPTIONS_MAX 16u

// Takes the options of a command, wherever they stand between its arguments; argv[0] is its name.
// "--help" and "-h" set *help. Afterwards the arguments are argv[optind] and what follows. Returns
// 0, or the status to end with: an unknown option, or a value that is missing.
int cli_options_take(const char *command, int argc, char **argv, const struct cli_option *options,
                     size_t count, bool *help);

#endif
