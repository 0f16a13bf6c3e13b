// SPDX-License-Identifier: Apache-2.0
// Messages for the operator's log, through the port named "log".
#ifndef GUILLOTINE_LOG_H
#define GUILLOTINE_LOG_H

#include <guillotine/cell.h>

// Writes one message of at most LOG_MAX_BYTES; `text` is UTF-8 and need not be terminated. Returns
// 0, a port status (PORT_STATUS_EXHAUSTED once the log is full), or -1 without such a port or if
// the text is too long. 0 says that the message is on its way: a log that becomes full meanwhile
// drops it.
int cell_log_write(enum log_severity severity, const char *text, size_t length);

#endif
