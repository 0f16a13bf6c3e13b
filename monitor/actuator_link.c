// SPDX-License-Identifier: Apache-2.0
// The link actuator: a network interface is taken down, or up, through rtnetlink.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "actuator_driver.h"
#include "actuator_netlink.h"
#include "cleanup.h"

// Most messages of one dump; a host that has more interfaces or routes gets an error.
#define MAX_MESSAGES (1u << 20)
#define BUFFER_BYTES 65536

// A socket and a question on it.
struct exchange {
    int fd;
    uint32_t sequence;
    const struct actuator_call *call;
};

static int open_socket(struct error *err)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    // The kernel answers at once; this only bounds a surprise.
    const struct timeval wait = {.tv_sec = 2};
    cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "netlink socket");
    return steal_fd(&fd);
}

static ssize_t receive(const struct exchange *exchange, char *buffer, struct error *err)
{
    struct sockaddr_nl from = {0};
    struct iovec part = {.iov_base = buffer, .iov_len = BUFFER_BYTES};
    struct msghdr header = {
        .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1};
    for (;;) {
        if (!actuator_call_left_ms(exchange->call, UINT32_MAX))
            return error_set(err, EXIT_STATUS_FAILURE, ETIMEDOUT, "netlink");
        ssize_t n = recvmsg(exchange->fd, &header, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, EXIT_STATUS_FAILURE, errno, "netlink");
        if (header.msg_flags & MSG_TRUNC)
            return error_set(err, EXIT_STATUS_FAILURE, EMSGSIZE, "netlink");
        if (from.nl_pid == 0) // other processes may send too; only the kernel counts
            return n;
    }
}

// A dump that ended early says so in its last message.
static int check_done(const struct nlmsghdr *message, struct error *err)
{
    int code = 0;
    if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(code)))
        memcpy(&code, (const char *)message + NLMSG_HDRLEN, sizeof(code));
    return code < 0
               ? error_set(err, EXIT_STATUS_FAILURE, -code, "netlink: the dump is not complete")
               : 0;
}

// Sends a request and hands every message of the answer to `take`. Returns 0 when the kernel said
// that it is done, or -1.
static int ask(struct exchange *exchange, const struct netlink_request *request,
               int (*take)(const struct nlmsghdr *message, size_t length, void *target,
                           struct error *err),
               void *target, struct error *err)
{
    _Alignas(struct nlmsghdr) char buffer[BUFFER_BYTES];
    const bool dump = (request->header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    const bool acknowledged = request->header.nlmsg_flags & NLM_F_ACK;
    if (send(exchange->fd, request, request->header.nlmsg_len, 0) !=
        (ssize_t)request->header.nlmsg_len)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "netlink");
    for (unsigned messages = 0; messages < MAX_MESSAGES;) {
        ssize_t received = receive(exchange, buffer, err);
        if (received < 0)
            return -1;
        size_t left = (size_t)received;
        const char *at = buffer;
        while (left >= sizeof(struct nlmsghdr)) {
            const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)at;
            if (message->nlmsg_len < sizeof(*message) || message->nlmsg_len > left)
                return error_set(err, EXIT_STATUS_FAILURE, EPROTO, "netlink");
            messages++;
            if (message->nlmsg_seq == request->header.nlmsg_seq) {
                if (message->nlmsg_flags & NLM_F_DUMP_INTR)
                    return error_set(err, EXIT_STATUS_FAILURE, EINTR,
                                     "netlink: interfaces or routes changed meanwhile");
                if (message->nlmsg_type == NLMSG_DONE)
                    return check_done(message, err);
                if (message->nlmsg_type == NLMSG_ERROR) {
                    struct nlmsgerr answer;
                    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(answer.error)))
                        return error_set(err, EXIT_STATUS_FAILURE, EPROTO, "netlink");
                    memcpy(&answer.error, at + NLMSG_HDRLEN, sizeof(answer.error));
                    return answer.error ? error_set(err, EXIT_STATUS_FAILURE, -answer.error,
                                                    "the kernel refuses")
                                        : 0;
                }
                if (take && take(message, left, target, err))
                    return -1;
                if (!dump && !acknowledged)
                    return 0;
            }
            size_t step = NLMSG_ALIGN(message->nlmsg_len);
            if (step > left)
                break;
            at += step;
            left -= step;
        }
    }
    return error_set(err, EXIT_STATUS_FAILURE, EOVERFLOW, "netlink");
}

static int take_link(const struct nlmsghdr *message, size_t length, void *target, struct error *err)
{
    return netlink_read_link(message, length, target, err);
}

static int take_view(const struct nlmsghdr *message, size_t length, void *target, struct error *err)
{
    struct netlink_view *view = target;
    if (message->nlmsg_type != RTM_NEWLINK)
        return netlink_read_route(message, length, view, err);
    if (view->link_count == NETLINK_MAX_LINKS) {
        view->cut = true;
        return 0;
    }
    return netlink_read_link(message, length, &view->links[view->link_count++], err);
}

static int find_link(struct exchange *exchange, struct netlink_link *link, struct error *err)
{
    const char *name = exchange->call->actuator->interface;
    struct netlink_request request;
    *link = (struct netlink_link){0};
    netlink_ask_link(&request, ++exchange->sequence, name);
    if (ask(exchange, &request, take_link, link, err))
        return error_wrap(err, "interface %s", name);
    // The kernel also knows alternative names; the one that is configured has to be the real one.
    if (link->index <= 0 || strcmp(link->name, name))
        return error_set(err, EXIT_STATUS_FAILURE, ENODEV, "interface %s", name);
    return 0;
}

// Refuses an interface that the host's default route needs. What cannot be found out counts as
// needed.
static int refuse_default(struct exchange *exchange, int index, struct error *err)
{
    static struct netlink_view view; // large
    struct netlink_request request;
    view = (struct netlink_view){0};
    netlink_dump(&request, ++exchange->sequence, RTM_GETLINK);
    if (ask(exchange, &request, take_view, &view, err))
        return -1;
    netlink_dump(&request, ++exchange->sequence, RTM_GETROUTE);
    if (ask(exchange, &request, take_view, &view, err))
        return -1;
    if (view.cut || netlink_carries_default(&view, index))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the host's default route needs interface %s: refused without "
                         "--allow-host-cut",
                         exchange->call->actuator->interface);
    return 0;
}

static enum actuator_fired link_fire(const struct actuator_call *call, struct error *err)
{
    const bool up = call->action == ACTUATOR_RESTORE;
    struct exchange exchange = {.call = call};
    struct netlink_link link;
    struct netlink_request request;
    cleanup_fd int fd = open_socket(err);
    exchange.fd = fd;
    if (fd < 0 || find_link(&exchange, &link, err))
        return ACTUATOR_FIRED_REFUSED;
    if (!up && !call->allow_host_cut && refuse_default(&exchange, link.index, err))
        return ACTUATOR_FIRED_REFUSED;
    netlink_set_link(&request, ++exchange.sequence, link.index, up);
    if (ask(&exchange, &request, NULL, NULL, err)) {
        error_prefix(err, "interface %s", call->actuator->interface);
        return ACTUATOR_FIRED_REFUSED;
    }
    return ACTUATOR_FIRED_DONE;
}

static int link_read_back(const struct actuator_call *call, enum actuator_state *state,
                          struct error *err)
{
    struct exchange exchange = {.call = call};
    struct netlink_link link;
    cleanup_fd int fd = open_socket(err);
    exchange.fd = fd;
    if (fd < 0 || find_link(&exchange, &link, err))
        return -1;
    // Down on order and in fact. A cable that is out is not a cut.
    if (link.flags & IFF_UP)
        *state = ACTUATOR_STATE_ON;
    else if (link.operstate != IF_OPER_UP && link.operstate != IF_OPER_DORMANT &&
             link.operstate != IF_OPER_TESTING)
        *state = ACTUATOR_STATE_OFF;
    return 0;
}

const struct actuator_driver actuator_link = {
    .name = "link",
    .actions = 1u << ACTUATOR_CUT | 1u << ACTUATOR_RESTORE,
    .fire = link_fire,
    .read_back = link_read_back,
};
