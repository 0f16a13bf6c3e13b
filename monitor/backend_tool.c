// SPDX-License-Identifier: Apache-2.0
// Looks up what the tools of a port are pinned with, at each start of its program.
#include "backend_launch.h"
#include "tool_settings.h"

int backend_tool_prepare(struct backend_launch *launch, struct error *err)
{
    const struct tool_settings *settings = launch->settings;
    if (launch->length < sizeof(*settings))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of a tool are missing");
    launch->made = tool_settings_pin(settings, &launch->length, err);
    launch->settings = launch->made;
    return launch->made ? 0 : -1;
}
