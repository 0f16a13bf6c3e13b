// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of an http port.
#include "http_port.h"

const struct port_operation http_operations[HTTP_OPERATIONS] = {
    {HTTP_FETCH, PORT_MAX_BYTES, PORT_MAX_BYTES, "fetch"},
    {HTTP_OPEN, PORT_MAX_BYTES, PORT_MAX_BYTES, "open"},
    {HTTP_READ, 0, PORT_MAX_BYTES, "read"},
    {HTTP_CLOSE, 0, 0, "close"},
};

const struct port_backend http_port = {
    .kind = PORT_KIND_HTTP,
    .name = "http",
    .operations = http_operations,
    .operation_count = HTTP_OPERATIONS,
};
