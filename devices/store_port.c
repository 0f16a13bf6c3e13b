// SPDX-License-Identifier: Apache-2.0
// What the VMM knows of a store.
#include "store_port.h"

const struct port_operation store_operations[STORE_OPERATIONS] = {
    {STORE_GET, STORE_MAX_REQUEST, PORT_MAX_BYTES, "get"},
    {STORE_LIST, STORE_MAX_REQUEST, PORT_MAX_BYTES, "list"},
    {STORE_SEARCH, STORE_MAX_REQUEST, PORT_MAX_BYTES, "search"},
    {STORE_PUT, PORT_MAX_BYTES, 0, "put"},
    {STORE_DELETE, STORE_MAX_REQUEST, 0, "delete"},
};

const struct port_backend store_port = {
    .kind = PORT_KIND_STORE,
    .name = "store",
    .operations = store_operations,
    .operation_count = STORE_OPERATIONS,
};
