// SPDX-License-Identifier: Apache-2.0
// Opens the files of an http port for its program, and puts its secrets into its settings.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend_launch.h"
#include "cleanup.h"
#include "http_settings.h"
#include "secret_file.h"

#define RESOLVER_FILE "/etc/resolv.conf"

static int add_file(const char *path, int *fds, unsigned *count, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    fds[(*count)++] = fd;
    return 0;
}

static int read_source(const struct http_secret_source *source,
                       char secret[HTTP_SECRET_BYTES_MAX + 1], struct error *err)
{
    char path[2 * PATH_MAX];
    const char *folder = source->is_credential ? getenv("CREDENTIALS_DIRECTORY") : NULL;
    if (source->is_credential && !folder)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "secret:%s is a credential of the service manager, which gives none "
                         "(CREDENTIALS_DIRECTORY is not set)",
                         source->name);
    snprintf(path, sizeof(path), "%s%s%s", folder ? folder : "", folder ? "/" : "", source->place);
    if (secret_file_read(path, secret, HTTP_SECRET_BYTES_MAX + 1, 1, err) < 0)
        return error_wrap(err, "secret:%s", source->name);
    if (strlen(secret) < HTTP_SECRET_BYTES_MIN)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "secret:%s: %s: at least %u characters are expected", source->name, path,
                         HTTP_SECRET_BYTES_MIN);
    return 0;
}

static int insert(struct http_secret *target, const char *secret, struct error *err)
{
    size_t length = strlen(secret);
    size_t rest = strlen(target->value + target->secret_at) + 1;
    if (target->secret_at + length + rest > sizeof(target->value))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "header %s is longer than %zu characters",
                         target->header, sizeof(target->value) - 1);
    memmove(target->value + target->secret_at + length, target->value + target->secret_at, rest);
    memcpy(target->value + target->secret_at, secret, length);
    target->secret_length = (uint32_t)length;
    return 0;
}

static int add_secrets(const struct http_settings *settings, struct http_grant *grant,
                       struct error *err)
{
    char secret[HTTP_SECRET_BYTES_MAX + 1];
    int result = 0;
    for (uint32_t i = 0; i < grant->secret_count && result == 0; i++) {
        result = read_source(&settings->sources[settings->source_of[i]], secret, err);
        if (result == 0)
            result = insert(&grant->secrets[i], secret, err);
    }
    explicit_bzero(secret, sizeof(secret));
    return result;
}

// Those of this host. A line that cannot be read, such as one with a scope, is left out.
static int add_nameservers(struct http_grant *grant, struct error *err)
{
    char line[256];
    FILE *file = fopen(RESOLVER_FILE, "re");
    if (!file && errno == ENOENT)
        return 0;
    if (!file)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", RESOLVER_FILE);
    while (fgets(line, sizeof(line), file) && grant->nameserver_count < HTTP_MAX_NAMESERVERS) {
        char *rest = NULL;
        const char *key = strtok_r(line, " \t\n", &rest);
        const char *value = key ? strtok_r(NULL, " \t\n", &rest) : NULL;
        struct http_address *next = &grant->nameservers[grant->nameserver_count];
        if (value && strcmp(key, "nameserver") == 0 &&
            http_address_read(value, strlen(value), next))
            grant->nameserver_count++;
    }
    fclose(file);
    return 0;
}

int http_settings_complete(const struct http_settings *settings, struct http_grant *grant, int *fds,
                           unsigned *count, struct error *err)
{
    *grant = settings->grant;
    if (add_secrets(settings, grant, err) < 0 ||
        (!settings->has_nameservers && add_nameservers(grant, err) < 0) ||
        add_file(settings->authorities, fds, count, err) < 0)
        return -1;
    if (!*settings->certificate)
        return 0;
    return add_file(settings->certificate, fds, count, err) < 0
               ? -1
               : add_file(settings->key, fds, count, err);
}

int backend_http_prepare(struct backend_launch *launch, struct error *err)
{
    const struct http_settings *settings = launch->settings;
    struct http_grant *grant;
    if (launch->length != sizeof(*settings))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of an http port are missing");
    launch->made = grant = malloc(sizeof(*grant));
    if (!grant)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of an http port");
    launch->settings = grant;
    launch->length = sizeof(*grant);
    return http_settings_complete(settings, grant, launch->fds, &launch->fd_count, err);
}
