// SPDX-License-Identifier: Apache-2.0
// The file system that an MCP server sees.
#ifndef DEVICES_TOOL_ROOT_H
#define DEVICES_TOOL_ROOT_H

#include "tool_view.h"

// Makes a new root of the calling process, which has a mount namespace of its own and may mount:
// system files and granted ones, read-only but where it says otherwise, at the places they have on
// the host; empty /tmp and /run; a /dev with five devices; a /proc of the own processes,
// where the host allows it. The old root is gone afterwards. Returns 0 or -1.
int tool_root_enter(const struct tool_grant_view *view, struct error *err);

#endif
