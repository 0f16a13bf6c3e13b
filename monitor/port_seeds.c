// SPDX-License-Identifier: Apache-2.0
// Seeds of ports in the VMM.
#include "port_seeds.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static int make_seed(uint8_t seed[VMM_PORT_SEED_BYTES], struct error *err)
{
    if (getrandom(seed, VMM_PORT_SEED_BYTES, 0) != (ssize_t)VMM_PORT_SEED_BYTES)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "getrandom");
    return 0;
}

int port_seeds_fill(struct vmm_config *config, const struct vm_settings *settings,
                    struct error *err)
{
    for (uint32_t i = 0; i < config->port_count; i++) {
        union vmm_port_options *options = &config->ports[i].options;
        if (config->ports[i].kind == VMM_PORT_CLOCK) {
            if (make_seed(options->clock.seed, err) < 0)
                return -1;
        } else if (config->ports[i].kind == VMM_PORT_ENTROPY && options->entropy.seeded) {
            if (settings[i].length != VMM_PORT_SEED_BYTES)
                return error_set(err, EXIT_STATUS_INTERNAL, 0, "port %s has no seed",
                                 config->ports[i].name);
            memcpy(options->entropy.seed, settings[i].bytes, VMM_PORT_SEED_BYTES);
        } else if (config->ports[i].kind == VMM_PORT_ENTROPY &&
                   make_seed(options->entropy.seed, err) < 0) {
            return -1;
        }
    }
    return 0;
}

void port_seeds_forget(struct vm_description *vm)
{
    for (uint32_t i = 0; i < vm->port_count; i++) {
        if (vm->ports[i].kind == VMM_PORT_ENTROPY)
            vm_settings_free(&vm->settings[i]);
    }
}
