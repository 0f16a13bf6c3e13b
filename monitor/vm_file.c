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
#include "heartbeat.h"
#include "vm_file_internal.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define INTERVAL_MAX_US 1000000u

// Heartbeats of people may be days apart.
#define VM_OPERATOR_PERIOD_MAX_MS 604800000u

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
int vm_file_refuse_because(const struct json_place *place, const struct error *inner,
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

int vm_file_check_name(const char *name, size_t size, struct error *err)
{
    if (vm_name_is_valid(name) && strlen(name) < size)
        return 0;
    char excerpt[JSON_EXCERPT_SIZE];
    return error_set(err, EXIT_STATUS_USAGE, 0,
                     "'%s' is not a name: 1 to %zu of a-z, 0-9 and '-', not starting with '-'",
                     json_excerpt(excerpt, name), size - 1);
}

int vm_file_read_name(const struct json_place *place, char *name, size_t size, struct error *err)
{
    const char *text;
    struct error inner;
    if (json_read_text(place, &text, err))
        return -1;
    if (vm_file_check_name(text, size, &inner))
        return vm_file_refuse_because(place, &inner, err);
    memcpy(name, text, strlen(text) + 1);
    return 0;
}

// Reads a path and resolves it against the folder of the VM file.
static int read_path(const struct json_place *place, const char *vm_file, char **path,
                     struct error *err)
{
    const char *text;
    *path = NULL;
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

int vm_file_read_path(const struct json_place *place, char **path, struct error *err)
{
    return read_path(place, place->document->name, path, err);
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
    return vm_file_read_name(place, reader->vm.name, sizeof(reader->vm.name), err);
}

static int read_uuid(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    const char *text;
    char excerpt[JSON_EXCERPT_SIZE];
    if (json_read_text(place, &text, err))
        return -1;
    if (!uuid_parse(text, &reader->vm.uuid))
        return json_refuse(place, JSON_PART_VALUE, err, "'%s' is not a version 4 UUID",
                           json_excerpt(excerpt, text));
    reader->vm.uuid_given = true;
    return 0;
}

static int read_image(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return read_path(place, reader->path, &reader->vm.image, err);
}

static int read_linux(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    if (reader->vm.image)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "a VM has an image or a Linux kernel, not both");
    return vm_file_read_linux(place, &reader->vm, err);
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
        return vm_file_refuse_because(place, &inner, err);
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

static int read_weights_sealed(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return json_read_bool(place, &reader->vm.weights[reader->vm.weights_count].sealed, err);
}

static int read_one_weights(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "file", .read = read_weights_file, .required = true},
        {.key = "copy", .read = read_weights_copy},
        {.key = "sealed", .read = read_weights_sealed},
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
        return vm_file_refuse_because(place, &inner, err);
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

static int read_placement_mode(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    const char *text;
    struct error inner;
    if (json_read_text(place, &text, err))
        return -1;
    reader->vm.placement_given = true;
    if (vm_placement_parse(text, &reader->vm, &inner))
        return vm_file_refuse_because(place, &inner, err);
    return 0;
}

static int read_placement(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "mode", .read = read_placement_mode},
        {.key = "model_cores", .read = read_model_cores},
        {.key = "hypervisor_cores", .read = read_hypervisor_cores}, // compares with the above
    };
    // "placement": "shared" says all that most VMs want to.
    if (json_object_get_type(place->value) == json_type_string)
        return read_placement_mode(place, target, err);
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
        {"threads", json_field_u32, false, offsetof(struct vm_reader, vm.poller_threads), 1,
         VMM_MAX_POLLERS},
        {"idle_spin_us", read_idle_spin, false, offsetof(struct vm_reader, vm.idle_spin_us), 0,
         INTERVAL_MAX_US},
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static int read_ports(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return json_read_array(place, VMM_MAX_PORTS, vm_file_read_port, &reader->vm, err);
}

int vm_description_check_policy(const struct vm_description *vm,
                                const struct policy_document *policy, struct error *err)
{
    const struct policy_table_port *sections = policy->arrays.table->ports;
    for (uint32_t i = 0; i < POLICY_MAX_PORTS && sections[i].name[0]; i++) {
        const char *kind = vm_port_kind_name(sections[i].kind);
        uint32_t port = 0;
        while (port < vm->port_count && strcmp(vm->ports[port].name, sections[i].name) != 0)
            port++;
        if (port == vm->port_count)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "policy: the VM has no port named '%s'",
                             sections[i].name);
        if (vm->ports[port].kind != sections[i].kind)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "policy: port '%s' is a %s here and a %s in the VM", sections[i].name,
                             kind ? kind : "?", vm_port_kind_name(vm->ports[port].kind));
    }
    return 0;
}

static int read_policy(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    cleanup_free char *path = NULL;
    struct error inner;
    int result;
    if (json_object_is_type(place->value, json_type_string)) {
        if (read_path(place, reader->path, &path, err) < 0)
            return -1;
        result = policy_document_load(path, &reader->vm.policy, err);
    } else {
        result = policy_document_read(place, &reader->vm.policy, err);
    }
    if (result < 0)
        return -1;
    reader->vm.policy_given = true;
    if (vm_description_check_policy(&reader->vm, &reader->vm.policy, &inner) < 0)
        return vm_file_refuse_because(place, &inner, err);
    return 0;
}

static int read_detectors(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    reader->vm.detectors_given = true;
    return vm_file_read_detectors(place, &reader->vm.detectors, err);
}

static int read_audit_file(const struct json_place *place, void *target, struct error *err)
{
    static const char suffix[] = ".audit";
    struct vm_reader *reader = target;
    if (read_path(place, reader->path, &reader->vm.audit_path, err))
        return -1;
    const char *path = reader->vm.audit_path ? reader->vm.audit_path : "";
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t length = strlen(name);
    if (length < sizeof(suffix) || strcmp(name + length + 1 - sizeof(suffix), suffix) != 0)
        return json_refuse(place, JSON_PART_VALUE, err, "an audit log's name ends in .audit");
    return 0;
}

static int read_audit_witness(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return read_path(place, reader->path, &reader->vm.audit_witness, err);
}

static int read_audit(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "file", .read = read_audit_file},
        {"records_per_s", json_field_u64, false, offsetof(struct vm_reader, vm.audit_records_per_s),
         0, VM_LIMIT_MAX},
        {.key = "witness", .read = read_audit_witness},
        {"rotate_bytes", json_field_u64, false, offsetof(struct vm_reader, vm.audit_rotate_bytes),
         VM_AUDIT_BYTES_MIN, VM_LIMIT_MAX},
        {"budget_bytes", json_field_u64, false, offsetof(struct vm_reader, vm.audit_budget_bytes),
         VM_AUDIT_BYTES_MIN, VM_LIMIT_MAX},
        {"record_burst", json_field_u64, false, offsetof(struct vm_reader, vm.audit_burst), 0,
         VM_LIMIT_MAX},
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static int read_memory(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    return vm_file_read_memory(place, &reader->vm, err);
}

static int read_forensics(const struct json_place *place, void *target, struct error *err)
{
    struct vm_reader *reader = target;
    reader->vm.forensics_given = true;
    return json_read_bool(place, &reader->vm.forensics, err);
}

static const char *const require_names[] = {
    [VMM_REQUIRE_NONE] = "none",
    [VMM_REQUIRE_BASIC] = "basic",
    [VMM_REQUIRE_STRICT] = "strict",
};

int vm_placement_parse(const char *text, struct vm_description *vm, struct error *err)
{
    char excerpt[JSON_EXCERPT_SIZE];
    vm->placement_shared = !strcmp(text, "shared");
    vm->placement_exclusive = !strcmp(text, "exclusive");
    if (vm->placement_shared || vm->placement_exclusive || !strcmp(text, "isolated"))
        return 0;
    return error_set(err, EXIT_STATUS_USAGE, 0, "'%s' is not one of: isolated, exclusive, shared",
                     json_excerpt(excerpt, text));
}

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

static int read_heartbeat(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"period_ms", json_field_u32, false, offsetof(struct vm_reader, vm.heartbeat_period_ms),
         HEARTBEAT_PERIOD_MIN_MS, HEARTBEAT_PERIOD_MAX_MS},
        {"operator_period_ms", json_field_u32, false,
         offsetof(struct vm_reader, vm.heartbeat_operator_period_ms), HEARTBEAT_PERIOD_MIN_MS,
         VM_OPERATOR_PERIOD_MAX_MS},
    };
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static int read_on_failure(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {
        [VM_ON_FAILURE_STOP] = "stop",
        [VM_ON_FAILURE_REBOOT] = "reboot",
    };
    struct vm_reader *reader = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->vm.on_failure = (enum vm_on_failure)index;
    return 0;
}

static const struct json_field vm_fields[] = {
    {.key = "format", .read = read_format, .required = true},
    {.key = "name", .read = read_vm_name},
    {.key = "uuid", .read = read_uuid},
    {.key = "image", .read = read_image},
    {.key = "linux", .read = read_linux},
    {.key = "arguments", .read = read_arguments},
    {"vcpus", json_field_u32, false, offsetof(struct vm_reader, vm.vcpus), 1, VMM_MAX_VCPUS},
    {"memory_bytes", json_field_u64, false, offsetof(struct vm_reader, vm.memory_bytes),
     VM_MEMORY_MIN, VM_MEMORY_MAX},
    {.key = "memory", .read = read_memory},
    {.key = "weights", .read = read_weights},
    {.key = "placement", .read = read_placement},
    {.key = "poller", .read = read_poller},
    {.key = "ports", .read = read_ports},
    {.key = "policy", .read = read_policy}, // behind the ports that it is about
    {.key = "detectors", .read = read_detectors},
    {.key = "audit", .read = read_audit},
    {.key = "forensics", .read = read_forensics},
    {.key = "require", .read = read_require},
    {.key = "heartbeat", .read = read_heartbeat},
    {.key = "on_failure", .read = read_on_failure},
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
    if (!reader.vm.image)
        return json_refuse(&root, JSON_PART_VALUE, err,
                           "missing key 'image', or 'linux' for a Linux guest");
    struct error inner;
    if (reader.vm.linux_guest.given && vm_linux_check(&reader.vm, &inner) < 0)
        return vm_file_refuse_because(&root, &inner, err);
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

void vm_settings_free(struct vm_settings *settings)
{
    if (settings->bytes)
        explicit_bzero(settings->bytes, settings->length);
    free(settings->bytes);
    *settings = (struct vm_settings){0};
}

void vm_description_free(struct vm_description *vm)
{
    for (uint32_t i = 0; i < vm->argument_count; i++)
        free(vm->arguments[i]);
    for (uint32_t i = 0; i < vm->weights_count; i++)
        free(vm->weights[i].path);
    free(vm->arguments);
    free(vm->image);
    free(vm->linux_guest.initrd);
    free(vm->linux_guest.command_line);
    free(vm->audit_path);
    free(vm->audit_witness);
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++)
        vm_settings_free(&vm->settings[i]);
    policy_document_free(&vm->policy);
    *vm = (struct vm_description){0};
}
