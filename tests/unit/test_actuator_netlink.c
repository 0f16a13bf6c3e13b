// SPDX-License-Identifier: Apache-2.0
// rtnetlink messages: requests byte by byte, replies that lie about their length, default routes.
#include <criterion/criterion.h>
#include <string.h>

#include "actuator_netlink.h"
#include "support.h"

Test(actuator_netlink, builds_requests)
{
    struct netlink_request request;
    static const uint8_t ask[] = {
        44, 0, 0, 0, 18,  0,   1,   0,   7, 0, 0, 0, 0, 0, 0, 0, // length, RTM_GETLINK, request
        0,  0, 0, 0, 0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, // no family, no index
        9,  0, 3, 0, 'e', 't', 'h', '0', 0, 0, 0, 0,             // IFLA_IFNAME, padded
    };
    static const uint8_t set[] = {
        32, 0, 0, 0, 16, 0, 5, 0, 8, 0, 0, 0, 0, 0, 0, 0, // RTM_NEWLINK, request and acknowledge
        0,  0, 0, 0, 3,  0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, // index 3, not IFF_UP, only IFF_UP
    };
    netlink_ask_link(&request, 7, "eth0");
    cr_assert_eq(request.header.nlmsg_len, sizeof(ask));
    cr_expect_arr_eq(&request, ask, sizeof(ask));
    netlink_set_link(&request, 8, 3, false);
    cr_assert_eq(request.header.nlmsg_len, sizeof(set));
    cr_expect_arr_eq(&request, set, sizeof(set));
    netlink_set_link(&request, 8, 3, true);
    cr_expect_eq(((uint8_t *)&request)[24], 1);
    netlink_dump(&request, 9, RTM_GETROUTE);
    cr_expect_eq(request.header.nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
    // The longest name, and one that is too long, stay inside.
    netlink_ask_link(&request, 7, "interface-is-15");
    cr_expect_eq(request.header.nlmsg_len, NLMSG_LENGTH(sizeof(struct ifinfomsg)) + RTA_SPACE(16));
    netlink_ask_link(&request, 7, "interface-is-too-long");
    cr_expect_leq(request.header.nlmsg_len, sizeof(request));
}

// A message under construction.
struct message {
    _Alignas(struct nlmsghdr) char bytes[512];
    size_t length;
};

static void start(struct message *message, uint16_t type, const void *body, size_t size)
{
    struct nlmsghdr header = {.nlmsg_type = type};
    memset(message, 0, sizeof(*message));
    memcpy(message->bytes, &header, sizeof(header));
    memcpy(message->bytes + NLMSG_HDRLEN, body, size);
    message->length = NLMSG_HDRLEN + NLMSG_ALIGN(size);
}

static void add(struct message *message, uint16_t type, const void *data, size_t size)
{
    struct rtattr attribute = {.rta_type = type, .rta_len = (uint16_t)RTA_LENGTH(size)};
    memcpy(message->bytes + message->length, &attribute, sizeof(attribute));
    memcpy(message->bytes + message->length + RTA_LENGTH(0), data, size);
    message->length += RTA_SPACE(size);
}

static const struct nlmsghdr *finish(struct message *message)
{
    struct nlmsghdr *header = (void *)message->bytes;
    header->nlmsg_len = (uint32_t)message->length;
    return header;
}

static void make_link(struct message *message)
{
    const struct ifinfomsg info = {.ifi_index = 5, .ifi_flags = IFF_UP};
    const uint8_t state = IF_OPER_DOWN;
    const int below = 4;
    const int master = 9;
    start(message, RTM_NEWLINK, &info, sizeof(info));
    add(message, IFLA_IFNAME, "eth0.5", 7);
    add(message, IFLA_OPERSTATE, &state, 1);
    add(message, IFLA_LINK, &below, sizeof(below));
    add(message, IFLA_MASTER, &master, sizeof(master));
}

Test(actuator_netlink, reads_a_link)
{
    struct message message;
    struct netlink_link link;
    struct error err = {0};
    const int elsewhere = 0;
    make_link(&message);
    cr_assert_eq(netlink_read_link(finish(&message), message.length, &link, &err), 0);
    cr_expect(link.index == 5 && link.flags == IFF_UP && link.operstate == IF_OPER_DOWN);
    cr_expect(link.below == 4 && link.master == 9);
    cr_expect_str_eq(link.name, "eth0.5");
    add(&message, IFLA_LINK_NETNSID, &elsewhere, sizeof(elsewhere));
    cr_assert_eq(netlink_read_link(finish(&message), message.length, &link, &err), 0);
    cr_expect_eq(link.below, 0);
}

Test(actuator_netlink, survives_any_bytes)
{
    struct random random = random_start(13);
    static struct netlink_view view;
    for (unsigned round = 0; round < 200000; round++) {
        struct message message;
        struct netlink_link link;
        make_link(&message);
        const struct nlmsghdr *header = finish(&message);
        for (uint64_t n = 1 + random_below(&random, 4); n; n--)
            message.bytes[random_below(&random, message.length)] = (char)random_next(&random);
        // In memory of exactly that size, so that a tool sees a step beyond it.
        size_t length = random_below(&random, message.length + 1);
        char *copy = malloc(length ? length : 1);
        memcpy(copy, header, length);
        if (length >= sizeof(*header)) {
            if (netlink_read_link((void *)copy, length, &link, NULL) == 0)
                cr_assert_not_null(memchr(link.name, 0, sizeof(link.name)));
            netlink_read_route((void *)copy, length, &view, NULL);
        }
        free(copy);
        cr_assert_leq(view.route_count, NETLINK_MAX_ROUTES);
        view.route_count = 0;
    }
}

static int read_route(struct netlink_view *view, unsigned bits, unsigned type, int index)
{
    const struct rtmsg route = {.rtm_dst_len = (uint8_t)bits, .rtm_type = (uint8_t)type};
    struct message message;
    start(&message, RTM_NEWROUTE, &route, sizeof(route));
    add(&message, RTA_OIF, &index, sizeof(index));
    return netlink_read_route(finish(&message), message.length, view, NULL);
}

Test(actuator_netlink, finds_default_routes)
{
    static struct netlink_view view;
    view = (struct netlink_view){0};
    cr_assert_eq(read_route(&view, 0, RTN_UNICAST, 3), 0);
    cr_assert_eq(read_route(&view, 1, RTN_UNICAST, 4), 0);
    cr_assert_eq(read_route(&view, 24, RTN_UNICAST, 5), 0);
    cr_assert_eq(read_route(&view, 0, RTN_UNREACHABLE, 6), 0);
    cr_expect_eq(view.route_count, 2);
    cr_expect(netlink_carries_default(&view, 3) && netlink_carries_default(&view, 4));
    cr_expect(!netlink_carries_default(&view, 5) && !netlink_carries_default(&view, 6));

    const struct rtmsg route = {.rtm_type = RTN_UNICAST};
    struct rtnexthop hops[2] = {{.rtnh_len = sizeof(hops[0]), .rtnh_ifindex = 7},
                                {.rtnh_len = sizeof(hops[0]), .rtnh_ifindex = 8}};
    struct message message;
    start(&message, RTM_NEWROUTE, &route, sizeof(route));
    add(&message, RTA_MULTIPATH, hops, sizeof(hops));
    cr_assert_eq(netlink_read_route(finish(&message), message.length, &view, NULL), 0);
    cr_expect(netlink_carries_default(&view, 7) && netlink_carries_default(&view, 8));
    cr_expect(!view.cut);
    // What is not understood is not known.
    hops[1].rtnh_len = 2;
    start(&message, RTM_NEWROUTE, &route, sizeof(route));
    add(&message, RTA_MULTIPATH, hops, sizeof(hops));
    netlink_read_route(finish(&message), message.length, &view, NULL);
    cr_expect(view.cut);
}

Test(actuator_netlink, follows_what_a_route_is_built_from)
{
    static struct netlink_view view;
    // A VLAN (10) on a bond (11) of two cards (12, 13), beside a card (14) and a bridge (15) with a
    // port (16); a pair of interfaces that name each other (17, 18).
    view = (struct netlink_view){
        .links = {{.index = 10, .below = 11},
                  {.index = 11},
                  {.index = 12, .master = 11},
                  {.index = 13, .master = 11},
                  {.index = 14},
                  {.index = 15},
                  {.index = 16, .master = 15},
                  {.index = 17, .below = 18},
                  {.index = 18, .below = 17}},
        .link_count = 9,
        .routes = {10, 17},
        .route_count = 2,
    };
    for (int index = 10; index <= 13; index++)
        cr_expect(netlink_carries_default(&view, index), "%d", index);
    for (int index = 14; index <= 16; index++)
        cr_expect(!netlink_carries_default(&view, index), "%d", index);
    cr_expect(netlink_carries_default(&view, 17) && netlink_carries_default(&view, 18));
    // A full view still ends.
    view.link_count = NETLINK_MAX_LINKS;
    for (unsigned i = 0; i < NETLINK_MAX_LINKS; i++)
        view.links[i] = (struct netlink_link){.index = (int)i + 1, .master = (int)i};
    view.routes[0] = 1;
    view.route_count = 1;
    cr_expect(netlink_carries_default(&view, NETLINK_MAX_LINKS));
}
