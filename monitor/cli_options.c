// SPDX-License-Identifier: Apache-2.0
// Options of a command, by a table.
#include "cli_options.h"

#include <getopt.h>

#include "cli.h"

int cli_options_take(const char *command, int argc, char **argv, const struct cli_option *options,
                     size_t count, bool *help)
{
    struct option table[CLI_OPTIONS_MAX + 2] = {{"help", 0, NULL, 'h'}};
    int option;
    int index;
    for (size_t i = 0; i < count && i < CLI_OPTIONS_MAX; i++)
        table[i + 1] = (struct option){options[i].name, options[i].text != NULL, NULL, 0};
    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, ":h", table, &index)) >= 0) {
        if (option == 'h')
            *help = true;
        else if (option)
            return cli_usage(command, option == ':' ? "%s needs a value" : "unknown option %s",
                             argv[optind - 1]);
        else if (options[index - 1].text)
            *options[index - 1].text = optarg;
        else
            *options[index - 1].flag = true;
    }
    return 0;
}
