// SPDX-License-Identifier: Apache-2.0
// The system-call filters of guillotine-store (store_rules.h).
#ifndef DEVICES_STORE_FILTER_H
#define DEVICES_STORE_FILTER_H

#include "error.h"

// Install one on the calling thread, for good: for a database that is read, or also written.
int store_filter_install_reader(struct error *err);
int store_filter_install_writer(struct error *err);

#endif
