// SPDX-License-Identifier: Apache-2.0
// The front of the serve backend: the OpenAI API over HTTP.
//
// libmicrohttpd parses HTTP and holds the connections; a connection whose call has no news is
// suspended, so that nothing is done for it until the core reports some.
#include "serve_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "serve_core.h"
#include "serve_reply.h"
#include "serve_request.h"

#define IDLE_S           60u         // of a connection without a request
#define CONNECTION_BYTES (32u << 10) // headers, and what is being written
#define EVENT_BLOCK      4096u       // bytes of a stream that are written at once, at most
#define FAREWELL_PASSES  8u
#define RUNS_MAX         8u // of the library in one go
#define BODY_FIRST       4096u
#define DROPPED_MAX      (16u << 20) // bytes of a refused body that are read, to be heard

// Within this time a client sends a whole request, counted from the end of the one before, and
// takes a whole reply, counted from the end of its call: drops now and then keep no connection.
#define PATIENCE_NS (120 * NS_PER_S)

// Text of a reply that makes one event, at most.
#define PIECE_MAX (64u << 10)

// A connection.
struct serve_client {
    struct serve_http *http;
    struct MHD_Connection *connection;
    struct serve_client *next;
    uint64_t since_ns; // it is waited for since then; UINT64_MAX: it waits for its call
};

// What is served at a path.
struct route {
    const char *path; // with a slash at its end: and everything below
    const char *methods;
    enum MHD_Result (*answer)(struct serve_exchange *exchange, const char *rest);
};

// A request of HTTP and what becomes of it.
struct serve_exchange {
    struct serve_http_listener *listener;
    struct serve_client *client;
    const struct route *route; // NULL: there is none
    struct MHD_Connection *connection;
    struct serve_exchange *next; // of those with a call
    char *body;
    size_t body_length;
    size_t body_size;
    size_t dropped;               // bytes of a body that is refused
    struct serve_problem problem; // status not 0: what the head has been refused for
    bool stream;
    bool include_usage;
    bool suspended;
    bool gone;  // its client has hung up
    bool ended; // the last of a stream is in `output`
    struct serve_call *call;
    struct serve_reply reply;
    size_t told; // bytes of the call's text that are in events
    struct serve_buffer output;
    size_t sent; // bytes of `output` that are out
};

static uint64_t now_ns(const struct serve_http *http)
{
    return clock_now_ns(http->clock);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    struct serve_http *http = ((struct serve_http_listener *)context)->http;
    struct serve_client *client = *state;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *state = client = calloc(1, sizeof(*client)); // without one no request is taken
        if (!client)
            return;
        *client = (struct serve_client){http, connection, http->clients, now_ns(http)};
        http->clients = client;
        return;
    }
    struct serve_client **link = &http->clients;
    while (*link && *link != client)
        link = &(*link)->next;
    if (*link)
        *link = client->next;
    free(client);
    *state = NULL;
}

static struct serve_client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void unlink_exchange(struct serve_exchange *exchange)
{
    struct serve_exchange **link = &exchange->listener->http->exchanges;
    while (*link && *link != exchange)
        link = &(*link)->next;
    if (*link)
        *link = exchange->next;
}

static void release_call(struct serve_exchange *exchange)
{
    if (!exchange->call)
        return;
    unlink_exchange(exchange);
    serve_release(exchange->listener->http->serve, exchange->call);
    exchange->call = NULL;
}

// The request is over, however it ended.
static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct serve_exchange *exchange = *state;
    (void)context;
    (void)connection;
    (void)code;
    if (!exchange)
        return;
    release_call(exchange);
    exchange->client->since_ns = now_ns(exchange->client->http);
    free(exchange->body);
    serve_buffer_free(&exchange->output);
    free(exchange);
    *state = NULL;
}

static void resume(struct serve_exchange *exchange)
{
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    exchange->listener->http->news = true; // the library tells no descriptor of it
    MHD_resume_connection(exchange->connection);
}

static void suspend(struct serve_exchange *exchange)
{
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection);
}

static void on_change(void *context, struct serve_call *call)
{
    struct serve_exchange *exchange = call->front;
    (void)context;
    if (exchange && call->state == SERVE_ENDED)
        exchange->client->since_ns = now_ns(exchange->client->http);
    // Who waits for the whole reply is not woken for pieces of it.
    if (exchange && (exchange->stream || call->state == SERVE_ENDED))
        resume(exchange);
}

static enum MHD_Result send_buffer(const struct serve_exchange *exchange, unsigned status,
                                   struct serve_buffer *buffer, unsigned retry_s)
{
    char seconds[16];
    if (buffer->failed) {
        serve_buffer_free(buffer);
        return MHD_NO;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(buffer->length, buffer->bytes, MHD_RESPMEM_MUST_COPY);
    serve_buffer_free(buffer);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    snprintf(seconds, sizeof(seconds), "%u", retry_s);
    if (retry_s)
        MHD_add_response_header(response, "Retry-After", seconds);
    if (status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 405)
        MHD_add_response_header(response, "Allow", exchange->route->methods);
    enum MHD_Result result = MHD_queue_response(exchange->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_problem(const struct serve_exchange *exchange,
                                    const struct serve_problem *problem, unsigned retry_s)
{
    struct serve_buffer buffer = {0};
    serve_reply_error(&buffer, problem, false);
    return send_buffer(exchange, problem->status, &buffer, retry_s);
}

// Adds to a stream what the call has and its client has not. Whole characters: the core cuts there.
static void add_events(struct serve_exchange *exchange)
{
    const struct serve_call *call = exchange->call;
    struct serve_problem problem;
    while (exchange->told < call->text_length) {
        size_t length = call->text_length - exchange->told;
        const char *text = call->text + exchange->told;
        if (length > PIECE_MAX) {
            length = PIECE_MAX;
            while (((unsigned char)text[length] & 0xc0) == 0x80)
                length--;
        }
        serve_reply_piece(&exchange->output, &exchange->reply, text, length);
        exchange->told += length;
    }
    if (call->state != SERVE_ENDED)
        return;
    if (call->end == SERVE_END_STOP || call->end == SERVE_END_LENGTH) {
        serve_reply_end(&exchange->output, &exchange->reply, call, exchange->include_usage);
    } else {
        serve_problem_of_end(&problem, call);
        serve_reply_error(&exchange->output, &problem, true);
    }
    exchange->ended = true;
}

// Called when a client's connection takes more of a stream.
static ssize_t read_stream(void *context, uint64_t position, char *target, size_t size)
{
    struct serve_exchange *exchange = context;
    (void)position;
    if (exchange->gone || exchange->output.failed)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (exchange->sent == exchange->output.length && !exchange->ended) {
        exchange->output.length = exchange->sent = 0;
        add_events(exchange);
    }
    size_t left = exchange->output.length - exchange->sent;
    if (left) {
        size = size < left ? size : left;
        memcpy(target, exchange->output.bytes + exchange->sent, size);
        exchange->sent += size;
        return (ssize_t)size;
    }
    if (exchange->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    suspend(exchange);
    return 0;
}

static enum MHD_Result start_stream(struct serve_exchange *exchange)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_BLOCK,
                                                                      read_stream, exchange, NULL);
    if (!response)
        return MHD_NO;
    serve_reply_begin(&exchange->output, &exchange->reply);
    MHD_add_response_header(response, "Content-Type", "text/event-stream; charset=utf-8");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    enum MHD_Result result = MHD_queue_response(exchange->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

// A call whose reply goes out as a whole has ended.
static enum MHD_Result send_whole(struct serve_exchange *exchange)
{
    const struct serve_call *call = exchange->call;
    struct serve_buffer buffer = {0};
    struct serve_problem problem;
    if (call->end != SERVE_END_STOP && call->end != SERVE_END_LENGTH) {
        serve_problem_of_end(&problem, call);
        return send_problem(exchange, &problem, 0);
    }
    serve_reply_whole(&buffer, &exchange->reply, call);
    return send_buffer(exchange, 200, &buffer, 0);
}

// The bearer token of a request, or NULL.
static const char *token_of(struct MHD_Connection *connection)
{
    static const char scheme[] = "Bearer ";
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    return value && strncasecmp(value, scheme, sizeof(scheme) - 1) == 0 ? value + sizeof(scheme) - 1
                                                                        : NULL;
}

// Takes as long whatever the token is.
static bool is_token(const char *given, const char *expected)
{
    size_t length = strlen(expected);
    size_t given_length = given ? strlen(given) : 0;
    unsigned difference = given_length != length;
    for (size_t i = 0; i < length; i++)
        difference |=
            (unsigned)(given_length ? given[i % given_length] : 0) ^ (unsigned)expected[i];
    return !difference;
}

static int socket_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

// What tells a client from others: on a Unix socket the user, and the token that it shows; on TCP a
// token of its own. One that all have to know tells nothing.
static size_t identify(const struct serve_exchange *exchange, char identity[SERVE_CLIENT_BYTES_MAX])
{
    const char *token = token_of(exchange->connection);
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    if (exchange->listener->http->grant->token[0])
        token = NULL;
    if (exchange->listener->is_unix &&
        getsockopt(socket_of(exchange->connection), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
        int length =
            snprintf(identity, SERVE_CLIENT_BYTES_MAX, "uid %u %s", peer.uid, token ? token : "");
        return (size_t)length < SERVE_CLIENT_BYTES_MAX ? (size_t)length : 0;
    }
    if (!token)
        return 0;
    int length = snprintf(identity, SERVE_CLIENT_BYTES_MAX, "token %s", token);
    return (size_t)length < SERVE_CLIENT_BYTES_MAX ? (size_t)length : 0;
}

static bool make_id(struct serve_reply *reply)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[12];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return false;
    int used = snprintf(reply->id, sizeof(reply->id), reply->chat ? "chatcmpl-" : "cmpl-");
    for (size_t i = 0; i < sizeof(random); i++) {
        reply->id[used++] = digits[random[i] >> 4];
        reply->id[used++] = digits[random[i] & 15];
    }
    reply->id[used] = '\0';
    return true;
}

static enum MHD_Result begin_call(struct serve_exchange *exchange, bool chat)
{
    struct serve_http *http = exchange->listener->http;
    char identity[SERVE_CLIENT_BYTES_MAX];
    struct serve_request request;
    struct serve_problem problem;
    const char *reason = "";
    uint32_t retry_s = 0;
    bool sound = serve_request_read(&request, chat, http->grant->model, exchange->body,
                                    exchange->body_length, &problem);
    if (sound) {
        exchange->stream = request.stream;
        exchange->include_usage = request.include_usage;
        exchange->reply = (struct serve_reply){
            .model = http->grant->model,
            .created_s = clock_wall_ns(&clock_host) / NS_PER_S,
            .chat = chat,
        };
        request.prompt.client = identity;
        request.prompt.client_length = identify(exchange, identity);
        enum serve_refusal refusal =
            make_id(&exchange->reply)
                ? serve_submit(http->serve, &request.prompt, &exchange->call, &reason, &retry_s)
                : SERVE_BUSY;
        sound = refusal == SERVE_ACCEPTED;
        if (!sound)
            serve_problem_of_refusal(&problem, refusal, reason);
    }
    serve_request_free(&request);
    free(exchange->body);
    exchange->body = NULL;
    if (!sound)
        return send_problem(exchange, &problem, problem.status == 429 ? retry_s : 0);
    exchange->call->front = exchange;
    exchange->client->since_ns = UINT64_MAX;
    exchange->next = http->exchanges;
    http->exchanges = exchange;
    if (exchange->stream)
        return start_stream(exchange);
    suspend(exchange);
    return MHD_YES;
}

static enum MHD_Result answer_call(struct serve_exchange *exchange, bool chat)
{
    if (!exchange->call)
        return begin_call(exchange, chat);
    if (exchange->call->state == SERVE_ENDED)
        return send_whole(exchange);
    suspend(exchange);
    return MHD_YES;
}

static enum MHD_Result answer_chat(struct serve_exchange *exchange, const char *rest)
{
    (void)rest;
    return answer_call(exchange, true);
}

static enum MHD_Result answer_text(struct serve_exchange *exchange, const char *rest)
{
    (void)rest;
    return answer_call(exchange, false);
}

static enum MHD_Result send_model(struct serve_exchange *exchange, bool list)
{
    const struct serve_grant *grant = exchange->listener->http->grant;
    struct serve_buffer buffer = {0};
    serve_reply_model(&buffer, grant->model, grant->created_s, list);
    return send_buffer(exchange, 200, &buffer, 0);
}

static enum MHD_Result answer_models(struct serve_exchange *exchange, const char *rest)
{
    (void)rest;
    return send_model(exchange, true);
}

static enum MHD_Result answer_model(struct serve_exchange *exchange, const char *rest)
{
    static const struct serve_problem missing = {
        .status = 404, .code = "model_not_found", .message = "there is no such model here"};
    if (strcmp(rest, exchange->listener->http->grant->model) != 0)
        return send_problem(exchange, &missing, 0);
    return send_model(exchange, false);
}

static enum MHD_Result answer_health(struct serve_exchange *exchange, const char *rest)
{
    const struct serve_http *http = exchange->listener->http;
    struct serve_buffer buffer = {0};
    (void)rest;
    serve_reply_health(&buffer, serve_open_calls(http->serve), http->grant->queue);
    return send_buffer(exchange, 200, &buffer, 0);
}

#define READS "GET, HEAD"

// Returns the route of a path, and what is below it, or NULL.
static const struct route *find_route(const char *url, const char **rest)
{
    static const struct route routes[] = {
        {"/v1/chat/completions", "POST", answer_chat},
        {"/v1/completions", "POST", answer_text},
        {"/v1/models", READS, answer_models},
        {"/v1/models/", READS, answer_model},
        {"/health", READS, answer_health},
    };
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        size_t length = strlen(routes[i].path);
        *rest = url + length;
        if (strncmp(url, routes[i].path, length) == 0 &&
            (!**rest || routes[i].path[length - 1] == '/'))
            return &routes[i];
    }
    return NULL;
}

// A page in somebody's browser must not reach a model on the loopback: it cannot hide its origin,
// and a name that it has made resolve to here is not one of these.
static bool is_browser(const struct serve_exchange *exchange)
{
    static const char *const hosts[] = {"localhost", "127.", "[::1]"};
    struct MHD_Connection *connection = exchange->connection;
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin") ||
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-Fetch-Site"))
        return true;
    if (exchange->listener->is_unix || !host)
        return false;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        size_t length = strlen(hosts[i]);
        if (strncasecmp(host, hosts[i], length) != 0)
            continue;
        // Of an address the rest is digits; behind a name only a port may follow.
        const char *rest = host + length;
        if (i == 1)
            rest += strspn(rest, "0123456789.");
        return *rest && *rest != ':';
    }
    return true;
}

static bool is_json(struct MHD_Connection *connection)
{
    static const char type[] = "application/json";
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    return value && strncasecmp(value, type, sizeof(type) - 1) == 0 &&
           (!value[sizeof(type) - 1] || strchr("; ", value[sizeof(type) - 1]));
}

static void refuse(struct serve_exchange *exchange, unsigned status, const char *code,
                   const char *message)
{
    if (exchange->problem.status)
        return;
    exchange->problem = (struct serve_problem){.status = status, .code = code};
    snprintf(exchange->problem.message, sizeof(exchange->problem.message), "%s", message);
}

// Everything that can be told from the head of a request. What is refused is said once the body is
// there: a client that still sends would not hear it.
static void check_head(struct serve_exchange *exchange, const char *method)
{
    struct MHD_Connection *connection = exchange->connection;
    const struct serve_grant *grant = exchange->listener->http->grant;
    const struct route *route = exchange->route;
    bool reads = route && strcmp(route->methods, READS) == 0;
    if (is_browser(exchange))
        refuse(exchange, 403, "browser", "requests of web pages are not answered");
    else if (grant->token[0] && !is_token(token_of(connection), grant->token))
        refuse(exchange, 401, "invalid_api_key", "a bearer token is needed, and this is not it");
    else if (!route)
        refuse(exchange, 404, NULL,
               "there is /v1/models, /v1/chat/completions, /v1/completions, /health");
    else if (strcmp(method, reads ? "GET" : "POST") != 0 && !(reads && strcmp(method, "HEAD") == 0))
        refuse(exchange, 405, NULL, reads ? "use GET here" : "use POST here");
    else if (!reads && !is_json(connection))
        refuse(exchange, 415, NULL, "the content type has to be application/json");
}

static enum MHD_Result take_body(struct serve_exchange *exchange, const char *data, size_t *length)
{
    size_t needed = exchange->body_length + *length;
    if (needed > SERVE_BODY_MAX)
        refuse(exchange, 413, NULL, "the body is larger than 1 MiB");
    if (exchange->problem.status) {
        exchange->dropped += *length;
        *length = 0;
        return exchange->dropped <= DROPPED_MAX ? MHD_YES : MHD_NO;
    }
    if (needed > exchange->body_size) {
        size_t size = exchange->body_size ? exchange->body_size * 2 : BODY_FIRST;
        while (size < needed)
            size *= 2;
        char *grown = realloc(exchange->body, size);
        if (!grown)
            return MHD_NO;
        exchange->body = grown;
        exchange->body_size = size;
    }
    memcpy(exchange->body + exchange->body_length, data, *length);
    exchange->body_length = needed;
    *length = 0;
    return MHD_YES;
}

// Called for a request's head, for each piece of its body, at the end of it, and after a
// connection was resumed.
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *length, void **state)
{
    struct serve_exchange *exchange = *state;
    const char *rest;
    (void)version;
    if (!exchange) {
        struct serve_client *client = client_of(connection);
        exchange = client ? calloc(1, sizeof(*exchange)) : NULL;
        if (!exchange)
            return MHD_NO;
        exchange->listener = context;
        exchange->client = client;
        exchange->connection = connection;
        exchange->route = find_route(url, &rest);
        *state = exchange;
        check_head(exchange, method);
        return MHD_YES;
    }
    if (*length)
        return take_body(exchange, data, length);
    if (exchange->problem.status)
        return send_problem(exchange, &exchange->problem, 0);
    if (exchange->gone)
        return MHD_NO;
    return find_route(url, &rest)->answer(exchange, rest);
}

static void say_nothing(void *context, const char *format, va_list arguments)
{
    (void)context;
    (void)format;
    (void)arguments;
}

static int open_listener(struct serve_http *http, struct serve_http_listener *listener, int fd,
                         struct error *err)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    struct epoll_event event = {.events = EPOLLIN};
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "serve: socket");
    listener->http = http;
    listener->is_unix = address.ss_family == AF_UNIX;
    listener->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_SUPPRESS_DATE_NO_CLOCK |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, listener, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)http->grant->connections, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_STRICT_FOR_CLIENT,
        1, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, listener, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        listener->daemon ? MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "serve: libmicrohttpd does not start");
    return epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, info->epoll_fd, &event) < 0
               ? error_set(err, EXIT_STATUS_RESOURCES, errno, "serve: epoll")
               : 0;
}

int serve_http_open(struct serve_http *http, struct serve *serve, const struct serve_grant *grant,
                    const int *listeners, struct error *err)
{
    *http = (struct serve_http){.serve = serve, .grant = grant, .clock = &clock_host};
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (http->epoll_fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "serve: epoll");
    for (unsigned i = 0; i < grant->listeners; i++) {
        if (open_listener(http, &http->listeners[i], listeners[i], err) < 0)
            return -1;
    }
    serve_on_change(serve, on_change, http);
    return 0;
}

int serve_http_epoll_fd(const struct serve_http *http)
{
    return http->epoll_fd;
}

bool serve_http_has_news(const struct serve_http *http)
{
    return http->news;
}

bool serve_http_has_clients(const struct serve_http *http)
{
    unsigned count = 0;
    for (unsigned i = 0; i < http->grant->listeners; i++) {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(http->listeners[i].daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        count += info ? info->num_connections : 0;
    }
    return count != 0;
}

// Nobody looks at the socket of a connection that is suspended: clients that hung up are found
// here. One that only says that it sends no more counts as gone too.
static void find_gone(struct serve_http *http)
{
    struct serve_exchange *waiting[SERVE_QUEUE_MAX];
    struct pollfd fds[SERVE_QUEUE_MAX];
    nfds_t count = 0;
    for (struct serve_exchange *e = http->exchanges; e && count < SERVE_QUEUE_MAX; e = e->next) {
        if (!e->suspended)
            continue;
        waiting[count] = e;
        fds[count++] = (struct pollfd){.fd = socket_of(e->connection), .events = POLLRDHUP};
    }
    if (!count || poll(fds, count, 0) <= 0)
        return;
    for (nfds_t i = 0; i < count; i++) {
        if (!(fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)))
            continue;
        waiting[i]->gone = true;
        release_call(waiting[i]);
        resume(waiting[i]);
    }
}

// Takes leave of clients that were waited for too long; the library finds them closed.
static void find_slow(struct serve_http *http)
{
    uint64_t now = http->clients ? now_ns(http) : 0;
    for (struct serve_client *client = http->clients; client; client = client->next) {
        if (client->since_ns < now && now - client->since_ns > PATIENCE_NS)
            shutdown(socket_of(client->connection), SHUT_RDWR);
    }
}

void serve_http_run(struct serve_http *http)
{
    find_gone(http);
    find_slow(http);
    http->news = false;
    for (unsigned i = 0; i < http->grant->listeners; i++) {
        struct MHD_Daemon *daemon = http->listeners[i].daemon;
        MHD_UNSIGNED_LONG_LONG left_ms = 0;
        // Its sockets are edge-triggered: what it knows to be ready shows in no descriptor.
        for (unsigned run = 0; run < RUNS_MAX && !left_ms; run++) {
            MHD_run(daemon);
            if (MHD_get_timeout(daemon, &left_ms) != MHD_YES)
                break;
        }
    }
}

void serve_http_farewell(struct serve_http *http)
{
    for (unsigned pass = 0; pass < FAREWELL_PASSES && (pass == 0 || http->exchanges); pass++)
        serve_http_run(http);
}
