// SPDX-License-Identifier: Apache-2.0
// One HTTPS request to a device whose certificate is known. TLS verification cannot be turned off,
// redirects are not followed, no proxy is used, and everything about a reply is bounded.
#ifndef MONITOR_ACTUATOR_HTTP_H
#define MONITOR_ACTUATOR_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define HTTP_REPLY_MAX_BYTES   (256u << 10)
#define HTTP_HEADERS_MAX_BYTES (16u << 10)
#define HTTP_TOKEN_SIZE        512
#define HTTP_PATH_SIZE         256

// Whom to talk to. Borrowed.
struct http_peer {
    const char *host; // to connect to
    uint32_t port;
    const char *server_name; // in the certificate
    const char *ca_file;     // NULL: only the pin says whom to trust
    const uint8_t *pin;      // SHA-256 of the SubjectPublicKeyInfo, or NULL
};

struct http_request {
    const char *method; // GET, POST, DELETE
    const char *path;
    const char *body; // JSON, or NULL
    const char *user; // basic authentication, or NULL
    const char *password;
    const char *token;   // X-Auth-Token, or NULL
    uint32_t timeout_ms; // for all of it; not 0
};

struct http_reply {
    long status;
    bool sent; // the request may have reached the peer, whatever became of the reply
    size_t length;
    char body[HTTP_REPLY_MAX_BYTES];
    char token[HTTP_TOKEN_SIZE];   // X-Auth-Token, printable, or ""
    char location[HTTP_PATH_SIZE]; // the path of Location, or ""
};

// Sends a request and fills `reply`. Returns 0 whatever the status of the reply is; -1 if there is
// none that is complete.
int http_ask(const struct http_peer *peer, const struct http_request *request,
             struct http_reply *reply, struct error *err);

#endif
