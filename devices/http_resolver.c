// SPDX-License-Identifier: Apache-2.0
// Names to addresses.
#include "http_resolver.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

// One question takes this at most, with its repetitions.
#define TIMEOUT_MS 2000
#define TRIES      3

struct question {
    http_resolver_done *done;
    void *context;
};

static int set_servers(struct http_resolver *resolver, const struct http_grant *grant)
{
    struct ares_addr_port_node servers[HTTP_MAX_NAMESERVERS] = {0};
    for (uint32_t i = 0; i < grant->nameserver_count; i++) {
        const struct http_address *address = &grant->nameservers[i];
        int port = address->port ? (int)address->port : 53;
        servers[i].family = address->version == 4 ? AF_INET : AF_INET6;
        servers[i].udp_port = servers[i].tcp_port = port;
        memcpy(&servers[i].addr, address->bytes, address->version == 4 ? 4 : 16);
        if (i)
            servers[i - 1].next = &servers[i];
    }
    return ares_set_servers_ports(resolver->channel, grant->nameserver_count ? servers : NULL);
}

int http_resolver_open(struct http_resolver *resolver, const struct http_grant *grant,
                       struct error *err)
{
    char lookups[] = "b"; // questions only, no file of hosts
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = TIMEOUT_MS,
        .tries = TRIES,
        .lookups = lookups,
        .ndomains = 0,
    };
    int mask =
        ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS;
    int bad = ares_library_init(ARES_LIB_INIT_ALL);
    bad = bad ? bad : ares_init_options(&resolver->channel, &options, mask);
    bad = bad ? bad : set_servers(resolver, grant);
    if (bad)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "http: name servers: %s",
                         ares_strerror(bad));
    return 0;
}

static uint32_t take(const struct ares_addrinfo *found, int family, uint32_t count,
                     struct http_address *addresses)
{
    for (const struct ares_addrinfo_node *at = found->nodes; at && count < HTTP_MAX_ADDRESSES;
         at = at->ai_next) {
        struct http_address *address = &addresses[count];
        if (at->ai_family != family)
            continue;
        *address = (struct http_address){.version = family == AF_INET ? 4 : 6};
        if (family == AF_INET)
            memcpy(address->bytes, &((const struct sockaddr_in *)(void *)at->ai_addr)->sin_addr, 4);
        else
            memcpy(address->bytes, &((const struct sockaddr_in6 *)(void *)at->ai_addr)->sin6_addr,
                   16);
        count++;
    }
    return count;
}

static void answered(void *context, int status, int timeouts, struct ares_addrinfo *found)
{
    struct question *question = context;
    struct http_address addresses[HTTP_MAX_ADDRESSES];
    uint32_t count = 0;
    (void)timeouts;
    if (status == ARES_SUCCESS && found) {
        count = take(found, AF_INET, 0, addresses);
        count = take(found, AF_INET6, count, addresses);
    }
    enum http_resolved how = HTTP_NOT_RESOLVED;
    if (count)
        how = HTTP_RESOLVED;
    else if (status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA)
        how = HTTP_NO_SUCH_NAME;
    if (found)
        ares_freeaddrinfo(found);
    question->done(question->context, how, addresses, count);
    free(question);
}

void http_resolver_ask(struct http_resolver *resolver, const char *host, http_resolver_done *done,
                       void *context)
{
    const struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT,
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    struct question *question = malloc(sizeof(*question));
    if (!question) {
        done(context, HTTP_NOT_RESOLVED, NULL, 0);
        return;
    }
    *question = (struct question){done, context};
    ares_getaddrinfo(resolver->channel, host, NULL, &hints, answered, question);
}

void http_resolver_serve(struct http_resolver *resolver)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd fds[ARES_GETSOCK_MAXNUM];
    nfds_t count = 0;
    int wanted = ares_getsock(resolver->channel, sockets, ARES_GETSOCK_MAXNUM);
    for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        short events = (short)((ARES_GETSOCK_READABLE(wanted, i) ? POLLIN : 0) |
                               (ARES_GETSOCK_WRITABLE(wanted, i) ? POLLOUT : 0));
        if (events)
            fds[count++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    if (count && poll(fds, count, 0) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            // An error is found by reading, too.
            if (fds[i].revents)
                ares_process_fd(resolver->channel,
                                fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
                                fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
        }
    }
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); // what is due
}
