// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of VM files: any bytes give a description or an error, and a description
// keeps the bounds that the VMM relies on.
#include <stdlib.h>
#include <string.h>

#include "vm_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void check_description(const struct vm_description *vm)
{
    require_that(vm->image && vm->image[0]);
    require_that(!vm->name[0] || vm_name_is_valid(vm->name));
    require_that(vm->vcpus <= VMM_MAX_VCPUS);
    require_that(vm->argument_count <= VM_MAX_ARGUMENTS);
    require_that(vm->weights_count <= VMM_MAX_WEIGHTS);
    require_that(vm->port_count <= VMM_MAX_PORTS);
    for (uint32_t i = 0; i < vm->weights_count; i++)
        require_that(vm->weights[i].path && vm->weights[i].path[0]);
    for (uint32_t i = 0; i < vm->port_count; i++) {
        const struct vmm_port_config *port = &vm->ports[i];
        require_that(strnlen(port->name, sizeof(port->name)) < sizeof(port->name));
        require_that(vm_name_is_valid(port->name));
        require_that(__builtin_popcount(port->queue_size) == 1 && port->queue_size <= 1024);
        require_that(port->max_request_bytes >= 1 && port->max_request_bytes <= 1u << 20);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm_description vm = {0};
    struct error err = {0};
    if (vm_file_parse("fuzz/vm.json", (const char *)data, size, &vm, &err)) {
        require_that(err.status == EXIT_STATUS_BAD_FILE);
        require_that(!strncmp(err.text, "fuzz/vm.json:", strlen("fuzz/vm.json:")));
        require_that(!memchr(err.text, '\n', strlen(err.text)));
    } else {
        check_description(&vm);
    }
    vm_description_free(&vm);
    return 0;
}
