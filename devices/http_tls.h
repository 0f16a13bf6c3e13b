// SPDX-License-Identifier: Apache-2.0
// TLS of an http port: whom it believes, who it is, and that it talks to no other contained host
// (docs/identity.md).
#ifndef DEVICES_HTTP_TLS_H
#define DEVICES_HTTP_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "error.h"

struct http_tls {
    X509_STORE *authorities;
    X509 *certificate; // NULL: none is presented
    EVP_PKEY *key;
    STACK_OF(X509) * chain; // what stands behind the certificate in its file
    ASN1_OBJECT *mark;
};

// Reads PEM from descriptors, which stay the caller's; `certificate` and `key` are -1 without one.
// Refuses a certificate without the mark, or of another key.
int http_tls_open(struct http_tls *tls, int authorities, int certificate, int key,
                  const char *identity_oid, struct error *err);

// What is found out about the server of one connection.
struct http_tls_check {
    const struct http_tls *tls;
    bool marked; // it was refused for its mark
};

// Makes a context of OpenSSL's follow all this; the check outlives it. False: no memory.
bool http_tls_apply(struct http_tls_check *check, SSL_CTX *context);

#endif
