// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of what clients of a serve port send, and the reply to it.
#include <stdlib.h>
#include <string.h>

#include "serve_reply.h"
#include "serve_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

// What the front hands on: parts that divide the text, stops and numbers in their ranges.
static void check(const struct serve_prompt *prompt)
{
    size_t bytes = 0;
    for (const char *at = prompt->parts; *at;) {
        const char *blank = strchr(at, ' ');
        char *end;
        require(blank != NULL);
        bytes += strtoull(blank + 1, &end, 10);
        require(*end == '\n');
        at = end + 1;
    }
    require(!prompt->chat || bytes == prompt->text_length);
    require(!memchr(prompt->text, 0, prompt->text_length));
    require(prompt->stop_count <= SERVE_STOPS_MAX);
    for (size_t i = 0; i < prompt->stop_count; i++)
        require(prompt->stop_lengths[i] && prompt->stop_lengths[i] <= SERVE_STOP_BYTES_MAX);
    require(prompt->temperature_milli == SERVE_DEFAULT || prompt->temperature_milli <= 2000);
    require(prompt->top_p_milli == SERVE_DEFAULT ||
            (prompt->top_p_milli && prompt->top_p_milli <= 1000));
    require(prompt->limit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct serve_request request;
    struct serve_problem problem;
    struct serve_buffer buffer = {0};
    if (!size)
        return 0;
    // A body has no terminator: nothing behind it may be read.
    char *body = malloc(size - 1 ? size - 1 : 1);
    require(body != NULL);
    memcpy(body, data + 1, size - 1);
    if (serve_request_read(&request, data[0] & 1, "tiny", body, size - 1, &problem)) {
        check(&request.prompt);
        const struct serve_call call = {.text = request.prompt.text,
                                        .text_length = request.prompt.text_length};
        const struct serve_reply reply = {.model = "tiny", .id = "x", .chat = data[0] & 1};
        serve_reply_whole(&buffer, &reply, &call);
    } else {
        require(problem.status >= 400 && problem.status < 500);
        serve_reply_error(&buffer, &problem, data[0] & 2);
    }
    require(!buffer.failed);
    for (size_t i = 0; i < buffer.length; i++)
        require((unsigned char)buffer.bytes[i] >= 0x20 || buffer.bytes[i] == '\n');
    serve_buffer_free(&buffer);
    serve_request_free(&request);
    free(body);
    return 0;
}
