// SPDX-License-Identifier: Apache-2.0
// The settings of an http port as the supervisor keeps them: secrets and files by name.
#ifndef MONITOR_HTTP_SETTINGS_H
#define MONITOR_HTTP_SETTINGS_H

#include <limits.h>
#include <stdbool.h>

#include "error.h"
#include "http_grant.h"

#define HTTP_AUTHORITIES_DEFAULT "/etc/ssl/certs/ca-certificates.crt"

#define HTTP_SECRET_NAME_SIZE 64u

// A shorter one would be found everywhere in replies; a longer one is no header's.
#define HTTP_SECRET_BYTES_MIN 8u
#define HTTP_SECRET_BYTES_MAX 1024u

struct http_secret_source {
    char name[HTTP_SECRET_NAME_SIZE];
    bool is_credential; // of the service manager: `place` is its name
    char place[PATH_MAX];
};

struct http_settings {
    // Values of its secrets are without the secret yet, which belongs at `secret_at`.
    struct http_grant grant;
    uint32_t source_of[HTTP_MAX_SECRETS]; // index of a source
    uint32_t source_count;
    struct http_secret_source sources[HTTP_MAX_SECRETS];
    bool has_nameservers; // else those of this host, looked up at each start
    char authorities[PATH_MAX];
    char certificate[PATH_MAX]; // empty: none
    char key[PATH_MAX];
};

struct json_place;

// Reads the settings of an http port, or, without `allow`, of another program that speaks HTTP,
// whose rules are its own. `settings` starts zeroed.
int http_settings_read(const struct json_place *place, struct http_settings *settings, bool allow,
                       struct error *err);

// Sets what settings have that nobody wrote; http_settings_read does, too.
void http_settings_defaults(struct http_settings *settings);

// Makes the grant with its secrets and name servers, and opens the files: fds[*count] and those
// behind it, *count counts them. The grant is the caller's to wipe; descriptors are the caller's to
// close, also on failure.
int http_settings_complete(const struct http_settings *settings, struct http_grant *grant, int *fds,
                           unsigned *count, struct error *err);

#endif
