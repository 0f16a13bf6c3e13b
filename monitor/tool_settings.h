// SPDX-License-Identifier: Apache-2.0
// The settings of a tool port as the supervisor keeps them.
#ifndef MONITOR_TOOL_SETTINGS_H
#define MONITOR_TOOL_SETTINGS_H

#include <limits.h>

#include "error.h"
#include "http_settings.h"
#include "tool_grant.h"

#define TOOL_PINS_FORMAT "guillotine-tool-pins/1"
#define TOOL_PINS_MAX    (256u << 10)

struct tool_settings {
    char pins[PATH_MAX];
    struct http_settings http; // of a remote server, whose one rule says where it is
    struct tool_grant grant;   // with its texts behind it; no tool is pinned yet
};

// Makes the grant with the digests of the file of pins. *length is its size; the result is the
// caller's to free. A file that does not exist pins nothing. Returns NULL on failure.
struct tool_grant *tool_settings_pin(const struct tool_settings *settings, size_t *length,
                                     struct error *err);

// Opens what a remote server's program gets beside its grant: fds[*count] and those behind it,
// TOOL_FDS_MAX at most; *count counts them. Nothing for a server that is started. The descriptors
// are the caller's to close, also on failure.
int tool_settings_open(const struct tool_settings *settings, int *fds, unsigned *count,
                       struct error *err);

struct json_object;

// Writes what tools (an array of objects with "name" and "sha256") are pinned with to the file of
// pins, whole or not at all; what it says of other tools stays. Returns 0 or -1.
int tool_settings_write(const struct tool_settings *settings, struct json_object *tools,
                        struct error *err);

#endif
