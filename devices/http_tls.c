// SPDX-License-Identifier: Apache-2.0
// TLS of an http port.
#include "http_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static int no_passphrase(char *text, int size, int writing, void *context)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

static BIO *open_pem(int fd, const char *what, struct error *err)
{
    BIO *bio = BIO_new_fd(fd, BIO_NOCLOSE);
    // PEM is read line by line: that needs a buffer.
    BIO *buffer = BIO_new(BIO_f_buffer());
    if (bio && buffer)
        return BIO_push(buffer, bio);
    BIO_free(bio);
    BIO_free(buffer);
    error_set(err, EXIT_STATUS_RESOURCES, 0, "http: %s: no memory", what);
    return NULL;
}

static int read_authorities(struct http_tls *tls, int fd, struct error *err)
{
    unsigned count = 0;
    X509 *one;
    BIO *bio = open_pem(fd, "certificate authorities", err);
    if (!bio)
        return -1;
    tls->authorities = X509_STORE_new();
    bool sound = tls->authorities != NULL;
    while (sound && (one = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL))) {
        sound = X509_STORE_add_cert(tls->authorities, one) == 1;
        X509_free(one);
        count++;
    }
    BIO_free_all(bio);
    ERR_clear_error(); // that of the file's end
    if (!sound || !count)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "http: \"ca\": a file of certificates (PEM) is expected");
    return 0;
}

static int read_certificate(struct http_tls *tls, int fd, struct error *err)
{
    X509 *one;
    BIO *bio = open_pem(fd, "certificate", err);
    if (!bio)
        return -1;
    tls->certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    tls->chain = sk_X509_new_null();
    while (tls->certificate && tls->chain &&
           (one = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)))
        sk_X509_push(tls->chain, one);
    BIO_free_all(bio);
    ERR_clear_error();
    return tls->certificate && tls->chain
               ? 0
               : error_set(err, EXIT_STATUS_BAD_FILE, 0,
                           "http: \"certificate\": a certificate (PEM) is expected");
}

static int read_key(struct http_tls *tls, int fd, struct error *err)
{
    BIO *bio = open_pem(fd, "key", err);
    if (!bio)
        return -1;
    tls->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free_all(bio);
    bool fits = tls->key && X509_check_private_key(tls->certificate, tls->key) == 1;
    ERR_clear_error();
    return fits ? 0
                : error_set(err, EXIT_STATUS_BAD_FILE, 0,
                            "http: \"key\": the certificate's private key (PEM, without a "
                            "passphrase) is expected");
}

static bool has_mark(const struct http_tls *tls, const X509 *certificate)
{
    return X509_get_ext_by_OBJ(certificate, tls->mark, -1) >= 0;
}

int http_tls_open(struct http_tls *tls, int authorities, int certificate, int key,
                  const char *identity_oid, struct error *err)
{
    *tls = (struct http_tls){.mark = OBJ_txt2obj(identity_oid, 1)};
    if (!tls->mark)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "http: \"identity_oid\": %s is no object identifier", identity_oid);
    if (read_authorities(tls, authorities, err) < 0)
        return -1;
    if (certificate < 0)
        return 0;
    if (read_certificate(tls, certificate, err) < 0 || read_key(tls, key, err) < 0)
        return -1;
    if (!has_mark(tls, tls->certificate))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "http: \"certificate\" lacks the extension %s, which marks a Guillotine "
                         "host: see docs/identity.md",
                         identity_oid);
    return 0;
}

// In place of OpenSSL's own, which comes first. Whoever in the chain has the mark, it is refused:
// an authority with the mark vouches for contained hosts only.
static int verify(X509_STORE_CTX *context, void *argument)
{
    struct http_tls_check *check = argument;
    if (X509_verify_cert(context) != 1)
        return 0;
    const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (!has_mark(check->tls, sk_X509_value(chain, i)))
            continue;
        check->marked = true;
        X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

bool http_tls_apply(struct http_tls_check *check, SSL_CTX *context)
{
    const struct http_tls *tls = check->tls;
    if (SSL_CTX_set1_verify_cert_store(context, tls->authorities) != 1)
        return false;
    SSL_CTX_set_cert_verify_callback(context, verify, check);
    // A server that shakes hands again, on a connection that waits for its next request, would be
    // verified with the check of an exchange that is over.
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    if (!tls->certificate)
        return true;
    return SSL_CTX_use_certificate(context, tls->certificate) == 1 &&
           SSL_CTX_use_PrivateKey(context, tls->key) == 1 &&
           SSL_CTX_set1_chain(context, tls->chain) == 1;
}
