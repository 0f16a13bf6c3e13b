// SPDX-License-Identifier: Apache-2.0
// The http backend: requests of the model to the origins that it may reach.
#ifndef DEVICES_HTTP_H
#define DEVICES_HTTP_H

#include "port_backend.h"

// The state is a struct http_pool.
extern const struct port_backend http_backend;

#endif
