// SPDX-License-Identifier: Apache-2.0
// The client of the Model Context Protocol, and the pipes below it: what it says, what it takes,
// and what it refuses.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_text.h"
#include "mcp_client.h"
#include "mcp_pipe.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define TOOL                                                                                       \
    "{\"name\":\"echo\",\"description\":\"Says it.\",\"inputSchema\":{\"type\":\"object\","        \
    "\"properties\":{\"text\":{\"type\":\"string\"}}}}"

// A client whose server is the test.
struct world {
    struct tool_grant_view view;
    struct tool_grant grant;
    struct mcp_client client;
    struct mcp_pipe pipe;
    int to_client;
    int from_client;
    struct error err;
};

static void open_world(struct world *world, const char *pin)
{
    int in[2];
    int out[2];
    signal(SIGPIPE, SIG_IGN);
    *world = (struct world){.grant = {.tool_count = 2, .start_ms = 1000}};
    world->view = (struct tool_grant_view){.grant = &world->grant};
    world->view.tools[0].name = "echo";
    world->view.tools[0].pin = pin;
    world->view.tools[0].schema = "";
    world->view.tools[1].name = "other";
    world->view.tools[1].pin = "";
    world->view.tools[1].schema = "{\"type\":\"object\"}";
    cr_assert_eq(pipe2(in, O_NONBLOCK), 0);
    cr_assert_eq(pipe2(out, O_NONBLOCK), 0);
    fcntl(in[1], F_SETPIPE_SZ, 1 << 20);
    world->to_client = in[1];
    world->from_client = out[0];
    cr_assert_eq(mcp_pipe_open(&world->pipe, out[1], in[0], &world->err), 0);
    cr_assert_eq(mcp_client_open(&world->client, &world->view, &world->pipe.transport, &world->err),
                 0);
}

static void close_world(struct world *world)
{
    mcp_client_close(&world->client);
    close(world->pipe.to_server);
    close(world->pipe.from_server);
    mcp_pipe_close(&world->pipe);
    close(world->to_client);
    close(world->from_client);
}

// The server says something; the client takes it.
static int say(struct world *world, const char *line)
{
    size_t length = strlen(line);
    cr_assert_eq(write(world->to_client, line, length), (ssize_t)length);
    cr_assert_eq(write(world->to_client, "\n", 1), 1);
    return mcp_client_serve(&world->client, &world->err);
}

// What the client has said since, without its last line end.
static const char *hear(struct world *world)
{
    static char text[65536];
    cr_assert_eq(mcp_client_serve(&world->client, &world->err), 0, "%s", world->err.text);
    ssize_t length = read(world->from_client, text, sizeof(text) - 1);
    cr_assert(length > 0 || errno == EAGAIN);
    text[length > 0 ? length - 1 : 0] = '\0';
    return text;
}

#define GREETING                                                                                   \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"2025-06-18\","                \
    "\"capabilities\":{},\"serverInfo\":{}}}"
#define LISTING(id, tools, rest)                                                                   \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"result\":{\"tools\":[" tools "]" rest "}}"
#define CHANGED "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}"

static void meet(struct world *world, const char *pin)
{
    open_world(world, pin);
    cr_assert_eq(say(world, GREETING), 0, "%s", world->err.text);
    cr_assert_eq(say(world, LISTING(2, TOOL, "")), 0, "%s", world->err.text);
    hear(world);
}

// The digest of TOOL as the client computes it.
static const char *pin_of_tool(void)
{
    static char pin[65];
    struct world world;
    meet(&world, "");
    snprintf(pin, sizeof(pin), "%s", world.client.tools[0].offer.digest);
    close_world(&world);
    return pin;
}

Test(mcp_client, greets_and_lists)
{
    struct world world;
    open_world(&world, "");
    cr_expect_str_eq(hear(&world),
                     "{\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":"
                     "\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"guillotine\","
                     "\"version\":\"1\"}},\"jsonrpc\":\"2.0\"}");
    cr_assert_eq(say(&world, GREETING), 0);
    cr_expect_str_eq(hear(&world),
                     "{\"method\":\"notifications/initialized\",\"jsonrpc\":\"2.0\"}\n"
                     "{\"id\":2,\"method\":\"tools/list\",\"jsonrpc\":\"2.0\"}");
    cr_expect(mcp_client_is_listing(&world.client));
    cr_assert_eq(say(&world, LISTING(2, TOOL, ",\"nextCursor\":\"p2\"")), 0);
    cr_expect_str_eq(hear(&world), "{\"id\":3,\"method\":\"tools/list\",\"params\":{\"cursor\":"
                                   "\"p2\"},\"jsonrpc\":\"2.0\"}");
    cr_expect_not(mcp_tool_exists(&world.client.tools[0]));
    cr_assert_eq(say(&world, LISTING(3, "", "")), 0);
    cr_expect_not(mcp_client_is_listing(&world.client));
    cr_expect_str_eq(world.client.tools[0].offer.shown, TOOL);
    cr_expect_str_eq(world.client.tools[1].offer.digest, "");
    close_world(&world);
}

Test(mcp_client, a_digest_covers_all_of_a_tool_and_nothing_of_its_spelling)
{
    static const struct {
        const char *tool;
        bool same;
    } cases[] = {
        {TOOL, true},
        {"{ \"inputSchema\" : {\"properties\":{\"text\":{\"type\":\"s\\u0074ring\"}},\"type\":"
         "\"object\"}, \"description\":\"Says it.\",\"name\":\"echo\"}",
         true},
        {"{\"name\":\"echo\",\"description\":\"Says it!\",\"inputSchema\":{\"type\":\"object\","
         "\"properties\":{\"text\":{\"type\":\"string\"}}}}",
         false},
        {"{\"name\":\"echo\",\"description\":\"Says it.\",\"inputSchema\":{\"type\":\"object\","
         "\"properties\":{\"text\":{\"type\":\"string\",\"default\":0.5}}}}",
         false},
        {"{\"name\":\"echo\",\"description\":\"Says it.\",\"inputSchema\":{\"type\":\"object\","
         "\"properties\":{\"text\":{\"type\":\"string\"}}},\"annotations\":{}}",
         false},
    };
    char pin[65];
    snprintf(pin, sizeof(pin), "%s", pin_of_tool());
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world world;
        char line[1024];
        open_world(&world, pin);
        cr_assert_eq(say(&world, GREETING), 0);
        snprintf(line, sizeof(line), LISTING(2, "%s", ""), cases[i].tool);
        cr_assert_eq(say(&world, line), 0);
        cr_expect_eq(mcp_client_find(&world.client, "echo", 4) != NULL, cases[i].same, "%s",
                     cases[i].tool);
        close_world(&world);
    }
}

Test(mcp_client, names_are_whole)
{
    struct world world;
    char pin[65];
    snprintf(pin, sizeof(pin), "%s", pin_of_tool());
    meet(&world, pin);
    cr_expect(mcp_client_find(&world.client, "echo", 4));
    cr_expect_null(mcp_client_find(&world.client, "echo", 3));
    cr_expect_null(mcp_client_find(&world.client, "echo\0", 5));
    cr_expect_null(mcp_client_find(&world.client, "other", 5));
    cr_expect_null(mcp_client_find(&world.client, "", 0));
    close_world(&world);
}

Test(mcp_client, a_change_counts_when_the_new_list_is_whole)
{
    struct world world;
    char pin[65];
    snprintf(pin, sizeof(pin), "%s", pin_of_tool());
    meet(&world, pin);
    cr_assert_eq(say(&world, CHANGED), 0);
    cr_expect(mcp_client_is_listing(&world.client));
    cr_expect(mcp_client_find(&world.client, "echo", 4));
    // A change in the middle of a list: it is asked for again from its beginning.
    cr_assert_eq(say(&world, CHANGED), 0);
    hear(&world);
    cr_assert_eq(say(&world, LISTING(3, TOOL, ",\"nextCursor\":\"2\"")), 0);
    cr_expect_str_eq(hear(&world), "{\"id\":4,\"method\":\"tools/list\",\"jsonrpc\":\"2.0\"}");
    cr_assert_eq(say(&world, LISTING(4, "", "")), 0);
    cr_expect_not(mcp_client_is_listing(&world.client));
    cr_expect_null(mcp_client_find(&world.client, "echo", 4), "the server offers it no more");
    close_world(&world);
}

static int call(struct world *world, const char *arguments)
{
    struct json_object *object = json_tokener_parse(arguments);
    int index = mcp_client_call(&world->client, &world->client.tools[0], object, &world->err);
    json_object_put(object);
    return index;
}

Test(mcp_client, calls)
{
    static const struct {
        const char *answer;
        const char *result;
    } cases[] = {
        {"\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
         "\"b/\\u0000c\"}]}",
         "{\"content\":\"a\\nb/\\u0000c\",\"isError\":false}"},
        {"\"result\":{\"content\":[],\"isError\":true}", "{\"content\":\"\",\"isError\":true}"},
        {"\"result\":{\"content\":[{\"type\":\"image\",\"text\":\"x\"},{\"type\":\"<s>\"},{},1,"
         "{\"type\":\"text\"}]}",
         "{\"content\":\"[image]\\n[unknown content]\\n[unknown content]\\n[unknown content]\\n"
         "[unknown content]\",\"isError\":false}"},
        {"\"error\":{\"code\":-1,\"message\":\"no\"}", "{\"content\":\"no\",\"isError\":true}"},
        {"\"error\":{\"code\":-1}", NULL},
        {"\"error\":1", NULL},
        {"\"result\":{}", NULL},
        {"\"result\":{\"content\":{}}", NULL},
        {"\"result\":{\"content\":[],\"isError\":1}", NULL},
        {"\"result\":null", NULL},
        {"\"x\":1", NULL},
    };
    struct world world;
    meet(&world, "");
    for (size_t i = 0; i < COUNT(cases); i++) {
        char line[512];
        int index = call(&world, "{\"text\":\"\\u20ac/\"}");
        cr_assert_geq(index, 0);
        snprintf(line, sizeof(line),
                 "{\"id\":%zu,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\","
                 "\"arguments\":{\"text\":\"\xe2\x82\xac/\"}},\"jsonrpc\":\"2.0\"}",
                 i + 3);
        cr_expect_str_eq(hear(&world), line);
        snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%zu,%s}", i + 3, cases[i].answer);
        cr_assert_eq(say(&world, line), 0, "%s", world.err.text);
        const struct mcp_call *own = &world.client.calls[index];
        cr_assert_eq(own->state, MCP_CALL_DONE);
        if (cases[i].result)
            cr_expect_str_eq(own->result, cases[i].result);
        else
            cr_expect_null(own->result, "%s: %s", cases[i].answer, own->result);
        mcp_client_release(&world.client, (unsigned)index);
        cr_expect_str_eq(hear(&world), "", "what is over is not cancelled");
    }
    close_world(&world);
}

Test(mcp_client, calls_are_bounded_and_can_be_given_up)
{
    struct world world;
    meet(&world, "");
    for (unsigned i = 0; i < MCP_MAX_CALLS; i++)
        cr_assert_eq(call(&world, "{}"), (int)i);
    cr_expect_eq(call(&world, "{}"), -1);
    hear(&world);
    mcp_client_release(&world.client, 5);
    cr_expect_str_eq(hear(&world), "{\"method\":\"notifications/cancelled\",\"params\":{"
                                   "\"requestId\":8},\"jsonrpc\":\"2.0\"}");
    cr_expect_eq(call(&world, "{}"), 5);
    // The late answer is for nobody, not for the call that has the place now.
    cr_assert_eq(say(&world, "{\"id\":8,\"result\":{\"content\":[]}}"), 0);
    cr_expect_eq(world.client.calls[5].state, MCP_CALL_SENT);
    close_world(&world);
}

Test(mcp_client, a_ping_is_owed_until_it_is_answered)
{
    struct world world;
    meet(&world, "");
    cr_expect_not(mcp_client_is_waiting_for_ping(&world.client));
    mcp_client_ping(&world.client);
    mcp_client_ping(&world.client);
    cr_expect_str_eq(hear(&world), "{\"id\":3,\"method\":\"ping\",\"jsonrpc\":\"2.0\"}");
    cr_expect(mcp_client_is_waiting_for_ping(&world.client));
    cr_assert_eq(say(&world, "{\"id\":3,\"error\":{}}"), 0);
    cr_expect_not(mcp_client_is_waiting_for_ping(&world.client));
    close_world(&world);
}

Test(mcp_client, requests_of_the_server_are_answered_but_not_followed)
{
    struct world world;
    meet(&world, "");
    cr_assert_eq(say(&world, "{\"id\":\"a\",\"method\":\"ping\"}"), 0);
    cr_expect_str_eq(hear(&world), "{\"id\":\"a\",\"result\":{},\"jsonrpc\":\"2.0\"}");
    cr_assert_eq(say(&world, "{\"id\":5,\"method\":\"sampling/createMessage\",\"params\":{}}"), 0);
    cr_expect_str_eq(hear(&world), "{\"id\":5,\"error\":{\"code\":-32601,\"message\":\"not "
                                   "supported\"},\"jsonrpc\":\"2.0\"}");
    cr_assert_eq(say(&world, "{\"method\":\"notifications/message\"}"), 0);
    cr_expect_str_eq(hear(&world), "");
    close_world(&world);
}

Test(mcp_client, nonsense_is_refused_by_name)
{
    static const struct {
        const char *line;
        const char *error;
    } cases[] = {
        {"x", "no JSON"},
        {"{\"id\":1,\"id\":1}", "no JSON"},
        {"{\"id\":1}}", "no JSON"},
        {"{\"a\":\"\xff\"}", "no JSON"},
        {"[]", "no object"},
        {"null", "no object"},
        {"{}", "without a number"},
        {"{\"id\":\"2\"}", "without a number"},
        {"{\"id\":2.0}", "without a number"},
        {"{\"id\":0,\"result\":{\"tools\":[]}}", "an answer to nothing"},
        {"{\"id\":-1}", "an answer to nothing"},
        {"{\"id\":99}", "an answer to nothing"},
        {"{\"id\":18446744073709551615}", "an answer to nothing"},
        {"{\"id\":null,\"method\":\"ping\"}", "whose number is none"},
        {"{\"id\":{},\"method\":\"ping\"}", "whose number is none"},
        {GREETING, "a greeting that is none"},
        {"{\"id\":3}", "a list of tools that is none"},
        {"{\"id\":3,\"error\":{}}", "a list of tools that is none"},
        {"{\"id\":3,\"result\":{\"tools\":{}}}", "a list of tools that is none"},
        {"{\"id\":3,\"result\":{\"tools\":[1]}}", "a tool without a name"},
        {"{\"id\":3,\"result\":{\"tools\":[{\"name\":1}]}}", "a tool without a name"},
        {LISTING(3, TOOL "," TOOL, ""), "two tools of one name"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world world;
        meet(&world, "");
        cr_assert_eq(say(&world, CHANGED), 0); // list 3 is under way
        hear(&world);
        cr_expect_eq(say(&world, cases[i].line), -1, "%s", cases[i].line);
        cr_expect(strstr(world.err.text, cases[i].error), "%s: %s", cases[i].line, world.err.text);
        close_world(&world);
    }
}

Test(mcp_client, only_known_revisions)
{
    static const struct {
        const char *version;
        int result;
    } cases[] = {{"2025-06-18", 0}, {"2025-03-26", 0},   {"2024-11-05", 0},
                 {"2024-11-0", -1}, {"2024-11-051", -1}, {"", -1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world world;
        char line[128];
        open_world(&world, "");
        snprintf(line, sizeof(line), "{\"id\":1,\"result\":{\"protocolVersion\":\"%s\"}}",
                 cases[i].version);
        cr_expect_eq(say(&world, line), cases[i].result, "%s", cases[i].version);
        close_world(&world);
    }
}

Test(mcp_client, a_server_that_only_talks_is_cut_off)
{
    struct world world;
    meet(&world, "");
    int result = 0;
    unsigned said = 0;
    while (result == 0 && said <= MCP_UNASKED_MAX + 1) {
        result = say(&world, "{\"method\":\"x\"}");
        said++;
    }
    cr_expect_eq(said, MCP_UNASKED_MAX + 1);
    cr_expect(strstr(world.err.text, "does not stop talking"), "%s", world.err.text);
    close_world(&world);
}

Test(mcp_pipe, lines_come_whole_whatever_their_pieces)
{
    static const char text[] =
        "\n\r\n{\"id\":1,\"result\":{\"protocolVersion\":\"2025-06-18\"}}\r\n"
        "{\"id\":2,\"result\":{\"tools\":[" TOOL "]}}\n{\"method\":\"x\"";
    for (size_t piece = 1; piece < sizeof(text); piece = piece * 3 / 2 + 1) {
        struct world world;
        open_world(&world, "");
        for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
            size_t length = sizeof(text) - 1 - at < piece ? sizeof(text) - 1 - at : piece;
            cr_assert_eq(write(world.to_client, text + at, length), (ssize_t)length);
            cr_assert_eq(mcp_client_serve(&world.client, &world.err), 0, "%s", world.err.text);
        }
        cr_expect(world.client.listed);
        cr_expect_eq(world.client.unasked, 0u, "the last line has no end yet");
        close_world(&world);
    }
}

Test(mcp_pipe, long_lines)
{
    // One that is as long as may be, then one that is longer.
    for (unsigned more = 0; more < 2; more++) {
        struct world world;
        size_t length = MCP_MESSAGE_MAX + 100000 * more;
        char *line = malloc(length + 1);
        int result = 0;
        cr_assert(line);
        memset(line, ' ', length);
        memcpy(line, "{\"method\":\"x\"}", 14);
        line[length] = '\n';
        open_world(&world, "");
        for (size_t at = 0; at <= length && result == 0;) {
            ssize_t n = write(world.to_client, line + at, length + 1 - at);
            cr_assert(n > 0 || errno == EAGAIN);
            at += n > 0 ? (size_t)n : 0;
            result = mcp_client_serve(&world.client, &world.err);
        }
        for (unsigned i = 0; i < 100 && result == 0 && !world.client.unasked; i++)
            result = mcp_client_serve(&world.client, &world.err);
        if (more)
            cr_expect(result < 0 && strstr(world.err.text, "a line of more than"), "%d %s", result,
                      world.err.text);
        else
            cr_expect(result == 0 && world.client.unasked == 1, "%s", world.err.text);
        free(line);
        close_world(&world);
    }
}

Test(mcp_pipe, a_server_that_does_not_read_is_given_up)
{
    struct world world;
    char *text = malloc(100002);
    struct json_object *arguments = json_object_new_object();
    unsigned calls = 0;
    cr_assert(text);
    memset(text, 'x', 100001);
    text[100001] = '\0';
    meet(&world, "");
    json_object_object_add(arguments, "text", json_object_new_string(text));
    while (calls < 200) {
        int index = mcp_client_call(&world.client, &world.client.tools[0], arguments, &world.err);
        if (index < 0)
            break;
        mcp_client_release(&world.client, (unsigned)index);
        cr_assert_eq(mcp_client_serve(&world.client, &world.err), 0);
        calls++;
    }
    cr_expect(calls > 70 && calls < 90, "%u", calls);
    cr_expect(strstr(world.err.text, "does not read"), "%s", world.err.text);
    cr_expect_leq(world.pipe.output_used, (size_t)MCP_OUTPUT_MAX);
    json_object_put(arguments);
    free(text);
    close_world(&world);
}

Test(mcp_pipe, the_end_of_the_server_is_seen)
{
    struct world world;
    meet(&world, "");
    close(world.to_client);
    world.to_client = -1;
    cr_expect_eq(mcp_client_serve(&world.client, &world.err), -1);
    cr_expect(strstr(world.err.text, "has gone"));
    close_world(&world);
}
