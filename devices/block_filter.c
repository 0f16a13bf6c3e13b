// SPDX-License-Identifier: Apache-2.0
// The system-call filters of guillotine-block.
#include "block_filter.h"

#include "block_filters.h"
#include "sandbox.h"

int block_filter_install_reader(struct error *err)
{
    return sandbox_install(block_read_filter,
                           sizeof(block_read_filter) / sizeof(block_read_filter[0]), err);
}

int block_filter_install_writer(struct error *err)
{
    return sandbox_install(block_write_filter,
                           sizeof(block_write_filter) / sizeof(block_write_filter[0]), err);
}
