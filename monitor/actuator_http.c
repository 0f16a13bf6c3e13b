// SPDX-License-Identifier: Apache-2.0
// HTTPS through libcurl and OpenSSL.
#include "actuator_http.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct transfer {
    const struct http_peer *peer;
    struct http_reply *reply;
    size_t header_bytes;
    bool too_large;
};

static bool pin_matches(X509 *certificate, const uint8_t *pin)
{
    unsigned char *key = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
    bool same = length > 0 &&
                EVP_Digest(key, (size_t)length, digest, &size, EVP_sha256(), NULL) == 1 &&
                size == 32 && !memcmp(digest, pin, 32);
    OPENSSL_free(key);
    return same;
}

// Decides about the peer's certificate, before a byte of the request is sent: the chain, if there
// is an authority to check it with, and the key, if it is known. With the key alone the times still
// count; libcurl checks the name in all cases.
static int verify(X509_STORE_CTX *context, void *argument)
{
    const struct http_peer *peer = argument;
    X509 *certificate = X509_STORE_CTX_get0_cert(context);
    if (peer->ca_file && X509_verify_cert(context) != 1)
        return 0;
    int problem = X509_V_OK;
    if (!certificate || (!peer->ca_file && !peer->pin))
        problem = X509_V_ERR_UNSPECIFIED;
    else if (peer->pin && !pin_matches(certificate, peer->pin))
        problem = X509_V_ERR_CERT_UNTRUSTED;
    else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0)
        problem = X509_V_ERR_CERT_NOT_YET_VALID;
    else if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
        problem = X509_V_ERR_CERT_HAS_EXPIRED;
    X509_STORE_CTX_set_error(context, problem);
    return problem == X509_V_OK;
}

static CURLcode prepare_tls(CURL *curl, void *context, void *argument)
{
    const struct transfer *transfer = argument;
    (void)curl;
    SSL_CTX_set_cert_verify_callback(context, verify, (void *)(uintptr_t)transfer->peer);
    return CURLE_OK;
}

static size_t take_body(char *data, size_t size, size_t count, void *argument)
{
    struct transfer *transfer = argument;
    struct http_reply *reply = transfer->reply;
    size_t bytes = size * count;
    if (bytes > sizeof(reply->body) - reply->length) {
        transfer->too_large = true;
        return 0;
    }
    memcpy(reply->body + reply->length, data, bytes);
    reply->length += bytes;
    return bytes;
}

// Copies a header's value without its surrounding blanks if it is printable and fits; else "".
static void take_value(const char *value, size_t length, char *target, size_t size)
{
    while (length && (*value == ' ' || *value == '\t')) {
        value++;
        length--;
    }
    while (length && (value[length - 1] == '\r' || value[length - 1] == '\n' ||
                      value[length - 1] == ' ' || value[length - 1] == '\t'))
        length--;
    target[0] = '\0';
    if (length >= size)
        return;
    for (size_t i = 0; i < length; i++) {
        if (value[i] <= 0x20 || value[i] > 0x7e)
            return;
    }
    memcpy(target, value, length);
    target[length] = '\0';
}

static void keep_path(char *location)
{
    // An absolute one may name any host: only its path is used, on the peer that we talk to.
    if (!strncasecmp(location, "https://", 8)) {
        const char *path = strchr(location + 8, '/');
        memmove(location, path ? path : "", path ? strlen(path) + 1 : 1);
    }
    if (strncmp(location, "/redfish/v1/", 12) || strstr(location, ".."))
        location[0] = '\0';
}

static size_t take_header(char *data, size_t size, size_t count, void *argument)
{
    static const char token[] = "X-Auth-Token:";
    static const char location[] = "Location:";
    struct transfer *transfer = argument;
    struct http_reply *reply = transfer->reply;
    size_t bytes = size * count;
    transfer->header_bytes += bytes;
    if (transfer->header_bytes > HTTP_HEADERS_MAX_BYTES) {
        transfer->too_large = true;
        return 0;
    }
    if (bytes > sizeof(token) - 1 && !strncasecmp(data, token, sizeof(token) - 1))
        take_value(data + sizeof(token) - 1, bytes - (sizeof(token) - 1), reply->token,
                   sizeof(reply->token));
    if (bytes > sizeof(location) - 1 && !strncasecmp(data, location, sizeof(location) - 1)) {
        take_value(data + sizeof(location) - 1, bytes - (sizeof(location) - 1), reply->location,
                   sizeof(reply->location));
        keep_path(reply->location);
    }
    return bytes;
}

static int set_peer(CURL *curl, const struct transfer *transfer, const struct http_request *request)
{
    const struct http_peer *peer = transfer->peer;
    char url[HTTP_PATH_SIZE + 512];
    const char *name = peer->server_name;
    bool address = strchr(name, ':') != NULL;
    int n = snprintf(url, sizeof(url), "https://%s%s%s:%u%s", address ? "[" : "", name,
                     address ? "]" : "", peer->port, request->path);
    CURLcode bad = n < 0 || n >= (int)sizeof(url) ? CURLE_URL_MALFORMAT : CURLE_OK;
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_URL, url);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_PROXY, "");
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_CAINFO, peer->ca_file);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, transfer);
    // A session of TLS that is resumed would not be verified again.
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
    return bad ? -1 : 0;
}

static int set_request(CURL *curl, struct transfer *transfer, const struct http_request *request,
                       struct curl_slist **headers, struct curl_slist **connect_to)
{
    const struct http_peer *peer = transfer->peer;
    char line[HTTP_TOKEN_SIZE + 64];
    bool address = strchr(peer->host, ':') != NULL;
    snprintf(line, sizeof(line), "::%s%s%s:%u", address ? "[" : "", peer->host, address ? "]" : "",
             peer->port);
    *connect_to = curl_slist_append(NULL, line);
    *headers = curl_slist_append(NULL, "Accept: application/json");
    bool ok = *connect_to && *headers && curl_slist_append(*headers, "OData-Version: 4.0") &&
              curl_slist_append(*headers, "Expect:") &&
              curl_slist_append(*headers, "Content-Type: application/json");
    if (request->token) {
        snprintf(line, sizeof(line), "X-Auth-Token: %s", request->token);
        ok = ok && curl_slist_append(*headers, line);
    }
    CURLcode bad = ok ? CURLE_OK : CURLE_OUT_OF_MEMORY;
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_CONNECT_TO, *connect_to);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
    if (request->body) {
        bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
        bad =
            bad ? bad : curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
    }
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    if (request->user) {
        bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_USERNAME, request->user);
        bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_PASSWORD, request->password);
    }
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    bad = bad ? bad : curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    return bad ? -1 : 0;
}

int http_ask(const struct http_peer *peer, const struct http_request *request,
             struct http_reply *reply, struct error *err)
{
    struct transfer transfer = {.peer = peer, .reply = reply};
    struct curl_slist *headers = NULL;
    struct curl_slist *connect_to = NULL;
    char text[CURL_ERROR_SIZE] = "";
    long sent = 0;
    reply->status = 0;
    reply->sent = false;
    reply->length = 0;
    reply->token[0] = reply->location[0] = '\0';
    // A new one each time: no connection, cookie or credential of an earlier request is used.
    CURL *curl = curl_easy_init();
    if (!curl)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "libcurl");
    int result = -1;
    if (curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text) || set_peer(curl, &transfer, request) ||
        set_request(curl, &transfer, request, &headers, &connect_to)) {
        error_fill(err, EXIT_STATUS_INTERNAL, 0, "libcurl lacks an option or memory");
    } else {
        CURLcode code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
        curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent);
        reply->sent = sent > 0;
        result = code ? -1 : 0;
        if (code)
            error_fill(err, EXIT_STATUS_FAILURE, 0, "%s %s: %s", request->method, request->path,
                       transfer.too_large ? "the reply is too large"
                       : text[0]          ? text
                                          : curl_easy_strerror(code));
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    curl_slist_free_all(connect_to);
    return result;
}
