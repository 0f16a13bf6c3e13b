// SPDX-License-Identifier: Apache-2.0
// Exchanges with servers: a request each, resolved, checked, sent, and its reply as it comes.
#ifndef DEVICES_HTTP_EXCHANGE_H
#define DEVICES_HTTP_EXCHANGE_H

#include <curl/curl.h>

#include "http_access.h"
#include "http_redact.h"
#include "http_resolver.h"
#include "http_tls.h"

#define HTTP_EXCHANGES 64u

#define HTTP_REPLY_HEADERS_MAX (32u << 10)

// What a stream holds of its reply while the model does not read.
#define HTTP_STREAM_BUFFER (128u << 10)

enum http_exchange_state {
    HTTP_EXCHANGE_FREE,
    HTTP_EXCHANGE_RESOLVING,
    HTTP_EXCHANGE_RUNNING,
    HTTP_EXCHANGE_FINISHED,
    HTTP_EXCHANGE_ABANDONED, // freed when the resolver has spoken
};

struct http_exchange {
    struct http_pool *pool;
    enum http_exchange_state state;
    uint32_t stream; // its number, or 0: a reply as a whole
    bool opened;     // the model knows the number
    uint64_t touched_ns;
    uint64_t deadline_ns;        // of the whole reply, whatever is tried
    struct http_request request; // its texts are there until it is sent
    CURL *easy;
    struct curl_slist *headers;
    struct curl_slist *connect_to;
    struct http_address addresses[HTTP_MAX_ADDRESSES];
    uint32_t address_count;
    uint32_t address_next;
    struct http_address connect; // the only address that a socket is made for
    struct http_tls_check check;
    bool has_secret; // one went with the request
    // The reply. Status 0: none yet.
    long status;
    bool head_done;
    uint8_t *head;
    size_t head_used;
    uint8_t *body;
    size_t room;
    size_t start; // what the model has read ends here
    size_t used;
    bool paused;
    uint32_t result;    // enum port_status, once finished
    const char *reason; // of a result other than PORT_STATUS_OK
};

struct http_pool {
    struct http_access access;
    struct http_redactor redactor;
    struct http_resolver resolver;
    struct http_tls tls;
    CURLM *multi;
    uint32_t last_stream;
    uint64_t served_ns; // when last
    struct http_exchange exchanges[HTTP_EXCHANGES];
};

// First of all in a program with pools: curl and OpenSSL would follow the environment (proxies,
// files of certificates and of keys), and look for the time zone's file where none can be opened.
void http_forget_environment(void);

// Makes a pool of a grant of `length` bytes; descriptors stay the caller's, -1: none.
int http_pool_open(struct http_pool *pool, const void *grant, size_t length,
                   const int fds[HTTP_FDS], struct error *err);

// Starts an exchange for an allowed request, whose texts have to stay until the reply's head is
// there or the exchange is released. `room`: most bytes of the reply's body, if it is no stream.
// Returns NULL if there are too many.
struct http_exchange *http_exchange_start(struct http_pool *pool,
                                          const struct http_request *request, size_t room,
                                          bool stream);

// Goes on with all exchanges, without waiting.
void http_pool_serve(struct http_pool *pool);

// Finds an open stream by its number, or NULL.
struct http_exchange *http_pool_find(struct http_pool *pool, uint32_t stream);

// Bytes of the body that can be handed out by http_exchange_take: no secret begins in them that is
// not whole yet.
size_t http_exchange_ready(const struct http_exchange *exchange);

// Copies the next `length` bytes, which are ready, with secrets made unreadable.
void http_exchange_take(struct http_exchange *exchange, uint8_t *target, size_t length);

// Ends it; its memory is not used any more.
void http_exchange_release(struct http_exchange *exchange);

// Ends all, and closes the connections that wait for the next.
void http_pool_forget(struct http_pool *pool);

#endif
