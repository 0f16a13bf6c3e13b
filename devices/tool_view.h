// SPDX-License-Identifier: Apache-2.0
// A tool port's grant, with its texts found.
#ifndef DEVICES_TOOL_VIEW_H
#define DEVICES_TOOL_VIEW_H

#include "error.h"
#include "tool_grant.h"

// Pointers into the grant, which outlives it.
struct tool_grant_view {
    const struct tool_grant *grant;
    const char *arguments[TOOL_MAX_ARGUMENTS + 1]; // NULL behind the last
    const char *variables[TOOL_MAX_VARIABLES];
    const char *paths[2 * TOOL_MAX_PATHS]; // those to read, then those to write
    const char *directory;
    struct {
        const char *name;
        const char *pin;    // 64 digits, or ""
        const char *schema; // or ""
    } tools[TOOL_MAX_TOOLS];
};

// Opens a grant of `length` bytes. Returns 0, or -1 if it is not whole: lengths, numbers,
// terminators.
int tool_view_open(struct tool_grant_view *view, const void *grant, size_t length,
                   struct error *err);

#endif
