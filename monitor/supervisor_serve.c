// SPDX-License-Identifier: Apache-2.0
// The supervisor's part of a serve port: it owns the sockets, and answers itself, without reading
// what clients send, while no process may.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "level.h"
#include "serve_listener.h"
#include "supervisor_internal.h"

// How long the process has to tell its clients that the VM is isolated. The gate is shut already.
#define FAREWELL_MS 50

static bool find(const struct supervisor *s, unsigned *port)
{
    for (*port = 0; *port < s->vm.port_count; (*port)++) {
        if (s->vm.ports[*port].kind == VMM_PORT_SERVE)
            return true;
    }
    return false;
}

static struct serve_settings *settings_of(const struct supervisor *s, unsigned port)
{
    return s->vm.settings[port].bytes;
}

int serve_open_places(struct supervisor *s, const char *runtime_dir, struct error *err)
{
    unsigned port;
    return find(s, &port) ? serve_listeners_open(settings_of(s, port), runtime_dir, s->vm.name, err)
                          : 0;
}

// Why clients are turned away, or NULL: they are not.
static const char *why_not(const struct supervisor *s, unsigned port)
{
    const struct backend_process *backend = &s->backends[port];
    enum level level = s->containment.state.level;
    if (backend->severed || level >= LEVEL_SEVERED)
        return level_name(level >= LEVEL_SEVERED ? level : LEVEL_SEVERED);
    if (s->port_closed[port])
        return "the port is closed";
    return backend->phase == BACKEND_GIVEN_UP ? "the port is down" : NULL;
}

void serve_watch(const struct supervisor *s, struct pollfd *fds)
{
    unsigned port;
    bool any = find(s, &port) && why_not(s, port);
    for (unsigned i = 0; i < SERVE_LISTENERS_MAX; i++)
        fds[WATCH_SERVE + i] = (struct pollfd){
            .fd = any ? settings_of(s, port)->places[i].fd : -1,
            .events = POLLIN,
        };
}

void serve_refuse_clients(struct supervisor *s, const struct pollfd *fds)
{
    unsigned port;
    const char *why = find(s, &port) ? why_not(s, port) : NULL;
    for (unsigned i = 0; i < SERVE_LISTENERS_MAX && why; i++) {
        if (fds[WATCH_SERVE + i].revents)
            serve_listener_refuse(settings_of(s, port)->places[i].fd, why, &s->farewells);
    }
}

// Where a Unix socket or an address of the loopback is found by clients.
static void print_place(const struct serve_place *place)
{
    char text[INET6_ADDRSTRLEN];
    const struct sockaddr_in *ipv4 = (const void *)&place->address;
    const struct sockaddr_in6 *ipv6 = (const void *)&place->address;
    if (place->is_unix)
        fprintf(stderr, " unix:%s", place->path);
    else if (place->address.ss_family == AF_INET)
        fprintf(stderr, " http://%s:%u/v1", inet_ntop(AF_INET, &ipv4->sin_addr, text, sizeof(text)),
                ntohs(ipv4->sin_port));
    else
        fprintf(stderr, " http://[%s]:%u/v1",
                inet_ntop(AF_INET6, &ipv6->sin6_addr, text, sizeof(text)), ntohs(ipv6->sin6_port));
}

void serve_announce(const struct supervisor *s, unsigned port)
{
    if (s->vm.ports[port].kind != VMM_PORT_SERVE || s->backends[port].restarts)
        return;
    const struct serve_settings *settings = settings_of(s, port);
    fprintf(stderr, "guillotine: %s serves %s at", s->vm.name, settings->grant.model);
    for (unsigned i = 0; i < settings->grant.listeners; i++)
        print_place(&settings->places[i]);
    fprintf(stderr, ", level %s\n", level_name(s->containment.state.level));
}

void serve_say_farewell(struct supervisor *s)
{
    enum level level = s->containment.state.level;
    unsigned port;
    // Beyond Offline nothing waits for anybody.
    if (!find(s, &port) || s->backends[port].phase != BACKEND_UP || level < LEVEL_SEVERED ||
        level > LEVEL_OFFLINE)
        return;
    struct pollfd process = {.fd = s->backends[port].pidfd, .events = POLLIN};
    backends_wake(s, port);
    poll(&process, 1, FAREWELL_MS);
}

void serve_close_places(struct supervisor *s)
{
    unsigned port;
    if (!find(s, &port))
        return;
    struct serve_settings *settings = settings_of(s, port);
    const char *why = why_not(s, port);
    for (unsigned i = 0; i < settings->grant.listeners && why; i++) {
        if (settings->places[i].fd >= 0)
            serve_listener_refuse(settings->places[i].fd, why, &s->farewells);
    }
    serve_listeners_close(settings, &s->farewells);
}
