// SPDX-License-Identifier: Apache-2.0
// What the parts of `guillotine audit` share.
#ifndef MONITOR_CLI_AUDIT_H
#define MONITOR_CLI_AUDIT_H

#include "audit_scan.h"

// Prepares to read the log at `path`. The caller closes *folder. Returns 0 or -1.
int cli_audit_open(struct audit_scan *scan, int *folder, const char *path, struct error *err);

// Commands; argv[0] is the command's name. Each returns the exit status.
int cli_audit_verify(int argc, char **argv);
int cli_audit_prove(int argc, char **argv);

#endif
