// SPDX-License-Identifier: Apache-2.0
// The settings of an entropy port.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hex.h"
#include "vm_file_internal.h"

// Its bytes are kept apart from the port's configuration, which is measured and shown.
static int read_seed(const struct json_place *place, void *target, struct error *err)
{
    struct vm_settings *settings = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    settings->bytes = malloc(VMM_PORT_SEED_BYTES);
    if (!settings->bytes)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "seed");
    settings->length = VMM_PORT_SEED_BYTES;
    if (strlen(text) != 2 * VMM_PORT_SEED_BYTES ||
        !hex_parse(text, settings->bytes, VMM_PORT_SEED_BYTES))
        // The message does not repeat it: it may go to a log.
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a seed is %u lower-case hexadecimal digits", 2 * VMM_PORT_SEED_BYTES);
    return 0;
}

int vm_file_read_entropy(const struct json_place *place, struct vmm_port_config *config,
                         struct vm_settings *settings, struct error *err)
{
    static const struct json_field fields[] = {{.key = "seed_hex", .read = read_seed}};
    if (json_read_object(place, fields, sizeof(fields) / sizeof(fields[0]), settings, err))
        return -1;
    config->options.entropy.seeded = settings->bytes != NULL;
    return 0;
}
