// SPDX-License-Identifier: Apache-2.0
// Seeds: those of the file where there are any, else new ones; gone afterwards.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "port_seeds.h"
#include "support.h"

static struct vmm_config config;
static struct vm_description vm;

static void describe(void)
{
    vm = (struct vm_description){.port_count = 4};
    vm.ports[0].kind = VMM_PORT_LOOPBACK;
    vm.ports[1].kind = VMM_PORT_CLOCK;
    vm.ports[2].kind = VMM_PORT_ENTROPY;
    vm.ports[3].kind = VMM_PORT_ENTROPY;
    vm.ports[3].options.entropy.seeded = 1;
    vm.settings[3].bytes = malloc(VMM_PORT_SEED_BYTES);
    vm.settings[3].length = VMM_PORT_SEED_BYTES;
    memset(vm.settings[3].bytes, 0xa5, VMM_PORT_SEED_BYTES);
    config = (struct vmm_config){.port_count = 4};
    memcpy(config.ports, vm.ports, sizeof(vm.ports));
}

Test(port_seeds, fills)
{
    static const uint8_t zeros[VMM_PORT_SEED_BYTES];
    struct error err;
    describe();
    cr_assert_eq(port_seeds_fill(&config, vm.settings, &err), 0);
    const uint8_t *clock = config.ports[1].options.clock.seed;
    const uint8_t *random = config.ports[2].options.entropy.seed;
    cr_expect_eq(memcmp(&config.ports[0], &vm.ports[0], sizeof(config.ports[0])), 0);
    cr_expect_neq(memcmp(clock, zeros, sizeof(zeros)), 0);
    cr_expect_neq(memcmp(random, zeros, sizeof(zeros)), 0);
    cr_expect_neq(memcmp(random, clock, sizeof(zeros)), 0, "one seed for two");
    for (unsigned i = 0; i < VMM_PORT_SEED_BYTES; i++)
        cr_expect_eq(config.ports[3].options.entropy.seed[i], 0xa5);
    struct vmm_config again = config;
    cr_assert_eq(port_seeds_fill(&again, vm.settings, &err), 0);
    cr_expect_neq(memcmp(again.ports[2].options.entropy.seed, random, sizeof(zeros)), 0);
    // What is measured and shown has none.
    for (unsigned i = 1; i < 4; i++)
        cr_expect_eq(memcmp(vm.ports[i].options.entropy.seed, zeros, sizeof(zeros)), 0);
    vm_description_free(&vm);
}

Test(port_seeds, forgets)
{
    struct error err;
    describe();
    port_seeds_forget(&vm);
    cr_expect_null(vm.settings[3].bytes);
    cr_expect_eq(vm.settings[3].length, 0u);
    // Once more without it: refused, not run with a seed of zeros.
    cr_expect_eq(port_seeds_fill(&config, vm.settings, &err), -1);
    vm_description_free(&vm);
}
