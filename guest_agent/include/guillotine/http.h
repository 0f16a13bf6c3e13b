// SPDX-License-Identifier: Apache-2.0
// The cell SDK's client of an http port: requests to the origins that the operator allows.
//
// All calls wait for the reply. They return a port status: PORT_STATUS_DENIED (not allowed),
// NOT_FOUND (the host has no address; no such stream), INVALID (the request is spelt in a way that
// is not let through; the reason says which), FAILED (no connection, no trust), TIMED_OUT,
// TOO_LARGE, ...; or -1 if the request or the reply does not fit the port, or makes no sense. What
// a server answers, 404 included, is PORT_STATUS_OK with its status in the reply.
#ifndef GUILLOTINE_HTTP_H
#define GUILLOTINE_HTTP_H

#include <guillotine/cell.h>

// Texts are terminated; those that may be NULL are left out.
struct cell_http_request {
    const char *method; // "GET", ...
    const char *scheme; // "https" or "http"
    const char *host;   // in lower case; IPv6 without brackets
    uint32_t port;
    const char *path;    // with the query, escaped as RFC 3986 has it
    const char *headers; // "Name: value\n" each; may be NULL
    const void *body;    // may be NULL
    size_t body_length;
};

// Nothing is terminated. All of it stays where the port wrote it until the port's next request.
struct cell_http_reply {
    uint32_t status;     // of the server, 100 to 599; 0: there is no reply
    const char *headers; // "Name: value\n" each
    size_t headers_length;
    const void *body;
    size_t body_length;
    const char *reason; // why there is no reply
    size_t reason_length;
};

// Sends a request and gets all of the reply, which has to fit the port's max_reply_bytes.
int cell_http_fetch(struct cell_port *port, const struct cell_http_request *request,
                    struct cell_http_reply *reply);

// Sends a request and gets the reply's status and headers; the body comes with cell_http_read.
// Every stream that was opened has to be closed.
int cell_http_open(struct cell_port *port, const struct cell_http_request *request,
                   struct cell_http_reply *reply, uint32_t *stream);

// Waits for more of a body. *length is 0 at its end. *data stays until the port's next request.
int cell_http_read(struct cell_port *port, uint32_t stream, const void **data, size_t *length);

int cell_http_close(struct cell_port *port, uint32_t stream);

#define CELL_HTTP_URL_MAX 2048u

// A URL taken apart.
struct cell_http_url {
    char text[CELL_HTTP_URL_MAX]; // the parts of `request` lie in it
    char path[CELL_HTTP_URL_MAX];
    struct cell_http_request request; // GET, without headers and body
};

// Takes "SCHEME://HOST[:PORT][/PATH]" apart; a fragment is dropped. Returns 1, or 0 if it is none.
int cell_http_url_parse(struct cell_http_url *url, const char *text, size_t length);

// Gets a URL. Up to `redirects` times it goes where a reply points to, each time with a request of
// its own, which policy decides about as about any other. `url` says at the end what was asked.
int cell_http_get(struct cell_port *port, struct cell_http_url *url, unsigned redirects,
                  struct cell_http_reply *reply);

// Finds a header of a reply by its name, in whatever case. Returns 1, or 0 if there is none.
int cell_http_header(const struct cell_http_reply *reply, const char *name, const char **value,
                     size_t *length);

#endif
