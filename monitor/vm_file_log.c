// SPDX-License-Identifier: Apache-2.0
// The settings of a log.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log_file.h"
#include "vm_file_internal.h"

#define DEFAULT_REQUESTS_PER_S 100u
#define DEFAULT_REQUEST_BURST  1000u

void vm_file_log_defaults(struct vmm_port_config *config)
{
    config->limits.requests_per_s = DEFAULT_REQUESTS_PER_S;
    config->limits.request_burst = DEFAULT_REQUEST_BURST;
}

static int read_log_path(const struct json_place *place, void *target, struct error *err)
{
    struct log_settings *log = target;
    cleanup_free char *path = NULL;
    if (vm_file_read_path(place, &path, err))
        return -1;
    if (strlen(path) >= sizeof(log->path))
        return json_refuse(place, JSON_PART_VALUE, err, "the path is too long");
    memcpy(log->path, path, strlen(path) + 1);
    return 0;
}

int vm_file_read_log(const struct json_place *place, struct vmm_port_config *config,
                     struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "path", .read = read_log_path},
        {"max_bytes", json_field_u64, false, offsetof(struct log_settings, max_bytes),
         LOG_FILE_BYTES_MIN, VM_LIMIT_MAX},
    };
    (void)config; // the VMM needs none of it
    struct log_settings *log = calloc(1, sizeof(*log));
    if (!log)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of a log");
    log->max_bytes = LOG_FILE_BYTES_DEFAULT;
    *settings = (struct vm_settings){.bytes = log, .length = sizeof(*log)};
    return json_read_object(place, fields, sizeof(fields) / sizeof(fields[0]), log, err);
}
