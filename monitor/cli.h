// SPDX-License-Identifier: Apache-2.0
// The commands of `guillotine`: one file each, one row in the table of main.c.
#ifndef MONITOR_CLI_H
#define MONITOR_CLI_H

#include "error.h"

// Every command gets its own arguments (argv[0] is its name) and returns the exit status.
int cli_run(int argc, char **argv);
int cli_serve(int argc, char **argv);
int cli_model(int argc, char **argv);
int cli_ask(int argc, char **argv);
int cli_ps(int argc, char **argv);
int cli_kill(int argc, char **argv);
int cli_approvals(int argc, char **argv);
int cli_approve(int argc, char **argv);
int cli_detector(int argc, char **argv);
int cli_isolate(int argc, char **argv);
int cli_quorum(int argc, char **argv);
int cli_heartbeat(int argc, char **argv);
int cli_policy(int argc, char **argv);
int cli_ports(int argc, char **argv);
int cli_message(int argc, char **argv);
int cli_audit(int argc, char **argv);
int cli_forensics(int argc, char **argv);
int cli_weights(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_register(int argc, char **argv);
int cli_actuator(int argc, char **argv);
int cli_store(int argc, char **argv);
int cli_tool(int argc, char **argv);
int cli_host(int argc, char **argv);
int cli_host_tune(int argc, char **argv); // behind `host`
int cli_bench(int argc, char **argv);

// Becomes the program of that name beside this one, with these arguments. Returns only on failure.
int cli_become(const char *program, char **argv);

// Prints "guillotine: TEXT" as one line of printable characters.
void cli_say(const char *text);

// Prints "guillotine: TEXT" and returns the error's status.
int cli_fail(const struct error *err);

// Prints "guillotine: MESSAGE" with a hint at --help and returns EXIT_STATUS_USAGE.
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
