// SPDX-License-Identifier: Apache-2.0
// What a server says of a tool: its digest, and what the model sees of it.
#ifndef DEVICES_MCP_OFFER_H
#define DEVICES_MCP_OFFER_H

#include "json_schema.h"
#include "mcp_client.h"

// Fills an empty offer with an object of a list of tools. Returns 0 or -1.
int mcp_offer_take(struct mcp_offer *offer, struct json_object *tool, struct error *err);

// Empties it.
void mcp_offer_free(struct mcp_offer *offer);

// A member of an object that is a text; NULL if there is none, or if it is no object.
const char *mcp_member_text(struct json_object *object, const char *key);

#endif
