// SPDX-License-Identifier: Apache-2.0
// The store backend: requests of the model on a database.
#ifndef DEVICES_STORE_H
#define DEVICES_STORE_H

#include "port_backend.h"
#include "store_database.h"

// State: struct store_database, open.
extern const struct port_backend store_backend;

#endif
