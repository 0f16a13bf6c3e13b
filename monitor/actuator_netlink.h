// SPDX-License-Identifier: Apache-2.0
// Messages of rtnetlink: building requests and reading replies, without a socket. Replies come from
// the kernel, but are checked as if they did not.
#ifndef MONITOR_ACTUATOR_NETLINK_H
#define MONITOR_ACTUATOR_NETLINK_H

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define NETLINK_MAX_LINKS  1024u
#define NETLINK_MAX_ROUTES 64u

// A request: at most a header, a link message and an interface name.
struct netlink_request {
    struct nlmsghdr header;
    struct ifinfomsg link;
    char attributes[RTA_SPACE(IFNAMSIZ)];
};

struct netlink_link {
    int index;
    unsigned flags;    // IFF_*
    uint8_t operstate; // IF_OPER_*
    int below;         // IFLA_LINK in this namespace: what a VLAN or tunnel sits on, or 0
    int master;        // the bond or bridge that it is a part of, or 0
    char name[IFNAMSIZ];
};

// What the interfaces and default routes of the host are, as dumped.
struct netlink_view {
    struct netlink_link links[NETLINK_MAX_LINKS];
    unsigned link_count;
    int routes[NETLINK_MAX_ROUTES]; // interfaces that default routes go through
    unsigned route_count;
    bool cut; // there were more than fit
};

// Fill a request. The length to send is header.nlmsg_len.
void netlink_ask_link(struct netlink_request *request, uint32_t sequence, const char *name);
void netlink_set_link(struct netlink_request *request, uint32_t sequence, int index, bool up);
void netlink_dump(struct netlink_request *request, uint32_t sequence, uint16_t type);

// Reads an RTM_NEWLINK message. Returns 0 or -1.
int netlink_read_link(const struct nlmsghdr *message, size_t length, struct netlink_link *link,
                      struct error *err);

// Adds the interfaces of a default route (or half of one, 0.0.0.0/1) to the view; other messages
// add nothing. Returns 0 or -1.
int netlink_read_route(const struct nlmsghdr *message, size_t length, struct netlink_view *view,
                       struct error *err);

// True if a default route needs this interface: it goes through it, or through a VLAN, tunnel, bond
// or bridge that is made of it.
bool netlink_carries_default(const struct netlink_view *view, int index);

#endif
