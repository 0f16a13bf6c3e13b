// SPDX-License-Identifier: Apache-2.0
// Fuzzes what the agent reads of tools: lists of them with schemas, and their results. Every tool
// that gets into the grammar can be written to its end.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent_ports.h"
#include "tool_list.h"

static void require(int condition)
{
    if (!condition)
        abort();
}

// Writes one action, byte by byte, always the first that the grammar takes behind `salt`.
static void write_action(const struct grammar *grammar, unsigned salt)
{
    struct grammar_state state = grammar_start(grammar);
    for (size_t length = 0; !state.done; length++) {
        struct grammar_state trial = state;
        unsigned tried = 0;
        while (tried < 256 && !grammar_step(grammar, &trial, (char)(salt + tried))) {
            trial = state;
            tried++;
        }
        require(tried < 256);
        require(length < GRAMMAR_TEXT);
        state = trial;
        salt = salt * 5 + 17;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tool_list list;
    char bytes[AGENT_OBSERVATION_BYTES];
    struct agent_text reply = {bytes, sizeof(bytes), 0};

    (void)agent_read_tool_result((const char *)data, size, &reply);
    require(reply.length <= sizeof(bytes));
    memset(&list, 0, sizeof(list));
    tool_list_add_store(&list);
    if (tool_list_add_json(&list, (const char *)data, size) >= 0) {
        require(list.grammar.tool_count >= 2 && list.grammar.tool_count <= GRAMMAR_TOOLS);
        for (unsigned salt = 0; salt < 8; salt++)
            write_action(&list.grammar, salt * 37);
    }
    return 0;
}
