// SPDX-License-Identifier: Apache-2.0
// Random bytes from the port named "entropy".
#ifndef GUILLOTINE_ENTROPY_H
#define GUILLOTINE_ENTROPY_H

#include <guillotine/cell.h>

// Fills `data`, of any length. Returns 0, a port status, or -1 without such a port; then some of it
// may be filled. With a seed in the VM file the bytes are the same in each run.
int cell_entropy_read(void *data, size_t length);

#endif
