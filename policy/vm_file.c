// SPDX-License-Identifier: Apache-2.0
// Reads a VM file: tables of keys, and what JSON's types cannot say.
#include "vm_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "escape.h"
#include "json_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define LIMIT_MAX       (1ull << 40)
#define INTERVAL_MAX_US 1000000u

// What a port of a kind can be asked for. Numbers are those of ports/port_abi.h.
struct port_kind_rules {
    const char *name;
    uint32_t number;
    const char *operations[4];
    uint32_t operation_numbers[4]; // in the order of the names
    size_t operation_count;
    uint32_t max_request_bytes; // the default and the most
    uint32_t queue_size;        // the default
};

static const struct port_kind_rules port_kinds[] = {
    {"console", 1, {"write", "read"}, {1, 2}, 2, 4096, 64},
};

// What the readers fill: the description, and what they need to know of the file.
struct vm_reader {
    struct vm_description vm;
    const char *path;
};

static void cleanup_reader_function(struct vm_reader *reader)
{
    vm_description_free(&reader->vm);
}

#define cleanup_reader __attribute__((cleanup(cleanup_reader_function)))

static int no_memory(struct error *err)
{
    return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "reading the VM file");
}

// Turns an error of a function that knows nothing of the document into one about `place`. Such a
// text may quote the document, so it is escaped.
static int refuse_because(const struct json_place *place, const struct error *inner,
                          struct error *err)
{
    if (inner->status == EXIT_STATUS_RESOURCES) {
        if (err)
            *err = *inner;
        return -1;
    }
    char text[256];
    escape_line(text, sizeof(text), inner->text, strlen(inner->text));
    return json_refuse(place, JSON_PART_VALUE, err, "%s", text);
}

bool vm_name_is_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char more[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    return strspn(name, first) && strlen(name) < VM_NAME_SIZE && !name[strspn(name, more)];
}

static int check_name(const char *name, size_t size, struct error *err)
{
    if (vm_name_is_valid(name) && strlen(name) < size)
        return 0;
    char excerpt[JSON_EXCERPT_SIZE];
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "'%s' is not a name: 1 to %zu of a-z, 0-9 and '-', not starting with '-'",
                     json_excerpt(excerpt, name), size - 1);
}

static int read_name(const struct json_place *place, char *name, size_t size, struct error *err)
{
    const char *text;
    struct error inner;
    if (json_read_text(place, &text, err))
        return -1;
    if (check_name(text, size, &inner))
        return refuse_because(place, &inner, err);
    memcpy(name, text, strlen(text) + 1);
    return 0;
}

// Reads a path and resolves it against the folder of the VM file.
static int read_path(const struct json_place *place, const char *vm_file, char **path,
                     struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (!*text)
        return json_refuse(place, JSON_PART_VALUE, err, "the path is empty");
    const char *slash = *text == '/' ? NULL : strrchr(vm_file, '/');
    int folder = slash ? (int)(slash - vm_file) + 1 : 0;
    if (asprintf(path, "%.*s%s", folder, vm_file, text) < 0) {
        *path = NULL;
        return no_memory(err);
    }
    return 0;
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    static const char family[] = "guillotine-vm/";
    const char *text;
    char excerpt[JSON_EXCERPT_SIZE];
    (void)target; // checked, not kept
    if (json_read_text(place, &text, err))
        return -1;
    if (!strcmp(text, VM_FILE_FORMAT))
        return 0;
    size_t digits = 0;
    if (!strncmp(text, family, sizeof(family) - 1))
        digits = strspn(text + sizeof(family) - 1, "0123456789");
    bool is_major = digits && !text[sizeof(family) - 1 + digits] && text[sizeof(family) - 1] != '0';
    return json_refuse(place, JSON_PART_VALUE, err,
                       is_major ? "format '%s' is newer: this version reads %s"
                                : "format '%s' is not known: this version reads %s",
                       json_excerpt(excerpt, text), VM_FILE_FORMAT);
}

static int read_vm_name(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return read_name(place, reader->vm.name, sizeof(reader->vm.name), err);
}

static int read_image(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return read_path(place, reader->path, &reader->vm.image, err);
}

int vm_description_add_argument(struct vm_description *vm, const char *argument, struct error *err)
{
    size_t bytes = strlen(argument) + 1;
    if (vm->argument_count == VM_MAX_ARGUMENTS)
        return error_set(err, EXIT_STATUS_USAGE, 0, "more than %u arguments", VM_MAX_ARGUMENTS);
    for (uint32_t i = 0; i < vm->argument_count; i++)
        bytes += strlen(vm->arguments[i]) + 1;
    if (bytes > VMM_ARGUMENTS_MAX)
        return error_set(err, EXIT_STATUS_USAGE, 0, "the arguments are longer than %u bytes",
                         VMM_ARGUMENTS_MAX);
    char **grown = reallocarray(vm->arguments, vm->argument_count + 1, sizeof(*grown));
    if (!grown)
        return no_memory(err);
    vm->arguments = grown;
    grown[vm->argument_count] = strdup(argument);
    if (!grown[vm->argument_count])
        return no_memory(err);
    vm->argument_count++;
    return 0;
}

static int read_argument(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    const char *text;
    struct error inner;
    if (json_read_text(place, &text, err))
        return -1;
    if (vm_description_add_argument(&reader->vm, text, &inner))
        return refuse_because(place, &inner, err);
    return 0;
}

static int read_arguments(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, VM_MAX_ARGUMENTS, read_argument, target, err);
}

static int read_weights_file(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return read_path(place, reader->path, &reader->vm.weights[reader->vm.weights_count].path, err);
}

static int read_weights_copy(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return json_read_bool(place, &reader->vm.weights[reader->vm.weights_count].copy, err);
}

static int read_one_weights(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "file", .read = read_weights_file, .required = true},
        {.key = "copy", .read = read_weights_copy},
    };
    struct vm_reader *reader = target;
    int result = json_read_object(place, fields, COUNT(fields), reader, err);
    reader->vm.weights_count++; // also after an error: its path is owned already
    return result;
}

static int read_weights(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, VMM_MAX_WEIGHTS, read_one_weights, target, err);
}

static int read_cores(const struct json_place *place, struct cpu_list *list, struct error *err)
{
    const char *text;
    struct error inner;
    if (json_read_text(place, &text, err))
        return -1;
    if (cpu_list_parse(text, list, &inner))
        return refuse_because(place, &inner, err);
    return 0;
}

static int read_model_cores(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    reader->vm.model_cores_given = true;
    return read_cores(place, &reader->vm.model_cores, err);
}

static int read_hypervisor_cores(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    reader->vm.hypervisor_cores_given = true;
    if (read_cores(place, &reader->vm.hypervisor_cores, err))
        return -1;
    struct cpu_list both = {0};
    for (size_t i = 0; i < COUNT(both.bits); i++)
        both.bits[i] = reader->vm.model_cores.bits[i] & reader->vm.hypervisor_cores.bits[i];
    if (!cpu_list_count(&both))
        return 0;
    char cores[128];
    cpu_list_format(&both, cores, sizeof(cores));
    return json_refuse(place, JSON_PART_VALUE, err, "cores %s are in model_cores too", cores);
}

static int read_placement(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "model_cores", .read = read_model_cores},
        {.key = "hypervisor_cores", .read = read_hypervisor_cores}, // compares with the above
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static int read_doorbell_interval(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    reader->vm.doorbell_interval_given = true;
    return json_field_u64(place, target, err);
}

static int read_idle_spin(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    reader->vm.idle_spin_given = true;
    return json_field_u64(place, target, err);
}

static int read_poller(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"doorbell_interval_us", read_doorbell_interval, false,
         offsetof(struct vm_reader, vm.doorbell_interval_us), 0, INTERVAL_MAX_US},
        {"idle_spin_us", read_idle_spin, false, offsetof(struct vm_reader, vm.idle_spin_us), 0,
         INTERVAL_MAX_US},
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

// What the readers of one port fill. The kind comes first: the others depend on it.
struct port_reader {
    struct vmm_port_config config;
    const struct port_kind_rules *kind;
};

static uint64_t all_operations(const struct port_kind_rules *kind)
{
    uint64_t operations = 0;
    for (size_t i = 0; i < kind->operation_count; i++)
        operations |= 1ull << kind->operation_numbers[i];
    return operations;
}

static struct vmm_port_config port_defaults(const struct port_kind_rules *kind)
{
    struct vmm_port_config config = {
        .kind = kind->number,
        .mode = VMM_PORT_ADAPTIVE,
        .operations = all_operations(kind),
        .queue_size = kind->queue_size,
        .max_request_bytes = kind->max_request_bytes,
    };
    snprintf(config.name, sizeof(config.name), "%s", kind->name);
    return config;
}

static bool has_port(const struct vm_description *vm, const char *name)
{
    for (uint32_t i = 0; i < vm->port_count; i++) {
        if (!strcmp(vm->ports[i].name, name))
            return true;
    }
    return false;
}

static int read_port_kind(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    const char *names[COUNT(port_kinds)];
    size_t index;
    for (size_t i = 0; i < COUNT(port_kinds); i++)
        names[i] = port_kinds[i].name;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->kind = &port_kinds[index];
    reader->config = port_defaults(reader->kind);
    return 0;
}

static int read_port_name(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    return read_name(place, reader->config.name, sizeof(reader->config.name), err);
}

static int read_port_mode(const struct json_place *place, void *target, struct error *err)
{
    static const char *const modes[] = {
        [VMM_PORT_ADAPTIVE] = "adaptive",
        [VMM_PORT_BUSY] = "busy",
        [VMM_PORT_DOORBELL] = "doorbell",
    };
    struct port_reader *reader = target;
    size_t index;
    if (json_read_name(place, modes, COUNT(modes), &index, err))
        return -1;
    reader->config.mode = (uint32_t)index;
    return 0;
}

static int read_operation(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    size_t index;
    if (json_read_name(place, reader->kind->operations, reader->kind->operation_count, &index, err))
        return -1;
    uint64_t bit = 1ull << reader->kind->operation_numbers[index];
    if (reader->config.operations & bit)
        return json_refuse(place, JSON_PART_VALUE, err, "'%s' is listed twice",
                           reader->kind->operations[index]);
    reader->config.operations |= bit;
    return 0;
}

static int read_operations(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    reader->config.operations = 0;
    return json_read_array(place, SIZE_MAX, read_operation, reader, err);
}

static int read_queue_size(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    if (json_field_u32(place, target, err))
        return -1;
    uint32_t size = reader->config.queue_size;
    if (size & (size - 1))
        return json_refuse(place, JSON_PART_VALUE, err, "%" PRIu32 " is not a power of two", size);
    return 0;
}

static int read_max_request_bytes(const struct json_place *place, void *target, struct error *err)
{
    struct port_reader *reader = target;
    uint64_t bytes;
    if (json_read_integer(place, 1, reader->kind->max_request_bytes, &bytes, err))
        return -1;
    reader->config.max_request_bytes = (uint32_t)bytes;
    return 0;
}

#define LIMIT(member)                                                                              \
    {                                                                                              \
#member, json_field_u64, false, offsetof(struct limits_config, member), 0, LIMIT_MAX       \
    }

static int read_limits(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        LIMIT(requests_per_s), LIMIT(request_burst),  LIMIT(bytes_per_s),
        LIMIT(byte_burst),     LIMIT(requests_total), LIMIT(bytes_total),
    };
    struct port_reader *reader = target;
    return json_read_object(place, fields, COUNT(fields), &reader->config.limits, err);
}

static int read_port(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "kind", .read = read_port_kind, .required = true}, // first: fills in defaults
        {.key = "name", .read = read_port_name},
        {.key = "mode", .read = read_port_mode},
        {.key = "operations", .read = read_operations},
        {"queue_size", read_queue_size, false, offsetof(struct port_reader, config.queue_size), 1,
         1024},
        {.key = "max_request_bytes", .read = read_max_request_bytes},
        {.key = "limits", .read = read_limits},
    };
    struct vm_reader *reader = target;
    struct port_reader port = {0};
    struct json_place name;
    if (json_read_object(place, fields, COUNT(fields), &port, err))
        return -1;
    if (has_port(&reader->vm, port.config.name))
        return json_refuse(json_member(place, "name", &name) ? &name : place, JSON_PART_VALUE, err,
                           "another port is named '%s'", port.config.name);
    reader->vm.ports[reader->vm.port_count++] = port.config;
    return 0;
}

static int read_ports(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, VMM_MAX_PORTS, read_port, target, err);
}

int vm_description_add_port(struct vm_description *vm, const char *kind, const char *name,
                            struct error *err)
{
    char excerpt[JSON_EXCERPT_SIZE];
    const struct port_kind_rules *rules = NULL;
    for (size_t i = 0; i < COUNT(port_kinds); i++) {
        if (!strcmp(kind, port_kinds[i].name))
            rules = &port_kinds[i];
    }
    if (!rules)
        return error_set(err, EXIT_STATUS_USAGE, 0, "port kind '%s' is not known (known: console)",
                         json_excerpt(excerpt, kind));
    struct vmm_port_config config = port_defaults(rules);
    if (name && check_name(name, sizeof(config.name), err))
        return -1;
    if (name)
        memcpy(config.name, name, strlen(name) + 1);
    if (vm->port_count == VMM_MAX_PORTS)
        return error_set(err, EXIT_STATUS_USAGE, 0, "more than %u ports", VMM_MAX_PORTS);
    if (has_port(vm, config.name))
        return error_set(err, EXIT_STATUS_USAGE, 0, "another port is named '%s'", config.name);
    vm->ports[vm->port_count++] = config;
    return 0;
}

static int read_audit_file(const struct json_place *place, void *target, struct error *err)
{
    static const char suffix[] = ".audit";
    struct vm_reader *reader = target;
    if (read_path(place, reader->path, &reader->vm.audit_path, err))
        return -1;
    const char *path = reader->vm.audit_path;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t length = strlen(name);
    if (length < sizeof(suffix) || strcmp(name + length + 1 - sizeof(suffix), suffix) != 0)
        return json_refuse(place, JSON_PART_VALUE, err, "an audit log's name ends in .audit");
    return 0;
}

static int read_audit(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "file", .read = read_audit_file, .required = true},
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static const char *const require_names[] = {
    [VMM_REQUIRE_NONE] = "none",
    [VMM_REQUIRE_BASIC] = "basic",
    [VMM_REQUIRE_STRICT] = "strict",
};

int vm_require_parse(const char *text, enum vmm_require *require, struct error *err)
{
    char excerpt[JSON_EXCERPT_SIZE];
    for (size_t i = 0; i < COUNT(require_names); i++) {
        if (!strcmp(text, require_names[i])) {
            *require = (enum vmm_require)i;
            return 0;
        }
    }
    return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not one of: none, basic, strict",
                     json_excerpt(excerpt, text));
}

static int read_require(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    size_t index;
    if (json_read_name(place, require_names, COUNT(require_names), &index, err))
        return -1;
    reader->vm.require_given = true;
    reader->vm.require = (enum vmm_require)index;
    return 0;
}

static const struct json_field vm_fields[] = {
    {.key = "format", .read = read_format, .required = true},
    {.key = "name", .read = read_vm_name},
    {.key = "image", .read = read_image, .required = true},
    {.key = "arguments", .read = read_arguments},
    {"vcpus", json_field_u32, false, offsetof(struct vm_reader, vm.vcpus), 1, VMM_MAX_VCPUS},
    {"memory_bytes", json_field_u64, false, offsetof(struct vm_reader, vm.memory_bytes),
     VM_MEMORY_MIN, VM_MEMORY_MAX},
    {.key = "weights", .read = read_weights},
    {.key = "placement", .read = read_placement},
    {.key = "poller", .read = read_poller},
    {.key = "ports", .read = read_ports},
    {.key = "audit", .read = read_audit},
    {.key = "require", .read = read_require},
};

int vm_file_parse(const char *path, const char *text, size_t length, struct vm_description *vm,
                  struct error *err)
{
    cleanup_json_document struct json_document document = {0};
    cleanup_reader struct vm_reader reader = {.path = path};
    if (json_document_parse(&document, path, text, length, VM_FILE_MAX_BYTES, err))
        return -1;
    struct json_place root = json_document_root(&document);
    struct json_place format;
    if (json_expect(&root, json_type_object, err))
        return -1;
    // Before anything else: keys that are unknown here may be right in another format.
    if (!json_member(&root, "format", &format))
        return json_refuse(&root, JSON_PART_VALUE, err, "missing key 'format': a VM file says '%s'",
                           VM_FILE_FORMAT);
    if (read_format(&format, NULL, err) ||
        json_read_object(&root, vm_fields, COUNT(vm_fields), &reader, err))
        return -1;
    *vm = reader.vm;
    reader.vm = (struct vm_description){0};
    return 0;
}

static int refuse_file(const char *path, int code, const char *reason, struct error *err)
{
    char shown[256];
    escape_line(shown, sizeof(shown), path, strlen(path));
    return error_set(err, EXIT_STATUS_BAD_FILE, code, "%s: %s", shown, reason);
}

int vm_file_load(const char *path, struct vm_description *vm, struct error *err)
{
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    if (fd < 0 || fstat(fd, &status))
        return refuse_file(path, errno, "cannot open the VM file", err);
    if (S_ISDIR(status.st_mode))
        return refuse_file(path, 0, "is a directory, not a VM file", err);
    if (!S_ISREG(status.st_mode))
        return refuse_file(path, 0, "is not a regular file", err);
    // One byte more than allowed, so that vm_file_parse sees what is too long.
    cleanup_free char *text = malloc(VM_FILE_MAX_BYTES + 1);
    if (!text)
        return no_memory(err);
    size_t length = 0;
    ssize_t n = 1;
    while (n && length <= VM_FILE_MAX_BYTES) {
        n = read(fd, text + length, VM_FILE_MAX_BYTES + 1 - length);
        if (n < 0 && errno != EINTR)
            return refuse_file(path, errno, "cannot read the VM file", err);
        length += n > 0 ? (size_t)n : 0;
    }
    return vm_file_parse(path, text, length, vm, err);
}

void vm_description_free(struct vm_description *vm)
{
    for (uint32_t i = 0; i < vm->argument_count; i++)
        free(vm->arguments[i]);
    for (uint32_t i = 0; i < vm->weights_count; i++)
        free(vm->weights[i].path);
    free(vm->arguments);
    free(vm->image);
    free(vm->audit_path);
    *vm = (struct vm_description){0};
}
