// SPDX-License-Identifier: Apache-2.0
// Looks up what the tools of a port are pinned with, at each start of its program.
#include "backend_launch.h"
#include "clock.h"
#include "tool_settings.h"

// What starting the sandbox takes beyond what its server may take.
#define SANDBOX_MS 5000u

int backend_tool_prepare(struct backend_launch *launch, struct error *err)
{
    const struct tool_settings *settings = launch->settings;
    if (launch->length < sizeof(*settings))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of a tool are missing");
    launch->made = tool_settings_pin(settings, &launch->length, err);
    launch->settings = launch->made;
    launch->start_ns = (settings->grant.start_ms + (uint64_t)SANDBOX_MS) * NS_PER_MS;
    return launch->made ? tool_settings_open(settings, launch->fds, &launch->fd_count, err) : -1;
}
