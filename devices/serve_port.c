// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a serve port.
#include "serve_port.h"

const struct port_operation serve_operations[SERVE_OPERATIONS] = {
    {SERVE_RECEIVE, 0, PORT_MAX_BYTES, "receive"},
    {SERVE_PIECE, PORT_MAX_BYTES, 0, "piece"},
    {SERVE_ANSWER, PORT_MAX_BYTES, 0, "answer"},
};

const struct port_backend serve_port = {
    .kind = PORT_KIND_SERVE,
    .name = "serve",
    .operations = serve_operations,
    .operation_count = SERVE_OPERATIONS,
    .outward = SERVE_RECEIVE,
    .inward = SERVE_PROMPT,
};
