// SPDX-License-Identifier: Apache-2.0
// Tells people and scripts how a run ended.
#ifndef MONITOR_RUN_REPORT_H
#define MONITOR_RUN_REPORT_H

#include "supervisor.h"

// Prints one line on standard error if the run did not end by the model's own exit.
void run_report_print(const struct supervisor *supervisor);

// The exit status of `run`: see docs/exit-codes.md.
int run_report_status(const struct supervisor *supervisor);

// Writes the run's result as JSON (guillotine-result/1) to `path`.
int run_report_write(const struct supervisor *supervisor, const char *path, struct error *err);

// Compares the outcome with `run --expect`: "exit:N" or "violation:KIND[,KIND...]". Returns 0 if
// it matches, EXIT_STATUS_FAILURE with a line on standard error if not.
int run_report_expect(const struct supervisor *supervisor, const char *expected);

// Checks the syntax of an --expect value.
int run_report_expect_check(const char *expected, struct error *err);

#endif
