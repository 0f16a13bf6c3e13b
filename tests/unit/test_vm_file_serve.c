// SPDX-License-Identifier: Apache-2.0
// Serve ports in a VM file.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "port_abi.h"
#include "serve_settings.h"
#include "vm_file_support.h"

#define SERVE(settings) VM("\"ports\":[{\"kind\":\"serve\",\"settings\":{" settings "}}]")

static struct vm_description read(const char *text)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(text, &vm, &err), 0, "%s", err.text);
    return vm;
}

Test(vm_file_serve, defaults)
{
    struct vm_description vm = read(SERVE("\"model\":\"tiny\""));
    const struct serve_settings *serve = vm.settings[0].bytes;
    cr_expect_eq(vm.ports[0].kind, PORT_KIND_SERVE);
    cr_expect_eq(vm.ports[0].process, 1);
    cr_expect_eq(vm.ports[0].operations,
                 1u << SERVE_RECEIVE | 1u << SERVE_PIECE | 1u << SERVE_ANSWER);
    cr_assert_eq(vm.settings[0].length, sizeof(*serve));
    cr_expect_str_eq(serve->grant.model, "tiny");
    cr_expect_eq(serve->grant.listeners, 1);
    cr_expect(serve->places[0].is_unix);
    cr_expect_str_empty(serve->places[0].path);
    cr_expect_eq(serve->places[0].fd, -1);
    cr_expect_str_empty(serve->token_file);
    cr_expect_str_empty(serve->grant.token);
    cr_expect_eq(serve->grant.queue, 16);
    cr_expect_eq(serve->grant.connections, 64);
    cr_expect_eq(serve->grant.max_tokens, 0);
    cr_expect_eq(serve->grant.deadline_ms, 600000);
    vm_description_free(&vm);
}

Test(vm_file_serve, places)
{
    struct vm_description vm =
        read(SERVE("\"model\":\"m\",\"listen\":[\"unix:/run/m.sock\",\"tcp:127.0.0.9:8080\"]"));
    const struct serve_settings *serve = vm.settings[0].bytes;
    const struct sockaddr_in *ipv4 = (const void *)&serve->places[1].address;
    cr_expect_eq(serve->grant.listeners, 2);
    cr_expect_str_eq(serve->places[0].path, "/run/m.sock");
    cr_expect_not(serve->places[1].is_unix);
    cr_expect_eq(ipv4->sin_family, AF_INET);
    cr_expect_eq(ntohs(ipv4->sin_port), 8080);
    cr_expect_eq(ntohl(ipv4->sin_addr.s_addr), 0x7f000009u);
    vm_description_free(&vm);
    vm = read(SERVE("\"model\":\"m\",\"listen\":[\"tcp:[::1]:1\"]"));
    serve = vm.settings[0].bytes;
    const struct sockaddr_in6 *ipv6 = (const void *)&serve->places[0].address;
    cr_expect_eq(ipv6->sin6_family, AF_INET6);
    cr_expect(IN6_IS_ADDR_LOOPBACK(&ipv6->sin6_addr));
    vm_description_free(&vm);
}

#define AT            "t.json:2:49: /ports/0/settings"
#define LISTEN(place) SERVE("\"model\":\"m\",\"listen\":[" place "]")

Test(vm_file_serve, refusals)
{
    static const struct refusal refusals[] = {
        {VM("\"ports\":[{\"kind\":\"serve\"}]"), "t.json:2:10: /ports/0: a serve needs settings"},
        {SERVE(""), "t.json:2:37: /ports/0/settings: missing key 'model'"},
        {SERVE("\"model\":\"a b\""), "t.json:2:46: /ports/0/settings/model: a name of 1 to 127 "
                                     "bytes without spaces is expected"},
        {LISTEN(""), "t.json:2:59: /ports/0/settings/listen: at least one place to listen at is "
                     "expected"},
        {LISTEN("\"tcp:192.168.1.1:80\""),
         "t.json:2:60: /ports/0/settings/listen/0: an address of the loopback is expected: "
         "127.0.0.1 or [::1]"},
        {LISTEN("\"tcp:0.0.0.0:80\""),
         "t.json:2:60: /ports/0/settings/listen/0: an address of the loopback is expected: "
         "127.0.0.1 or [::1]"},
        {LISTEN("\"tcp:127.0.0.1\""),
         "t.json:2:60: /ports/0/settings/listen/0: tcp:ADDRESS:PORT is expected"},
        {LISTEN("\"tcp:127.0.0.1:0\""),
         "t.json:2:60: /ports/0/settings/listen/0: tcp:ADDRESS:PORT is expected"},
        {LISTEN("\"unix:relative\""),
         "t.json:2:60: /ports/0/settings/listen/0: unix:/PATH is expected"},
        {LISTEN("\"vsock:3:80\""),
         "t.json:2:60: /ports/0/settings/listen/0: \"unix\", \"unix:/PATH\" or "
         "\"tcp:127.0.0.1:PORT\" is expected"},
        {SERVE("\"model\":\"m\",\"token_file\":\"token\""),
         "t.json:2:63: /ports/0/settings/token_file: an absolute path is expected"},
    };
    check_refusals(refusals, COUNT(refusals));
}
