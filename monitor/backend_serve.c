// SPDX-License-Identifier: Apache-2.0
// Hands the sockets of a serve port, and the token that clients have to know, to its program.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "backend_launch.h"
#include "secret_file.h"
#include "serve_settings.h"

int backend_serve_prepare(struct backend_launch *launch, struct error *err)
{
    const struct serve_settings *settings = launch->settings;
    struct serve_grant *grant;
    if (launch->length != sizeof(*settings))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "settings of a serve port are missing");
    launch->made = grant = malloc(sizeof(*grant));
    if (!grant)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a serve port");
    *grant = settings->grant;
    launch->settings = grant;
    launch->length = sizeof(*grant);
    if (settings->token_file[0] &&
        secret_file_read(settings->token_file, grant->token, sizeof(grant->token), 1, err) < 0)
        return error_wrap(err, "serve port: token_file");
    for (unsigned i = 0; i < grant->listeners; i++) {
        int fd = fcntl(settings->places[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "serve port: socket");
        launch->fds[launch->fd_count++] = fd;
    }
    return 0;
}
