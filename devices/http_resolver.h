// SPDX-License-Identifier: Apache-2.0
// Names to addresses, with the grant's name servers and no others: c-ares, without files, search
// lists and caches.
#ifndef DEVICES_HTTP_RESOLVER_H
#define DEVICES_HTTP_RESOLVER_H

#include <ares.h>

#include "error.h"
#include "http_grant.h"

struct http_resolver {
    ares_channel channel;
};

enum http_resolved {
    HTTP_RESOLVED,
    HTTP_NO_SUCH_NAME,
    HTTP_NOT_RESOLVED, // no answer, or a wrong one
};

// Told once for each lookup; `addresses` is valid during the call.
typedef void http_resolver_done(void *context, enum http_resolved how,
                                const struct http_address *addresses, uint32_t count);

int http_resolver_open(struct http_resolver *resolver, const struct http_grant *grant,
                       struct error *err);

// Looks a name up; `done` may be called before this returns. It has at most HTTP_MAX_ADDRESSES
// addresses, IPv4 first.
void http_resolver_ask(struct http_resolver *resolver, const char *host, http_resolver_done *done,
                       void *context);

// Sends and receives what there is, without waiting.
void http_resolver_serve(struct http_resolver *resolver);

#endif
