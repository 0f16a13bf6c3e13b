// SPDX-License-Identifier: Apache-2.0
// guillotine-tool describe: what a server says of its tools, for `guillotine tool`.
#ifndef DEVICES_TOOL_DESCRIBE_H
#define DEVICES_TOOL_DESCRIBE_H

#include "mcp_client.h"

// Writes a JSON object to a descriptor: {"tools": [{"name", "state", "sha256", "tool"}...]}, or
// {"error": TEXT}. States: "pinned", "changed", "unpinned", "unchecked" (pinned, but its schema
// cannot be read and the VM file has none), "missing" (the server does not offer it). Returns 0 or
// -1.
int tool_describe_write(const struct mcp_client *client, int fd, struct error *err);
int tool_describe_fail(const struct error *why, int fd);

#endif
