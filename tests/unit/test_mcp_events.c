// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mcp_events.h"
#include "mcp_transport.h"

static struct mcp_messages messages;

static void expect(const char *stream, size_t length, size_t step, const char *const *texts,
                   size_t count)
{
    struct mcp_events events = {0};
    for (size_t at = 0; at < length; at += step) {
        size_t part = length - at < step ? length - at : step;
        cr_assert(mcp_events_read(&events, stream + at, part, &messages));
    }
    cr_assert_eq(messages.count, count, "%zu messages, step %zu", messages.count, step);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(messages.message[i].length, strlen(texts[i]));
        cr_assert_arr_eq(messages.message[i].text, texts[i], strlen(texts[i]));
    }
    mcp_messages_free(&messages);
    mcp_events_free(&events);
}

static const struct {
    const char *stream;
    const char *texts[4];
} cases[] = {
    {"data: a\n\n", {"a"}},
    {"data:a\n\n", {"a"}},
    {"data:  a\n\n", {" a"}},
    {"data: a\r\n\r\ndata: b\r\rdata: c\n\n", {"a", "b", "c"}},
    {"data: a\ndata: b\n\n", {"a\nb"}},
    {"data\n\ndata: b\n\n", {"b"}}, // a field without a colon has no data that could be a message
    {": comment\nevent: message\nid: 1\nretry: 5\ndata: a\n\n", {"a"}},
    {"event: message\n\n\n\ndata: a\n\n", {"a"}},
    {"data:\n\ndata: a\n\n", {"a"}}, // empty: no message
    {"data: not complete\n", {0}},
    {"data: not complete", {0}},
    {"database: b\nxdata: c\n\n", {0}},
    {"data: {\"a\":\"b: c\"}\n\n", {"{\"a\":\"b: c\"}"}},
};

Test(mcp_events, streams_are_read_alike_however_they_are_cut)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t count = 0;
        while (count < 4 && cases[i].texts[count])
            count++;
        size_t length = strlen(cases[i].stream);
        for (size_t step = 1; step <= length; step++)
            expect(cases[i].stream, length, step, cases[i].texts, count);
    }
}

Test(mcp_events, random_events_come_out_as_they_went_in)
{
    static const char *const ends[] = {"\n", "\r", "\r\n"};
    srand(7);
    for (unsigned round = 0; round < 2000; round++) {
        char stream[4096];
        char texts[4][256];
        const char *expected[4];
        size_t used = 0;
        size_t count = (size_t)rand() % 4;
        for (size_t i = 0; i < count; i++) {
            const char *end = ends[rand() % 3];
            size_t lines = 1 + (size_t)rand() % 3;
            size_t length = 0;
            for (size_t k = 0; k < lines; k++) {
                used += (size_t)sprintf(stream + used, "data: ");
                if (k)
                    texts[i][length++] = '\n';
                for (int n = 1 + rand() % 60; n; n--)
                    stream[used++] = texts[i][length++] = (char)('!' + rand() % 90);
                used += (size_t)sprintf(stream + used, "%s", end);
            }
            texts[i][length] = '\0';
            used += (size_t)sprintf(stream + used, "%s", end);
            expected[i] = texts[i];
        }
        expect(stream, used, 1 + (size_t)rand() % 50, expected, count);
    }
}

Test(mcp_events, what_is_too_much_is_refused)
{
    static char bytes[65536];
    struct mcp_events events = {0};
    memset(bytes, 'x', sizeof(bytes));
    bool taken = true;
    size_t done = 0;
    for (; taken && done < 2 * MCP_MESSAGE_MAX; done += sizeof(bytes))
        taken = mcp_events_read(&events, bytes, sizeof(bytes), &messages);
    cr_assert_not(taken, "a line");
    cr_assert_leq(done, MCP_MESSAGE_MAX + 2 * sizeof(bytes));
    mcp_events_free(&events);

    taken = true;
    memcpy(bytes, "data:", 5);
    bytes[sizeof(bytes) - 1] = '\n';
    for (done = 0; taken && done < 2 * MCP_MESSAGE_MAX; done += sizeof(bytes))
        taken = mcp_events_read(&events, bytes, sizeof(bytes), &messages);
    cr_assert_not(taken, "an event of many lines");
    mcp_events_free(&events);

    taken = true;
    for (size_t i = 0; taken && i <= MCP_MESSAGES_MAX; i++)
        taken = mcp_events_read(&events, "data: a\n\n", 9, &messages);
    cr_assert_not(taken, "many events");
    cr_assert_eq(messages.count, MCP_MESSAGES_MAX);
    mcp_events_free(&events);
    mcp_messages_free(&messages);
}

Test(mcp_events, messages_that_were_taken_make_room)
{
    struct mcp_events events = {0};
    for (unsigned i = 0; i < 10 * MCP_MESSAGES_MAX; i++) {
        cr_assert(mcp_events_read(&events, "data: a\n\n", 9, &messages));
        messages.taken = messages.count;
        mcp_messages_compact(&messages);
    }
    cr_assert_eq(messages.count, 0);
    cr_assert(mcp_events_collect(&events, "{\"a\"", 4));
    cr_assert(mcp_events_collect(&events, ":1}", 3));
    cr_assert(mcp_events_complete(&events, &messages));
    cr_assert_eq(messages.count, 1);
    cr_assert_arr_eq(messages.message[0].text, "{\"a\":1}", 7);
    mcp_messages_free(&messages);
    mcp_events_free(&events);
}
