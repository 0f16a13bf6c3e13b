// SPDX-License-Identifier: Apache-2.0
// The agent program: a question from its arguments or many from its input, on any platform.

#include "agent.h"
#include "platform.h"

#include <inttypes.h>
#include <string.h>

static const char usage[] = "arguments: [QUESTION...]\n"
                            "  answers each question; without one, each line of the input\n";

#define TOOLS_LISTED_MAX 1024

/* Too large for a stack. */
static struct {
    struct llm_session session;
    struct tool_list tools;
    struct agent agent;
    char list[AGENT_TOOL_LIST_BYTES];
    char input[512]; /* that was read, but not yet asked */
    size_t input_used;
    size_t input_length;
} program;

static int read_tools(const struct agent_ports *ports, struct llm_output *output,
                      struct llm_error *err)
{
    uint32_t first = 0;
    if (ports->has_store) {
        tool_list_add_store(&program.tools);
    }
    /* A server that never comes to an end is left after as many tools as anybody could want. */
    for (int more = ports->has_tools ? 1 : 0; more > 0 && first < TOOLS_LISTED_MAX;) {
        struct agent_text list = {program.list, sizeof(program.list), 0};
        if (ports->list(first, &list) != AGENT_DONE) {
            llm_output_print(output, "note: the tools cannot be listed\n");
            break;
        }
        more = tool_list_add_json(&program.tools, list.bytes, list.length);
        if (more < 0) {
            return llm_fail(err, "the list of tools cannot be read");
        }
        first += (uint32_t)more;
    }
    if (program.tools.skipped > 0) {
        llm_output_print(output, "note: %" PRIu32 " tools have arguments that cannot be written\n",
                         program.tools.skipped);
    }
    return 0;
}

/* Reads a line of at most `size` bytes into `line`; what does not fit is dropped, but counted in
 * *length. Returns 1, 0 at the end of the input, or -1 with *err filled. */
static int read_line(const struct llm_platform *platform, char *line, size_t size, size_t *length,
                     struct llm_error *err)
{
    *length = 0;
    for (bool any = false;; any = true) {
        if (program.input_used == program.input_length) {
            long received = platform->read(platform->context, program.input, sizeof(program.input));
            if (received < 0 || (size_t)received > sizeof(program.input)) {
                return llm_fail(err, "the input cannot be read");
            }
            if (received == 0) {
                return any ? 1 : 0;
            }
            program.input_used = 0;
            program.input_length = (size_t)received;
        }
        char byte = program.input[program.input_used++];
        if (byte == '\n') {
            return 1;
        }
        if (*length < size) {
            line[*length] = byte;
        }
        (*length)++;
    }
}

static int ask_lines(const struct llm_platform *platform, struct llm_error *err)
{
    char line[AGENT_QUESTION_BYTES];
    size_t length;
    int got;
    while ((got = read_line(platform, line, sizeof(line), &length, err)) > 0) {
        if (length > 0 && agent_ask(&program.agent, line, length, err) != 0) {
            return -1;
        }
    }
    return got;
}

static int execute(const struct llm_platform *platform, struct llm_output *output,
                   struct llm_error *err)
{
    const char *why = NULL;
    const struct agent_ports *ports = agent_ports_open(&why);
    if (ports == NULL) {
        return llm_fail(err, "%s", why);
    }
    if (llm_session_open(&program.session, platform->weights, platform->weights_count, 0, err) !=
            0 ||
        llm_session_load(&program.session, platform, err) != 0 ||
        read_tools(ports, output, err) != 0 ||
        agent_start(&program.agent, &program.session, ports, &program.tools, output, err) != 0) {
        return -1;
    }
    if (platform->argc == 0) {
        return ask_lines(platform, err);
    }
    return agent_ask(&program.agent, platform->argv[0], strlen(platform->argv[0]), err);
}

int llm_main(const struct llm_platform *platform)
{
    struct llm_output output;
    struct llm_error err;
    int status = LLM_EXIT_OK;

    memset(&program, 0, sizeof(program));
    llm_output_start(&output, platform);
    if (platform->argc > 1 || (platform->argc == 1 && platform->argv[0][0] == '-')) {
        bool help = strcmp(platform->argv[0], "--help") == 0;
        llm_output_bytes(&output, usage, sizeof(usage) - 1);
        status = help ? LLM_EXIT_OK : LLM_EXIT_USAGE;
    } else if (execute(platform, &output, &err) != 0) {
        llm_output_print(&output, "error: %s\n", err.text);
        status = LLM_EXIT_FAILURE;
    }
    return llm_output_flush(&output) == 0 ? status : LLM_EXIT_FAILURE;
}
