// SPDX-License-Identifier: Apache-2.0
// What the process of a serve port does with the core of its backend.
#ifndef DEVICES_SERVE_CORE_H
#define DEVICES_SERVE_CORE_H

#include "serve.h"

// Clients whose calls the model is told to belong together, at most; the one that was silent
// longest makes room.
#define SERVE_IDENTITIES 64u

// Where the core finds the level of the VM. Borrowed.
struct serve_levels {
    const struct level_page *supervisor;
    const struct level_page *vmm;
    unsigned highest; // level up to which the port is open
};

struct serve_settings_core {
    const struct serve_grant *grant; // borrowed
    struct serve_levels levels;
    const struct clock *clock;
    struct policy_engine *engine; // rules for prompts; NULL: there is no document
    uint32_t max_prompt_bytes;    // of the fields of a prompt
    uint32_t ask_again_ms;        // an empty reply to a request that waited that long
};

// Takes all memory but that of calls. Returns NULL and sets *err on failure.
struct serve *serve_open(const struct serve_settings_core *settings, struct error *err);

// Frees everything; calls that the front still has are gone with it.
void serve_close(struct serve *serve);

// Ends what is late, and everything once the level shuts the port. Call it often.
void serve_tick(struct serve *serve);

// True once the level has shut the port.
bool serve_is_isolated(const struct serve *serve);

// Calls that have not ended.
uint32_t serve_open_calls(const struct serve *serve);

// True if a call waits for the model.
bool serve_has_waiting(const struct serve *serve);

// The operations of the port; its state is a struct serve.
enum port_progress serve_take(void *state, struct port_request *request);
enum port_progress serve_take_again(void *state, struct port_request *request);

#endif
