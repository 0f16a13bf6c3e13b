// SPDX-License-Identifier: Apache-2.0
// The loopback backend: answers itself. For tests and measurements; it leads nowhere.
#ifndef DEVICES_LOOPBACK_H
#define DEVICES_LOOPBACK_H

#include "port_backend.h"

// Needs no state.
extern const struct port_backend loopback_backend;

#endif
