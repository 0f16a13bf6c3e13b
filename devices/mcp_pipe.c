// SPDX-License-Identifier: Apache-2.0
// The stdio transport of the Model Context Protocol: two pipes, a message a line.
#include "mcp_pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Most bytes that one exchange takes: what a pipe holds. Others have their turn then.
#define PASS_BYTES (64u << 10)

// Behind the longest line, so that a longer one is seen.
#define INPUT_BYTES (MCP_MESSAGE_MAX + PASS_BYTES)

static int send_message(struct mcp_transport *transport, const char *text, size_t length,
                        struct error *err)
{
    struct mcp_pipe *pipe = (struct mcp_pipe *)transport;
    if (length >= MCP_OUTPUT_MAX - pipe->output_used)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server does not read");
    if (pipe->output_used + length + 1 > pipe->output_room) {
        size_t room = pipe->output_used + length + PASS_BYTES;
        char *grown = realloc(pipe->output, room);
        if (!grown)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "messages to the server");
        pipe->output = grown;
        pipe->output_room = room;
    }
    memcpy(pipe->output + pipe->output_used, text, length);
    pipe->output_used += length;
    pipe->output[pipe->output_used++] = '\n';
    return 0;
}

static int write_output(struct mcp_pipe *pipe, struct error *err)
{
    size_t done = 0;
    while (done < pipe->output_used) {
        ssize_t n = write(pipe->to_server, pipe->output + done, pipe->output_used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server has gone");
        done += (size_t)n;
    }
    pipe->output_used -= done;
    if (done)
        memmove(pipe->output, pipe->output + done, pipe->output_used);
    return 0;
}

static int exchange(struct mcp_transport *transport, struct error *err)
{
    struct mcp_pipe *pipe = (struct mcp_pipe *)transport;
    if (write_output(pipe, err) < 0)
        return -1;
    if (pipe->start) {
        pipe->used -= pipe->start;
        pipe->scanned -= pipe->start;
        memmove(pipe->input, pipe->input + pipe->start, pipe->used);
        pipe->start = 0;
    }
    // Behind the last line that was taken there is only a part of one.
    if (pipe->used > MCP_MESSAGE_MAX)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "the server sent a line of more than %u bytes", MCP_MESSAGE_MAX);
    ssize_t n = read(pipe->from_server, pipe->input + pipe->used, PASS_BYTES);
    if (n == 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "the server has gone");
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "what the server says");
    pipe->used += n > 0 ? (size_t)n : 0;
    return 0;
}

static bool next(struct mcp_transport *transport, const char **text, size_t *length)
{
    struct mcp_pipe *pipe = (struct mcp_pipe *)transport;
    for (;;) {
        const char *end = memchr(pipe->input + pipe->scanned, '\n', pipe->used - pipe->scanned);
        if (!end) {
            pipe->scanned = pipe->used;
            return false;
        }
        *text = pipe->input + pipe->start;
        *length = (size_t)(end - *text);
        pipe->start = pipe->scanned = (size_t)(end - pipe->input) + 1;
        if (*length && (*text)[*length - 1] == '\r')
            --*length;
        if (*length)
            return true;
    }
}

static uint64_t watch(const struct mcp_transport *transport, struct pollfd fds[2])
{
    const struct mcp_pipe *pipe = (const struct mcp_pipe *)transport;
    fds[0] = (struct pollfd){.fd = pipe->from_server, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = pipe->output_used ? pipe->to_server : -1, .events = POLLOUT};
    return UINT64_MAX;
}

int mcp_pipe_open(struct mcp_pipe *pipe, int to_server, int from_server, struct error *err)
{
    *pipe = (struct mcp_pipe){
        .transport = {send_message, exchange, next, watch, NULL},
        .to_server = to_server,
        .from_server = from_server,
        .input = malloc(INPUT_BYTES),
    };
    return pipe->input ? 0 : error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "messages");
}

void mcp_pipe_close(struct mcp_pipe *pipe)
{
    free(pipe->input);
    free(pipe->output);
    *pipe = (struct mcp_pipe){.to_server = -1, .from_server = -1};
}
