// SPDX-License-Identifier: Apache-2.0
// The system-call filters of guillotine-store.
#include "store_filter.h"

#include "sandbox.h"
#include "store_filters.h"

int store_filter_install_reader(struct error *err)
{
    return sandbox_install(store_read_filter,
                           sizeof(store_read_filter) / sizeof(store_read_filter[0]), err);
}

int store_filter_install_writer(struct error *err)
{
    return sandbox_install(store_write_filter,
                           sizeof(store_write_filter) / sizeof(store_write_filter[0]), err);
}
