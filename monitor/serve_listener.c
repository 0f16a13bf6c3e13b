// SPDX-License-Identifier: Apache-2.0
// The sockets of a serve port.
#include "serve_listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "paths.h"
#include "socket_path.h"

#define BACKLOG 64

// Clients that are turned away in one go.
#define REFUSALS_MAX 32u

static int default_path(struct serve_place *place, const char *runtime_dir, const char *vm_name,
                        struct error *err)
{
    char name[128];
    if (place->path[0])
        return 0;
    snprintf(name, sizeof(name), "%s.serve", vm_name);
    return paths_join(place->path, runtime_dir, name, err);
}

// Makes way for a new socket: a file that is a socket nobody listens at goes.
static int remove_stale(const struct sockaddr_un *address, const char *path, struct error *err)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, EXIT_STATUS_BAD_FILE, errno, "serve port: %s", path);
    if (!S_ISSOCK(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, EEXIST,
                         "serve port: %s is there and is no socket", path);
    cleanup_fd int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe >= 0 && connect(probe, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
        errno == ECONNREFUSED) {
        unlink(address->sun_path);
        return 0;
    }
    return error_set(err, EXIT_STATUS_BAD_FILE, EADDRINUSE,
                     "serve port: somebody listens at %s already", path);
}

static int listen_unix(struct serve_place *place, const char *runtime_dir, const char *vm_name,
                       struct error *err)
{
    struct sockaddr_un address;
    cleanup_fd int folder = -1;
    if (default_path(place, runtime_dir, vm_name, err) < 0 ||
        socket_path_address(&address, place->path, &folder, err) < 0 ||
        remove_stale(&address, place->path, err) < 0)
        return -1;
    place->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (place->fd < 0 || bind(place->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "serve port: %s", place->path);
    place->bound = true;
    // Before anybody can connect: the socket is its owner's.
    if (chmod(address.sun_path, 0600) < 0 || listen(place->fd, BACKLOG) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "serve port: %s", place->path);
    return 0;
}

static int listen_tcp(struct serve_place *place, struct error *err)
{
    int one = 1;
    place->fd = socket(place->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (place->fd < 0 || setsockopt(place->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(place->fd, (struct sockaddr *)&place->address, place->address_length) < 0 ||
        listen(place->fd, BACKLOG) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "serve port: TCP address to listen at");
    return 0;
}

int serve_listeners_open(struct serve_settings *settings, const char *runtime_dir,
                         const char *vm_name, struct error *err)
{
    for (unsigned i = 0; i < settings->grant.listeners; i++) {
        struct serve_place *place = &settings->places[i];
        int result =
            place->is_unix ? listen_unix(place, runtime_dir, vm_name, err) : listen_tcp(place, err);
        if (result < 0)
            return -1;
    }
    return 0;
}

static void keep(struct serve_farewells *farewells, int fd)
{
    int *slot = &farewells->fds[farewells->next++ % SERVE_FAREWELLS];
    if (*slot > 0)
        close(*slot);
    *slot = fd;
}

void serve_listener_refuse(int fd, const char *why, struct serve_farewells *farewells)
{
    char body[256];
    char reply[512];
    int length = snprintf(body, sizeof(body),
                          "{\"error\":{\"message\":\"the VM is isolated: %s\",\"type\":"
                          "\"isolated\",\"param\":null,\"code\":\"%s\"}}\n",
                          why, why);
    length = snprintf(reply, sizeof(reply),
                      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                      "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                      length, body);
    for (unsigned i = 0; i < REFUSALS_MAX; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client < 0)
            return;
        // A new connection takes that much without waiting.
        ssize_t ignored = send(client, reply, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)ignored;
        // Closed at once, what the client has sent and nobody read would cost it the reply.
        shutdown(client, SHUT_WR);
        keep(farewells, client);
    }
}

void serve_listeners_close(struct serve_settings *settings, struct serve_farewells *farewells)
{
    for (unsigned i = 0; i < SERVE_FAREWELLS; i++) {
        if (farewells->fds[i] > 0)
            close(farewells->fds[i]);
        farewells->fds[i] = 0;
    }
    for (unsigned i = 0; i < settings->grant.listeners; i++) {
        struct serve_place *place = &settings->places[i];
        if (place->fd >= 0)
            close(place->fd);
        place->fd = -1;
        if (place->bound)
            unlink(place->path);
        place->bound = false;
    }
}
