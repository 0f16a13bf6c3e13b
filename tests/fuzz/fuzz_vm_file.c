// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of VM files: any bytes give a description or an error, and a description
// keeps the bounds that the VMM relies on.
#include <stdlib.h>
#include <string.h>

#include "http_settings.h"
#include "vm_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

// What guillotine-http would take apart.
static void check_http(const struct http_settings *http)
{
    const struct http_grant *grant = &http->grant;
    require_that(grant->rule_count <= HTTP_MAX_RULES && grant->name_count <= HTTP_MAX_NAMES);
    require_that(grant->secret_count <= HTTP_MAX_SECRETS);
    require_that(http->source_count <= HTTP_MAX_SECRETS);
    for (uint32_t i = 0; i < grant->rule_count; i++) {
        const struct http_rule *rule = &grant->rules[i];
        require_that(http_host_is_sound(rule->origin.host, strlen(rule->origin.host)));
        require_that(memchr(rule->path, '\0', sizeof(rule->path)) != NULL);
    }
    for (uint32_t i = 0; i < grant->secret_count; i++) {
        const struct http_secret *secret = &grant->secrets[i];
        require_that(secret->origin.scheme == HTTP_SCHEME_HTTPS && secret->header[0]);
        require_that(memchr(secret->value, '\0', sizeof(secret->value)) != NULL);
        require_that(secret->secret_at <= strlen(secret->value));
        require_that(http->source_of[i] < http->source_count);
    }
    require_that(!*http->certificate == !*http->key);
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
        if (port->kind == VMM_PORT_HTTP)
            check_http(vm->settings[i].bytes);
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
