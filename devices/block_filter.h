// SPDX-License-Identifier: Apache-2.0
// The system-call filters of guillotine-block (block_rules.h).
#ifndef DEVICES_BLOCK_FILTER_H
#define DEVICES_BLOCK_FILTER_H

#include "error.h"

// Install one on the calling thread, for good: for a disk that is read, or also written.
int block_filter_install_reader(struct error *err);
int block_filter_install_writer(struct error *err);

#endif
