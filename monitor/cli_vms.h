// SPDX-License-Identifier: Apache-2.0
// What commands about running VMs share.
#ifndef MONITOR_CLI_VMS_H
#define MONITOR_CLI_VMS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Calls `visit` with the name of each VM that has a control socket in a runtime directory; some of
// them may not run any more.
int cli_vms_each(const char *runtime_dir, void (*visit)(void *context, const char *name),
                 void *context, struct error *err);

// Writes the `length_bytes` bytes behind an answer to standard output, as control_ask left them:
// `answer` with its terminator, `behind` bytes of them after it, the rest still in the socket. On a
// terminal control characters are escaped and a newline follows.
int cli_vms_print_body(int fd, char *answer, size_t size, size_t behind, struct error *err);

#endif
