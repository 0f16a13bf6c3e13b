// SPDX-License-Identifier: Apache-2.0
// rtnetlink messages.
#include "actuator_netlink.h"

#include <string.h>

static void start(struct netlink_request *request, uint32_t sequence, uint16_t type, uint16_t flags)
{
    *request = (struct netlink_request){
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                   .nlmsg_type = type,
                   .nlmsg_flags = NLM_F_REQUEST | flags,
                   .nlmsg_seq = sequence},
    };
}

void netlink_ask_link(struct netlink_request *request, uint32_t sequence, const char *name)
{
    size_t length = strnlen(name, IFNAMSIZ - 1);
    struct rtattr attribute = {.rta_len = (unsigned short)RTA_LENGTH(length + 1),
                               .rta_type = IFLA_IFNAME};
    start(request, sequence, RTM_GETLINK, 0);
    memcpy(request->attributes, &attribute, sizeof(attribute));
    memcpy(request->attributes + RTA_LENGTH(0), name, length);
    request->header.nlmsg_len += (uint32_t)RTA_SPACE(length + 1);
}

void netlink_set_link(struct netlink_request *request, uint32_t sequence, int index, bool up)
{
    start(request, sequence, RTM_NEWLINK, NLM_F_ACK);
    request->link.ifi_index = index;
    request->link.ifi_flags = up ? IFF_UP : 0;
    request->link.ifi_change = IFF_UP; // no other flag
}

void netlink_dump(struct netlink_request *request, uint32_t sequence, uint16_t type)
{
    start(request, sequence, type, NLM_F_DUMP);
}

// Calls `take` for each attribute. Returns -1 if one does not fit into its message.
static int each_attribute(const void *start_of, size_t length,
                          void (*take)(void *context, unsigned type, const void *data, size_t size),
                          void *context)
{
    const char *at = start_of;
    while (length >= sizeof(struct rtattr)) {
        struct rtattr attribute;
        memcpy(&attribute, at, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > length)
            return -1;
        take(context, attribute.rta_type & NLA_TYPE_MASK, at + RTA_LENGTH(0),
             attribute.rta_len - RTA_LENGTH(0));
        size_t step = RTA_ALIGN(attribute.rta_len);
        if (step > length)
            break;
        at += step;
        length -= step;
    }
    return 0;
}

static int number_of(const void *data, size_t size)
{
    int number = 0;
    if (size == sizeof(number))
        memcpy(&number, data, sizeof(number));
    return number;
}

// While the attributes of a link are read.
struct link_reader {
    struct netlink_link *link;
    bool elsewhere; // IFLA_LINK is an index of another namespace
};

static void take_link_attribute(void *context, unsigned type, const void *data, size_t size)
{
    struct link_reader *reader = context;
    switch (type) {
    case IFLA_IFNAME:
        memcpy(reader->link->name, data, size < IFNAMSIZ ? size : IFNAMSIZ - 1);
        break;
    case IFLA_OPERSTATE:
        if (size == 1)
            memcpy(&reader->link->operstate, data, 1);
        break;
    case IFLA_LINK:
        reader->link->below = number_of(data, size);
        break;
    case IFLA_MASTER:
        reader->link->master = number_of(data, size);
        break;
    case IFLA_LINK_NETNSID:
        reader->elsewhere = true;
        break;
    default:
        break;
    }
}

static int malformed(struct error *err)
{
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "a netlink message is malformed");
}

int netlink_read_link(const struct nlmsghdr *message, size_t length, struct netlink_link *link,
                      struct error *err)
{
    struct ifinfomsg info;
    struct link_reader reader = {.link = link};
    *link = (struct netlink_link){0};
    if (length < NLMSG_LENGTH(sizeof(info)) || message->nlmsg_len < NLMSG_LENGTH(sizeof(info)) ||
        message->nlmsg_len > length || message->nlmsg_type != RTM_NEWLINK)
        return malformed(err);
    const char *body = (const char *)message + NLMSG_HDRLEN;
    memcpy(&info, body, sizeof(info));
    link->index = info.ifi_index;
    link->flags = info.ifi_flags;
    if (each_attribute(body + NLMSG_ALIGN(sizeof(info)),
                       message->nlmsg_len - NLMSG_LENGTH(NLMSG_ALIGN(sizeof(info))),
                       take_link_attribute, &reader))
        return malformed(err);
    if (reader.elsewhere)
        link->below = 0;
    return 0;
}

static void add_route(struct netlink_view *view, int index)
{
    if (view->route_count == NETLINK_MAX_ROUTES)
        view->cut = true;
    else if (index > 0)
        view->routes[view->route_count++] = index;
}

static void take_route_attribute(void *context, unsigned type, const void *data, size_t size)
{
    struct netlink_view *view = context;
    if (type == RTA_OIF)
        add_route(view, number_of(data, size));
    if (type != RTA_MULTIPATH)
        return;
    const char *at = data;
    while (size >= sizeof(struct rtnexthop)) {
        struct rtnexthop hop;
        memcpy(&hop, at, sizeof(hop));
        if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > size) {
            view->cut = true; // not understood is not known
            return;
        }
        add_route(view, hop.rtnh_ifindex);
        size_t step = RTNH_ALIGN(hop.rtnh_len);
        if (step > size)
            return;
        at += step;
        size -= step;
    }
}

int netlink_read_route(const struct nlmsghdr *message, size_t length, struct netlink_view *view,
                       struct error *err)
{
    struct rtmsg route;
    if (length < NLMSG_LENGTH(sizeof(route)) || message->nlmsg_len < NLMSG_LENGTH(sizeof(route)) ||
        message->nlmsg_len > length)
        return malformed(err);
    const char *body = (const char *)message + NLMSG_HDRLEN;
    memcpy(&route, body, sizeof(route));
    if (message->nlmsg_type != RTM_NEWROUTE || route.rtm_dst_len > 1 ||
        route.rtm_type != RTN_UNICAST)
        return 0;
    return each_attribute(body + NLMSG_ALIGN(sizeof(route)),
                          message->nlmsg_len - NLMSG_LENGTH(NLMSG_ALIGN(sizeof(route))),
                          take_route_attribute, view)
               ? malformed(err)
               : 0;
}

static const struct netlink_link *find_link(const struct netlink_view *view, int index)
{
    for (unsigned i = 0; i < view->link_count; i++) {
        if (view->links[i].index == index)
            return &view->links[i];
    }
    return NULL;
}

bool netlink_carries_default(const struct netlink_view *view, int index)
{
    // From the routes downwards, so that every path is followed: what is needed so far.
    int needed[NETLINK_MAX_LINKS];
    unsigned count = 0;
    for (unsigned i = 0; i < view->route_count; i++)
        needed[count++] = view->routes[i];
    for (unsigned i = 0; i < count; i++) {
        if (needed[i] == index)
            return true;
        const struct netlink_link *link = find_link(view, needed[i]);
        for (unsigned k = 0; k <= view->link_count; k++) {
            // Its parts, and in the last round what it sits on.
            int below = k < view->link_count ? view->links[k].index : link ? link->below : 0;
            bool part = k == view->link_count || view->links[k].master == needed[i];
            bool known = !part || below <= 0;
            for (unsigned n = 0; n < count && !known; n++)
                known = needed[n] == below;
            if (!known && count < NETLINK_MAX_LINKS)
                needed[count++] = below;
        }
    }
    return false;
}
