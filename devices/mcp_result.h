// SPDX-License-Identifier: Apache-2.0
// What a model gets of a server's answer to a call.
#ifndef DEVICES_MCP_RESULT_H
#define DEVICES_MCP_RESULT_H

#include <stdbool.h>

struct json_object;

// From an answer (the whole message): {"content": all its text, "isError": BOOLEAN}. Content that
// is no text is named only. An error of the protocol becomes its message, with isError. The caller
// frees it. NULL: the answer is none, or there is no memory.
char *mcp_result_make(struct json_object *message);

// The same form, of a text of one's own.
char *mcp_result_of(const char *text, bool is_error);

#endif
