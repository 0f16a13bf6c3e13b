// SPDX-License-Identifier: Apache-2.0
// guillotine-agent: ports for the programs of a Linux guest.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_proxy.h"
#include "stream_client.h"

#define DEFAULT_PROXY_PORT 3128

static int usage(FILE *file)
{
    fprintf(
        file,
        "usage: guillotine-agent ports\n"
        "       guillotine-agent http-proxy [PORT [NAME]]\n"
        "\n"
        "Inside of a Linux guest of Guillotine: its ports, for ordinary programs.\n"
        "\n"
        "  ports       the granted ports: name, kind, vsock port (0: it has a device), sizes\n"
        "  http-proxy  an HTTP proxy on 127.0.0.1:PORT (default %d) whose way out is the http\n"
        "              port NAME (default: the first). For https ask for http://HOST/ with the\n"
        "              header \"X-Guillotine-Scheme: https\"\n"
        "\n"
        "Example:\n"
        "  guillotine-agent http-proxy & http_proxy=http://127.0.0.1:%d wget http://HOST/\n",
        DEFAULT_PROXY_PORT, DEFAULT_PROXY_PORT);
    return file == stdout ? 0 : 64;
}

static int list_ports(void)
{
    struct stream_table_entry entries[STREAM_PORTS_MAX];
    int count = stream_list(entries);
    if (count < 0) {
        fprintf(stderr, "guillotine-agent: no table of ports: %s\n", strerror(errno));
        return 75;
    }
    printf("NAME KIND VSOCK MAX-REQUEST MAX-REPLY IN-FLIGHT\n");
    for (int i = 0; i < count; i++)
        printf("%s %u %u %u %u %u\n", entries[i].name, entries[i].kind, entries[i].vsock_port,
               entries[i].max_request_bytes, entries[i].max_reply_bytes, entries[i].in_flight);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "ports"))
        return list_ports();
    if (argc >= 2 && argc <= 4 && !strcmp(argv[1], "http-proxy")) {
        long number = argc > 2 ? strtol(argv[2], NULL, 10) : DEFAULT_PROXY_PORT;
        if (number > 0 && number < 65536)
            return http_proxy_run((unsigned short)number, argc > 3 ? argv[3] : NULL);
    }
    return usage(argc == 2 && !strcmp(argv[1], "--help") ? stdout : stderr);
}
