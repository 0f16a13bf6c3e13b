// SPDX-License-Identifier: Apache-2.0
// The front of the serve backend: the OpenAI API over HTTP, on sockets that somebody else opened.
#ifndef DEVICES_SERVE_HTTP_H
#define DEVICES_SERVE_HTTP_H

#include "serve.h"
#include "serve_grant.h"

struct MHD_Daemon;
struct serve_client;
struct serve_exchange;

struct serve_http;

// One socket that clients connect to.
struct serve_http_listener {
    struct serve_http *http;
    struct MHD_Daemon *daemon;
    bool is_unix; // else TCP
};

struct serve_http {
    struct serve *serve;
    const struct serve_grant *grant; // borrowed
    int epoll_fd;
    bool news; // a suspended connection was resumed
    const struct clock *clock;
    struct serve_client *clients;
    struct serve_exchange *exchanges; // that have a call
    struct serve_http_listener listeners[SERVE_LISTENERS_MAX];
};

// Serves clients of `serve` at the grant's listening sockets, which become the front's. Makes every
// descriptor that it will need but those of connections. Returns 0 or -1.
int serve_http_open(struct serve_http *http, struct serve *serve, const struct serve_grant *grant,
                    const int *listeners, struct error *err);

// Readable when clients have work for serve_http_run; serve_http_has_news: when calls have.
int serve_http_epoll_fd(const struct serve_http *http);

bool serve_http_has_news(const struct serve_http *http);

// True while somebody is connected: then serve_http_run wants to be called now and then.
bool serve_http_has_clients(const struct serve_http *http);

// Moves what can be moved. Never blocks.
void serve_http_run(struct serve_http *http);

// The VM is isolated: writes to the clients of calls, which the core has ended, what can be written
// without blocking.
void serve_http_farewell(struct serve_http *http);

#endif
