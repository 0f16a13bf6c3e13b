// SPDX-License-Identifier: Apache-2.0
// Exchanges with servers.
#include "http_exchange.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "clock.h"
#include "port_abi.h"

// How often sockets are looked at.
#define SERVE_INTERVAL_NS (50 * NS_PER_US)

// "https://", the host in brackets, the port and the path.
#define URL_SIZE (HTTP_HOST_SIZE + HTTP_PATH_MAX + 32)

// A header of the model as curl takes it, or the operator's with its secret.
#define HEADER_SIZE (HTTP_HEADERS_MAX + 8)

static void finish(struct http_exchange *exchange, uint32_t result, const char *reason)
{
    exchange->state = HTTP_EXCHANGE_FINISHED;
    exchange->result = result;
    exchange->reason = reason;
}

// Gives the transfer back; what came of the reply stays.
static void end_transfer(struct http_exchange *exchange)
{
    if (exchange->easy) {
        curl_multi_remove_handle(exchange->pool->multi, exchange->easy);
        curl_easy_cleanup(exchange->easy);
    }
    curl_slist_free_all(exchange->headers);
    curl_slist_free_all(exchange->connect_to);
    exchange->easy = NULL;
    exchange->headers = exchange->connect_to = NULL;
}

static bool starts_with(const char *text, size_t length, const char *prefix)
{
    return length >= strlen(prefix) && strncasecmp(text, prefix, strlen(prefix)) == 0;
}

// With a secret in the request, a reply has to be readable for the redactor.
static bool is_hidden(const struct http_exchange *exchange, const char *line, size_t length)
{
    static const char name[] = "content-encoding:";
    if (!exchange->has_secret || !starts_with(line, length, name))
        return false;
    const char *value = line + sizeof(name) - 1;
    size_t left = length - (sizeof(name) - 1);
    while (left && *value == ' ') {
        value++;
        left--;
    }
    return !(left == strlen("identity") && strncasecmp(value, "identity", left) == 0);
}

static bool append_head(struct http_exchange *exchange, const char *line, size_t length)
{
    if (length + 1 > HTTP_REPLY_HEADERS_MAX - exchange->head_used) {
        exchange->reason = "the reply's headers are longer than 32 KiB";
        return false;
    }
    uint8_t *at = exchange->head + exchange->head_used;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)line[i];
        at[i] = c < 0x20 || c == 0x7f ? ' ' : c;
    }
    at[length] = '\n';
    exchange->head_used += length + 1;
    return true;
}

// CURLOPT_HEADERFUNCTION: a line with its end; that of the last response counts. Anything but
// `bytes` ends the transfer.
static size_t receive_header(char *line, size_t size, size_t bytes, void *context)
{
    struct http_exchange *exchange = context;
    size_t length = bytes;
    (void)size; // 1
    while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
        length--;
    if (exchange->head_done) // trailers
        return bytes;
    if (starts_with(line, length, "HTTP/")) {
        exchange->head_used = 0;
        return bytes;
    }
    if (!length) {
        curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
        exchange->head_done = exchange->status >= 200;
        return bytes;
    }
    if (is_hidden(exchange, line, length)) {
        exchange->reason = "the reply is encoded, though that was not asked for";
        return 0;
    }
    return append_head(exchange, line, length) ? bytes : 0;
}

// Makes room at the front of a stream's buffer: the redactor looks back.
static void compact(struct http_exchange *exchange)
{
    size_t longest = exchange->pool->redactor.longest;
    size_t keep = longest ? longest - 1 : 0;
    if (exchange->start <= keep)
        return;
    size_t gone = exchange->start - keep;
    memmove(exchange->body, exchange->body + gone, exchange->used - gone);
    exchange->start -= gone;
    exchange->used -= gone;
}

static size_t receive_body(char *bytes, size_t size, size_t length, void *context)
{
    struct http_exchange *exchange = context;
    (void)size; // 1
    if (exchange->stream && length > exchange->room - exchange->used)
        compact(exchange);
    if (length > exchange->room - exchange->used) {
        if (exchange->stream) {
            exchange->paused = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        exchange->result = PORT_STATUS_TOO_LARGE;
        exchange->reason = "the reply is larger than the port's replies";
        return 0;
    }
    memcpy(exchange->body + exchange->used, bytes, length);
    exchange->used += length;
    return length;
}

static bool same_address(const struct curl_sockaddr *given, const struct http_address *address)
{
    if (address->version == 4 && given->family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&given->addr;
        return ntohs(in->sin_port) == address->port &&
               memcmp(&in->sin_addr, address->bytes, 4) == 0;
    }
    if (address->version == 6 && given->family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&given->addr;
        return ntohs(in6->sin6_port) == address->port &&
               memcmp(&in6->sin6_addr, address->bytes, 16) == 0;
    }
    return false;
}

// CURLOPT_OPENSOCKETFUNCTION: whatever curl made of the names, it connects to what was checked.
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct http_exchange *exchange = context;
    (void)purpose;
    if (!same_address(address, &exchange->connect))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static CURLcode prepare_tls(CURL *easy, void *context, void *check)
{
    (void)easy;
    return http_tls_apply(check, context) ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

static bool add_header(struct http_exchange *exchange, const char *line)
{
    struct curl_slist *longer = curl_slist_append(exchange->headers, line);
    if (longer)
        exchange->headers = longer;
    return longer != NULL;
}

static bool add_secrets(struct http_exchange *exchange)
{
    static char line[HTTP_HEADER_NAME_SIZE + HTTP_VALUE_SIZE + 4];
    const struct http_grant *grant = exchange->pool->access.grant;
    bool added = true;
    for (uint32_t i = 0; i < grant->secret_count && added; i++) {
        const struct http_secret *secret = &grant->secrets[i];
        if (!http_origin_equals(&secret->origin, &exchange->request.origin))
            continue;
        snprintf(line, sizeof(line), "%s: %s", secret->header, secret->value);
        added = add_header(exchange, line);
        exchange->has_secret = true;
    }
    explicit_bzero(line, sizeof(line));
    return added;
}

static bool add_headers(struct http_exchange *exchange)
{
    static char line[HEADER_SIZE];
    const struct http_request *request = &exchange->request;
    const char *at = request->headers;
    struct http_header header;
    bool typed = false;
    while (at && at < request->headers + request->headers_length &&
           http_header_next(&at, request->headers + request->headers_length, &header)) {
        typed |= http_header_is(&header, "content-type");
        // A semicolon: the value is empty. A colon would take the header away.
        int length =
            snprintf(line, sizeof(line), "%.*s%s%.*s", (int)header.name_length, header.name,
                     header.value_length ? ": " : ";", (int)header.value_length, header.value);
        if (length < 0 || length >= (int)sizeof(line) || !add_header(exchange, line))
            return false;
    }
    // Not what curl would say, and nothing before the server has agreed.
    return add_header(exchange, "Accept-Encoding: identity") && add_header(exchange, "Expect:") &&
           (typed || add_header(exchange, "Content-Type:")) && add_secrets(exchange);
}

static uint64_t left_ns(const struct http_exchange *exchange)
{
    uint64_t now_ns = clock_now_ns(&clock_host);
    return exchange->deadline_ns > now_ns ? exchange->deadline_ns - now_ns : 0;
}

// Options fail for want of memory only, or if curl was built without them: either way nothing is
// sent.
#define SET(option, value) (bad = bad ? bad : curl_easy_setopt(easy, option, value))

static CURLcode set_limits(CURL *easy, const struct http_exchange *exchange)
{
    const struct http_grant *grant = exchange->pool->access.grant;
    CURLcode bad = CURLE_OK;
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)grant->connect_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)(left_ns(exchange) / NS_PER_MS) + 1);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)(grant->idle_ms + 999) / 1000);
    SET(CURLOPT_FOLLOWLOCATION, 0L); // the model asks again: through the policy
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    return bad;
}

static CURLcode set_tls(CURL *easy, struct http_exchange *exchange)
{
    CURLcode bad = CURLE_OK;
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L); // a resumed session would not be checked again
    SET(CURLOPT_CAINFO, NULL);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    SET(CURLOPT_SSL_CTX_DATA, &exchange->check);
    return bad;
}

static CURLcode set_callbacks(CURL *easy, struct http_exchange *exchange)
{
    CURLcode bad = CURLE_OK;
    SET(CURLOPT_PRIVATE, exchange);
    SET(CURLOPT_HEADERFUNCTION, receive_header);
    SET(CURLOPT_HEADERDATA, exchange);
    SET(CURLOPT_WRITEFUNCTION, receive_body);
    SET(CURLOPT_WRITEDATA, exchange);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, exchange);
    return bad;
}

static CURLcode set_request(CURL *easy, struct http_exchange *exchange)
{
    static char url[URL_SIZE];
    const struct http_request *request = &exchange->request;
    bool inside = strchr(exchange->request.origin.host, ':') != NULL;
    CURLcode bad = CURLE_OK;
    snprintf(url, sizeof(url), "%s://%s%s%s:%u%.*s",
             http_scheme_names[exchange->request.origin.scheme], inside ? "[" : "",
             exchange->request.origin.host, inside ? "]" : "", exchange->request.origin.port,
             (int)request->path_length, request->path);
    SET(CURLOPT_URL, url);
    if (request->method == HTTP_METHOD_HEAD)
        SET(CURLOPT_NOBODY, 1L);
    // Without a body POST and PUT say so, and others say nothing.
    if (request->body || request->method == HTTP_METHOD_POST ||
        request->method == HTTP_METHOD_PUT || request->method == HTTP_METHOD_PATCH) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
        SET(CURLOPT_COPYPOSTFIELDS, request->body_length ? (const char *)request->body : "");
    }
    SET(CURLOPT_CUSTOMREQUEST, http_method_names[request->method]);
    SET(CURLOPT_HTTPHEADER, exchange->headers);
    return bad;
}

// The proxy, too, is told the address that was checked, not the name.
static CURLcode set_route(CURL *easy, struct http_exchange *exchange)
{
    const struct http_grant *grant = exchange->pool->access.grant;
    struct http_address *address = &exchange->addresses[exchange->address_next++];
    char text[HTTP_ADDRESS_TEXT_SIZE];
    char route[HTTP_ADDRESS_TEXT_SIZE + 16];
    char proxy[HTTP_ADDRESS_TEXT_SIZE + 16] = "";
    CURLcode bad = CURLE_OK;
    address->port = exchange->request.origin.port;
    http_address_write(address, true, text);
    snprintf(route, sizeof(route), "::%s:%u", text, address->port);
    exchange->connect = *address;
    if (grant->proxy.version) {
        exchange->connect = grant->proxy;
        http_address_write(&grant->proxy, true, text);
        snprintf(proxy, sizeof(proxy), "http://%s:%u", text, grant->proxy.port);
    }
    exchange->connect_to = curl_slist_append(NULL, route);
    if (!exchange->connect_to)
        return CURLE_OUT_OF_MEMORY;
    SET(CURLOPT_CONNECT_TO, exchange->connect_to);
    SET(CURLOPT_PROXY, proxy); // empty: none, whatever the environment says
    SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return bad;
}

// Sends the request to the next of its addresses.
static void send_request(struct http_exchange *exchange)
{
    struct http_pool *pool = exchange->pool;
    CURL *easy = exchange->easy = curl_easy_init();
    CURLcode bad = !easy || !add_headers(exchange) ? CURLE_OUT_OF_MEMORY : CURLE_OK;
    exchange->check = (struct http_tls_check){.tls = &pool->tls};
    bad = bad ? bad : set_limits(easy, exchange);
    bad = bad ? bad : set_tls(easy, exchange);
    bad = bad ? bad : set_callbacks(easy, exchange);
    bad = bad ? bad : set_request(easy, exchange);
    bad = bad ? bad : set_route(easy, exchange);
    if (bad || curl_multi_add_handle(pool->multi, easy) != CURLM_OK) {
        end_transfer(exchange);
        finish(exchange, PORT_STATUS_FAILED, "the request cannot be sent");
        return;
    }
    exchange->state = HTTP_EXCHANGE_RUNNING;
}

// All of a name's addresses have to be reachable: one that is public does not vouch for one that
// is not.
static void resolved(void *context, enum http_resolved how, const struct http_address *addresses,
                     uint32_t count)
{
    struct http_exchange *exchange = context;
    if (exchange->state == HTTP_EXCHANGE_ABANDONED) {
        exchange->state = HTTP_EXCHANGE_FREE;
        return;
    }
    if (how == HTTP_NO_SUCH_NAME) {
        finish(exchange, PORT_STATUS_NOT_FOUND, "the host has no address");
        return;
    }
    if (how == HTTP_NOT_RESOLVED) {
        finish(exchange, PORT_STATUS_FAILED, "the name servers do not answer");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!http_access_reaches(&exchange->pool->access, &addresses[i])) {
            finish(exchange, PORT_STATUS_DENIED, "the host has an address that is not allowed");
            return;
        }
    }
    memcpy(exchange->addresses, addresses, count * sizeof(*addresses));
    exchange->address_count = count;
    send_request(exchange);
}

static void resolve(struct http_exchange *exchange)
{
    struct http_pool *pool = exchange->pool;
    const char *host = exchange->request.origin.host;
    const struct http_name *name = http_access_name(&pool->access, host);
    struct http_address address;
    exchange->state = HTTP_EXCHANGE_RESOLVING;
    if (http_address_read(host, strlen(host), &address))
        resolved(exchange, HTTP_RESOLVED, &address, 1);
    else if (name)
        resolved(exchange, HTTP_RESOLVED, name->addresses, name->address_count);
    else if (!pool->access.grant->nameserver_count)
        resolved(exchange, HTTP_NOT_RESOLVED, NULL, 0);
    else
        http_resolver_ask(&pool->resolver, host, resolved, exchange);
}

static uint32_t next_stream(struct http_pool *pool)
{
    do
        pool->last_stream++;
    while (!pool->last_stream || http_pool_find(pool, pool->last_stream));
    return pool->last_stream;
}

struct http_exchange *http_exchange_start(struct http_pool *pool,
                                          const struct http_request *request, size_t room,
                                          bool stream)
{
    struct http_exchange *exchange = NULL;
    unsigned streams = 0;
    for (unsigned i = 0; i < HTTP_EXCHANGES; i++) {
        if (pool->exchanges[i].state == HTTP_EXCHANGE_FREE)
            exchange = &pool->exchanges[i];
        else if (pool->exchanges[i].stream)
            streams++;
    }
    if (!exchange || (stream && streams >= HTTP_STREAMS_MAX))
        return NULL;
    const struct http_grant *grant = pool->access.grant;
    uint64_t now_ns = clock_now_ns(&clock_host);
    *exchange = (struct http_exchange){
        .pool = pool,
        .stream = stream ? next_stream(pool) : 0,
        .touched_ns = now_ns,
        .deadline_ns = now_ns + (stream ? grant->stream_ms : grant->request_ms) * NS_PER_MS,
        .request = *request,
        .head = malloc(HTTP_REPLY_HEADERS_MAX),
        .room = stream ? HTTP_STREAM_BUFFER : room,
    };
    exchange->body = malloc(exchange->room + 1); // never of 0 bytes
    if (exchange->head && exchange->body) {
        resolve(exchange);
    } else {
        exchange->room = 0;
        finish(exchange, PORT_STATUS_FAILED, "no memory");
    }
    return exchange;
}

// Another address is tried where nothing was sent.
static bool try_next(struct http_exchange *exchange, CURLcode code)
{
    long sent = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_REQUEST_SIZE, &sent);
    if (sent || (code != CURLE_COULDNT_CONNECT && code != CURLE_OPERATION_TIMEDOUT) ||
        exchange->address_next == exchange->address_count || !left_ns(exchange))
        return false;
    end_transfer(exchange);
    send_request(exchange);
    return true;
}

static void explain(struct http_exchange *exchange, CURLcode code)
{
    if (exchange->result || exchange->reason) // a callback of ours ended it
        finish(exchange, exchange->result ? exchange->result : PORT_STATUS_FAILED,
               exchange->reason);
    else if (exchange->check.marked)
        finish(exchange, PORT_STATUS_DENIED, "the server is a contained host");
    else if (code == CURLE_OPERATION_TIMEDOUT)
        finish(exchange, PORT_STATUS_TIMED_OUT, "the server took too long");
    else
        finish(exchange, PORT_STATUS_FAILED, curl_easy_strerror(code));
}

static void conclude(struct http_exchange *exchange, CURLcode code)
{
    if (code == CURLE_OK && exchange->head_done)
        finish(exchange, PORT_STATUS_OK, NULL);
    else if (code == CURLE_OK)
        finish(exchange, PORT_STATUS_FAILED, "the server sent no reply");
    else if (try_next(exchange, code))
        return;
    else
        explain(exchange, code);
    end_transfer(exchange);
}

// Streams that nobody reads any more.
static void drop_idle(struct http_pool *pool, uint64_t now_ns)
{
    uint64_t most_ns = pool->access.grant->stream_ms * NS_PER_MS;
    for (unsigned i = 0; i < HTTP_EXCHANGES; i++) {
        struct http_exchange *exchange = &pool->exchanges[i];
        if (exchange->state != HTTP_EXCHANGE_FREE && exchange->opened &&
            now_ns - exchange->touched_ns > most_ns)
            http_exchange_release(exchange);
    }
}

void http_pool_serve(struct http_pool *pool)
{
    uint64_t now_ns = clock_now_ns(&clock_host);
    const CURLMsg *message;
    bool resolving = false;
    bool running = false;
    int left;
    if (now_ns - pool->served_ns < SERVE_INTERVAL_NS)
        return;
    pool->served_ns = now_ns;
    for (unsigned i = 0; i < HTTP_EXCHANGES; i++) {
        enum http_exchange_state state = pool->exchanges[i].state;
        resolving |= state == HTTP_EXCHANGE_RESOLVING || state == HTTP_EXCHANGE_ABANDONED;
        running |= state == HTTP_EXCHANGE_RUNNING;
    }
    if (resolving)
        http_resolver_serve(&pool->resolver);
    if (resolving || running)
        curl_multi_perform(pool->multi, &left);
    while ((message = curl_multi_info_read(pool->multi, &left))) {
        struct http_exchange *exchange = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result; // the message goes with the transfer
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
        conclude(exchange, code);
    }
    drop_idle(pool, now_ns);
}

struct http_exchange *http_pool_find(struct http_pool *pool, uint32_t stream)
{
    for (unsigned i = 0; i < HTTP_EXCHANGES; i++) {
        struct http_exchange *exchange = &pool->exchanges[i];
        if (stream && exchange->stream == stream &&
            (exchange->state == HTTP_EXCHANGE_RUNNING || exchange->state == HTTP_EXCHANGE_FINISHED))
            return exchange;
    }
    return NULL;
}

size_t http_exchange_ready(const struct http_exchange *exchange)
{
    size_t longest = exchange->pool->redactor.longest;
    size_t held = exchange->state != HTTP_EXCHANGE_FINISHED && longest ? longest - 1 : 0;
    return exchange->used - exchange->start > held ? exchange->used - exchange->start - held : 0;
}

void http_exchange_take(struct http_exchange *exchange, uint8_t *target, size_t length)
{
    http_redact(&exchange->pool->redactor, exchange->body, exchange->used, exchange->start,
                exchange->start + length, target);
    exchange->start += length;
    exchange->touched_ns = clock_now_ns(&clock_host);
    if (exchange->paused) {
        exchange->paused = false;
        compact(exchange);
        curl_easy_pause(exchange->easy, CURLPAUSE_CONT);
    }
}

void http_exchange_release(struct http_exchange *exchange)
{
    bool resolving = exchange->state == HTTP_EXCHANGE_RESOLVING;
    end_transfer(exchange);
    free(exchange->head);
    free(exchange->body);
    struct http_pool *pool = exchange->pool;
    *exchange = (struct http_exchange){
        .pool = pool,
        .state = resolving ? HTTP_EXCHANGE_ABANDONED : HTTP_EXCHANGE_FREE,
    };
}

static int open_multi(struct http_pool *pool)
{
    pool->multi = curl_multi_init();
    return pool->multi ? 0 : -1;
}

void http_pool_forget(struct http_pool *pool)
{
    for (unsigned i = 0; i < HTTP_EXCHANGES; i++) {
        if (pool->exchanges[i].state != HTTP_EXCHANGE_FREE &&
            pool->exchanges[i].state != HTTP_EXCHANGE_ABANDONED)
            http_exchange_release(&pool->exchanges[i]);
    }
    // With the pool its connections go, which no request has any more.
    curl_multi_cleanup(pool->multi);
    if (open_multi(pool) < 0)
        abort(); // the supervisor starts the process again
}

void http_forget_environment(void)
{
    clearenv();
    setenv("TZ", "UTC0", 1);
    tzset(); // with one that is named it is not looked up again
}

int http_pool_open(struct http_pool *pool, const void *grant, size_t length,
                   const int fds[HTTP_FDS], struct error *err)
{
    *pool = (struct http_pool){0};
    if (http_access_open(&pool->access, grant, length, err) < 0)
        return -1;
    const struct http_grant *own = pool->access.grant;
    http_redactor_open(&pool->redactor, own);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) || open_multi(pool) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "http: curl cannot be started");
    if (http_resolver_open(&pool->resolver, own, err) < 0)
        return -1;
    return http_tls_open(&pool->tls, fds[HTTP_FD_AUTHORITIES], fds[HTTP_FD_CERTIFICATE],
                         fds[HTTP_FD_KEY], own->identity_oid, err);
}
