// SPDX-License-Identifier: Apache-2.0
// The settings of a store.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "store_settings.h"
#include "vm_file_internal.h"

// Numbers of ports/port_abi.h.
#define OPERATIONS_READ  (1ull << 1 | 1ull << 2 | 1ull << 3) // get, list, search
#define OPERATIONS_WRITE (1ull << 4 | 1ull << 5)             // put, delete

void vm_file_store_defaults(struct vmm_port_config *config)
{
    config->operations = OPERATIONS_READ;
}

static int read_store_path(const struct json_place *place, void *target, struct error *err)
{
    struct store_settings *store = target;
    cleanup_free char *path = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    if (strlen(path) >= sizeof(store->path))
        return json_refuse(place, JSON_PART_VALUE, err, "the path is too long");
    memcpy(store->path, path, strlen(path) + 1);
    return 0;
}

// "operations" were read before: the database is opened for writing only if one of them writes.
int vm_file_read_store(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "path", .read = read_store_path, .required = true},
        {"quota_bytes", json_field_u64, false, offsetof(struct store_settings, grant.quota_bytes),
         1, STORE_QUOTA_MAX},
        {"max_objects", json_field_u64, false, offsetof(struct store_settings, grant.max_objects),
         1, STORE_MAX_OBJECTS_MAX},
    };
    struct store_settings *store = calloc(1, sizeof(*store));
    if (!store)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a store");
    store->grant = (struct store_grant){
        .quota_bytes = STORE_QUOTA_DEFAULT,
        .max_objects = STORE_MAX_OBJECTS_DEFAULT,
        .writable = (config->operations & OPERATIONS_WRITE) != 0,
    };
    *settings = (struct vm_settings){.bytes = store, .length = sizeof(*store)};
    return json_read_object(place, fields, sizeof(fields) / sizeof(fields[0]), store, err);
}
