// SPDX-License-Identifier: Apache-2.0
// Reads the configuration of actuators: a table of keys for each driver.
#include "actuator_config.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "json_text.h"
#include "vm_file.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DEFAULT_TIMEOUT_MS 10000u
#define DEFAULT_RETRIES    2u
#define DEFAULT_SETTLE_MS  1000u
#define TEXT_MAX           4096u

static const char *const class_names[] = {"reversible", "irreversible", "destructive"};
static const char *const action_names[] = {"cut", "restore", "cut-for-good", "destroy", "check"};
static const char *const kind_names[] = {"simulated", "command", "link", "redfish", "ipmi"};

// What the readers fill, and what they need to know of the file.
struct actuator_reader {
    struct actuator actuator;
    const char *path;
};

// How a text is checked; stands in json_field.minimum of read_text_field.
enum text_rule {
    TEXT_PATH,    // resolved against the file's folder
    TEXT_PROGRAM, // absolute
    TEXT_HOST,    // name or address
    TEXT_SYSTEM,  // path of a Redfish system
    TEXT_USER,
    TEXT_LINK,
};

const char *actuator_class_name(enum actuator_class class)
{
    return (size_t) class < COUNT(class_names) ? class_names[class] : "unknown";
}

const char *actuator_action_name(enum actuator_action action)
{
    return (size_t)action < COUNT(action_names) ? action_names[action] : "unknown";
}

const char *actuator_kind_name(enum actuator_kind kind)
{
    return (size_t)kind < COUNT(kind_names) ? kind_names[kind] : "unknown";
}

enum actuator_action actuator_action_parse(const char *name)
{
    size_t i = 0;
    while (i < COUNT(action_names) && strcmp(name, action_names[i]))
        i++;
    return (enum actuator_action)i;
}

bool actuator_action_concerns(enum actuator_action action, enum actuator_class class)
{
    switch (action) {
    case ACTUATOR_CUT:
    case ACTUATOR_RESTORE:
        return class == ACTUATOR_REVERSIBLE;
    case ACTUATOR_CUT_FOR_GOOD:
        return class == ACTUATOR_IRREVERSIBLE;
    case ACTUATOR_DESTROY:
        return class == ACTUATOR_DESTRUCTIVE;
    case ACTUATOR_CHECK:
        return true;
    case ACTUATOR_ACTION_COUNT:
    default:
        return false;
    }
}

uint64_t actuator_config_bound_ms(const struct actuator_config *config, enum actuator_action action)
{
    uint64_t bound = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct actuator *actuator = &config->list[i];
        if (!actuator_action_concerns(action, actuator->class))
            continue;
        uint64_t attempts = action == ACTUATOR_CHECK ? 1 : (uint64_t)actuator->retries + 1;
        bound += attempts * (actuator->timeout_ms + ACTUATOR_RETRY_PAUSE_MS);
    }
    return bound;
}

const struct actuator *actuator_config_named(const struct actuator_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->count; i++) {
        if (!strcmp(config->list[i].name, name))
            return &config->list[i];
    }
    return NULL;
}

static void free_vector(char **vector)
{
    for (size_t i = 0; vector && vector[i]; i++)
        free(vector[i]);
    free(vector);
}

static void free_actuator(struct actuator *actuator)
{
    char *const texts[] = {actuator->state_file,  actuator->interface, actuator->host,
                           actuator->server_name, actuator->system,    actuator->credentials,
                           actuator->ca_file,     actuator->user,      actuator->password_file,
                           actuator->program};
    for (size_t i = 0; i < COUNT(texts); i++)
        free(texts[i]);
    free_vector(actuator->fire);
    free_vector(actuator->restore);
    free_vector(actuator->read_back);
    *actuator = (struct actuator){0};
}

void actuator_config_free(struct actuator_config *config)
{
    for (uint32_t i = 0; i < config->count; i++)
        free_actuator(&config->list[i]);
    *config = (struct actuator_config){0};
}

static int no_memory(struct error *err)
{
    return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "reading the actuators");
}

static int read_name(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_reader *reader = target;
    const char *text;
    char excerpt[JSON_EXCERPT_SIZE];
    if (json_read_text(place, &text, err))
        return -1;
    // The name is also that of a file.
    if (!vm_name_is_valid(text))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "'%s' is not a name: 1 to 63 of a-z, 0-9 and '-', not starting with '-'",
                           json_excerpt(excerpt, text));
    memcpy(reader->actuator.name, text, strlen(text) + 1);
    return 0;
}

static int read_driver(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_reader *reader = target;
    size_t index;
    if (json_read_name(place, kind_names, COUNT(kind_names), &index, err))
        return -1;
    reader->actuator.kind = (enum actuator_kind)index;
    return 0;
}

static int read_class(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_reader *reader = target;
    size_t index;
    if (json_read_name(place, class_names, COUNT(class_names), &index, err))
        return -1;
    reader->actuator.class = (enum actuator_class)index;
    bool any =
        reader->actuator.kind == ACTUATOR_SIMULATED || reader->actuator.kind == ACTUATOR_COMMAND;
    if (!any && index != ACTUATOR_REVERSIBLE)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "what a %s actuator does can be undone from afar: it is reversible",
                           kind_names[reader->actuator.kind]);
    return 0;
}

static int read_target(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"other", "this-host"};
    struct actuator_reader *reader = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->actuator.this_host = index == 1;
    return 0;
}

static bool only(const char *text, const char *more)
{
    static const char alphanumeric[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (; *text; text++) {
        if (!strchr(alphanumeric, *text) && !strchr(more, *text))
            return false;
    }
    return true;
}

// What is wrong with a text, or NULL.
static const char *text_complaint(enum text_rule rule, const char *text)
{
    switch (rule) {
    case TEXT_PATH:
        return NULL;
    case TEXT_PROGRAM:
        return *text == '/' ? NULL : "an absolute path is expected";
    case TEXT_HOST:
        return strlen(text) < 254 && *text != '-' && only(text, ".:-")
                   ? NULL
                   : "a host name or an address is expected, without port";
    case TEXT_SYSTEM:
        return !strncmp(text, "/redfish/v1/", 12) && only(text, "/._~-") && !strstr(text, "..") &&
                       !strstr(text, "//") && text[strlen(text) - 1] != '/'
                   ? NULL
                   : "the path of a system is expected, like /redfish/v1/Systems/1";
    case TEXT_USER:
        return strlen(text) <= 16 && *text != '-' && only(text, "._-@")
                   ? NULL
                   : "a user name of at most 16 letters, digits or . _ - @ is expected";
    case TEXT_LINK:
        // Rules of the kernel, and nothing that is special anywhere.
        return strlen(text) < 16 && only(text, "._-@") && strcmp(text, ".") && strcmp(text, "..")
                   ? NULL
                   : "the name of a network interface is expected";
    default:
        return "unknown rule";
    }
}

static int copy_text(const struct json_place *place, const char *folder_of, const char *text,
                     char **copy, struct error *err)
{
    const char *slash = folder_of && *text != '/' ? strrchr(folder_of, '/') : NULL;
    int folder = slash ? (int)(slash - folder_of) + 1 : 0;
    if (strlen(text) > TEXT_MAX)
        return json_refuse(place, JSON_PART_VALUE, err, "longer than %u bytes", TEXT_MAX);
    if (asprintf(copy, "%.*s%s", folder, folder_of ? folder_of : "", text) < 0) {
        *copy = NULL;
        return no_memory(err);
    }
    return 0;
}

static int read_text_field(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_reader *reader = target;
    enum text_rule rule = (enum text_rule)place->field->minimum;
    const char *text;
    char *copy = NULL;
    if (json_read_text(place, &text, err))
        return -1;
    const char *complaint = *text ? text_complaint(rule, text) : "this must not be empty";
    if (complaint)
        return json_refuse(place, JSON_PART_VALUE, err, "%s", complaint);
    if (copy_text(place, rule == TEXT_PATH ? reader->path : NULL, text, &copy, err))
        return -1;
    memcpy((char *)target + place->field->offset, &copy, sizeof(copy));
    return 0;
}

// An argument vector under construction.
struct vector_reader {
    char **vector;
    size_t count;
};

static int read_argument(const struct json_place *place, void *target, struct error *err)
{
    struct vector_reader *reader = target;
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    if (!reader->count && text_complaint(TEXT_PROGRAM, text))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "an absolute path of a program is expected");
    return copy_text(place, NULL, text, &reader->vector[reader->count++], err);
}

static int read_vector(const struct json_place *place, void *target, struct error *err)
{
    struct vector_reader reader = {0};
    if (json_expect(place, json_type_array, err))
        return -1;
    if (!json_object_array_length(place->value))
        return json_refuse(place, JSON_PART_VALUE, err, "a program is expected");
    reader.vector = calloc(ACTUATOR_MAX_ARGUMENTS + 1, sizeof(*reader.vector));
    if (!reader.vector)
        return no_memory(err);
    // Owned by the target from here on, whatever happens.
    memcpy((char *)target + place->field->offset, &reader.vector, sizeof(reader.vector));
    return json_read_array(place, ACTUATOR_MAX_ARGUMENTS, read_argument, &reader, err);
}

static int read_pin(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_reader *reader = target;
    const char *text;
    size_t length = 0;
    if (json_read_text(place, &text, err))
        return -1;
    if (sodium_base642bin(reader->actuator.pin, sizeof(reader->actuator.pin), text, strlen(text),
                          NULL, &length, NULL, sodium_base64_VARIANT_ORIGINAL) ||
        length != sizeof(reader->actuator.pin))
        return json_refuse(place, JSON_PART_VALUE, err,
                           "the SHA-256 of a public key is expected, in base64");
    reader->actuator.pinned = true;
    return 0;
}

static int read_auth(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"session", "basic"};
    struct actuator_reader *reader = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->actuator.auth = (enum actuator_auth)index;
    return 0;
}

static int read_cipher_suite(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_reader *reader = target;
    uint64_t number;
    if (json_read_integer(place, 0, UINT32_MAX, &number, err))
        return -1;
    // The others lack authentication, integrity or encryption.
    if (number != 3 && number != 17)
        return json_refuse(place, JSON_PART_VALUE, err, "cipher suite 3 or 17 is expected");
    reader->actuator.cipher_suite = (uint32_t)number;
    return 0;
}

static int read_power_on(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {"On", "PowerCycle"};
    struct actuator_reader *reader = target;
    size_t index;
    if (json_read_name(place, names, COUNT(names), &index, err))
        return -1;
    reader->actuator.power_on = (enum actuator_power_on)index;
    return 0;
}

#define AT(member) offsetof(struct actuator_reader, actuator.member)
// The driver comes first: the class depends on it.
#define COMMON                                                                                     \
    {"driver", read_driver, true, 0, 0, 0}, {"name", read_name, true, 0, 0, 0},                    \
        {"class", read_class, true, 0, 0, 0},                                                      \
        {"timeout_ms", json_field_u32, false, AT(timeout_ms), 100, 120000},                        \
        {"retries", json_field_u32, false, AT(retries), 0, 10},                                    \
    {                                                                                              \
        "settle_ms", json_field_u32, false, AT(settle_ms), 0, 60000                                \
    }

static const struct json_field simulated_fields[] = {
    COMMON,
    {"state_file", read_text_field, true, AT(state_file), TEXT_PATH, 0},
};
static const struct json_field command_fields[] = {
    COMMON,
    {"target", read_target, true, 0, 0, 0},
    {"fire", read_vector, true, AT(fire), 0, 0},
    {"restore", read_vector, false, AT(restore), 0, 0},
    {"read_back", read_vector, true, AT(read_back), 0, 0},
};
static const struct json_field link_fields[] = {
    COMMON,
    // A default route is found without it.
    {"target", read_target, false, 0, 0, 0},
    {"interface", read_text_field, true, AT(interface), TEXT_LINK, 0},
};
static const struct json_field redfish_fields[] = {
    COMMON,
    {"target", read_target, true, 0, 0, 0},
    {"host", read_text_field, true, AT(host), TEXT_HOST, 0},
    {"port", json_field_u32, false, AT(port), 1, 65535},
    {"server_name", read_text_field, false, AT(server_name), TEXT_HOST, 0},
    {"system", read_text_field, true, AT(system), TEXT_SYSTEM, 0},
    {"credentials", read_text_field, true, AT(credentials), TEXT_PATH, 0},
    {"ca_file", read_text_field, false, AT(ca_file), TEXT_PATH, 0},
    {"spki_sha256", read_pin, false, 0, 0, 0},
    {"auth", read_auth, false, 0, 0, 0},
    {"restore_with", read_power_on, false, 0, 0, 0},
};
static const struct json_field ipmi_fields[] = {
    COMMON,
    {"target", read_target, true, 0, 0, 0},
    {"host", read_text_field, true, AT(host), TEXT_HOST, 0},
    {"port", json_field_u32, false, AT(port), 1, 65535},
    {"user", read_text_field, true, AT(user), TEXT_USER, 0},
    {"password_file", read_text_field, true, AT(password_file), TEXT_PATH, 0},
    {"cipher_suite", read_cipher_suite, false, 0, 0, 0},
    {"program", read_text_field, false, AT(program), TEXT_PROGRAM, 0},
};

static const struct {
    const struct json_field *fields;
    size_t count;
    uint32_t port;
} drivers[] = {
    [ACTUATOR_SIMULATED] = {simulated_fields, COUNT(simulated_fields), 0},
    [ACTUATOR_COMMAND] = {command_fields, COUNT(command_fields), 0},
    [ACTUATOR_LINK] = {link_fields, COUNT(link_fields), 0},
    [ACTUATOR_REDFISH] = {redfish_fields, COUNT(redfish_fields), 443},
    [ACTUATOR_IPMI] = {ipmi_fields, COUNT(ipmi_fields), 623},
};

// What follows from several keys together.
static int check_actuator(const struct json_place *place, struct actuator *actuator,
                          struct error *err)
{
    if (actuator->settle_ms == UINT32_MAX)
        actuator->settle_ms = actuator->timeout_ms / 2 < DEFAULT_SETTLE_MS
                                  ? actuator->timeout_ms / 2
                                  : DEFAULT_SETTLE_MS;
    if (actuator->settle_ms > actuator->timeout_ms / 2)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "settle_ms is more than half of timeout_ms (%u)", actuator->timeout_ms);
    if (actuator->kind == ACTUATOR_COMMAND &&
        !actuator->restore != (actuator->class != ACTUATOR_REVERSIBLE))
        return json_refuse(place, JSON_PART_VALUE, err,
                           actuator->restore ? "only a reversible actuator has a command 'restore'"
                                             : "a reversible actuator needs a command 'restore'");
    if (actuator->kind == ACTUATOR_REDFISH && !actuator->ca_file && !actuator->pinned)
        return json_refuse(place, JSON_PART_VALUE, err,
                           "nothing says which certificate to trust: give ca_file or spki_sha256");
    return 0;
}

static int read_actuator(const struct json_place *place, void *target, struct error *err)
{
    struct actuator_config *config = ((void **)target)[0];
    struct actuator_reader reader = {.path = ((void **)target)[1]};
    struct json_place driver;
    reader.actuator.timeout_ms = DEFAULT_TIMEOUT_MS;
    reader.actuator.retries = DEFAULT_RETRIES;
    reader.actuator.settle_ms = UINT32_MAX;
    if (json_expect(place, json_type_object, err))
        return -1;
    if (!json_member(place, "driver", &driver))
        return json_refuse(place, JSON_PART_VALUE, err, "missing key 'driver'");
    if (read_driver(&driver, &reader, err))
        return -1;
    enum actuator_kind kind = reader.actuator.kind;
    reader.actuator.port = drivers[kind].port;
    int result = json_read_object(place, drivers[kind].fields, drivers[kind].count, &reader, err);
    if (result == 0)
        result = check_actuator(place, &reader.actuator, err);
    if (result == 0 && actuator_config_named(config, reader.actuator.name))
        result = json_refuse(place, JSON_PART_VALUE, err, "a second actuator named '%s'",
                             reader.actuator.name);
    if (result) {
        free_actuator(&reader.actuator);
        return -1;
    }
    config->list[config->count++] = reader.actuator;
    return 0;
}

static int read_list(const struct json_place *place, void *target, struct error *err)
{
    return json_read_array(place, ACTUATOR_MAX, read_actuator, target, err);
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    char excerpt[JSON_EXCERPT_SIZE];
    (void)target; // checked, not kept
    if (json_read_text(place, &text, err))
        return -1;
    return strcmp(text, ACTUATOR_CONFIG_FORMAT)
               ? json_refuse(place, JSON_PART_VALUE, err,
                             "format '%s' is not known: this version reads %s",
                             json_excerpt(excerpt, text), ACTUATOR_CONFIG_FORMAT)
               : 0;
}

int actuator_config_parse(const char *path, const char *text, size_t length,
                          struct actuator_config *config, struct error *err)
{
    static const struct json_field fields[] = {
        {"format", read_format, true, 0, 0, 0},
        {"actuators", read_list, true, 0, 0, 0},
    };
    cleanup_json_document struct json_document document = {0};
    const void *target[] = {config, path};
    *config = (struct actuator_config){0};
    if (json_document_parse(&document, path, text, length, ACTUATOR_CONFIG_MAX_BYTES, err))
        return -1;
    const struct json_place root = json_document_root(&document);
    if (json_read_object(&root, fields, COUNT(fields), target, err)) {
        actuator_config_free(config);
        return -1;
    }
    crypto_generichash(config->digest, sizeof(config->digest), (const unsigned char *)text, length,
                       NULL, 0);
    return 0;
}

int actuator_config_load(const char *path, struct actuator_config *config, struct error *err)
{
    struct stat status;
    // Not blocking: the path may be that of a pipe.
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is not a regular file", path);
    if ((status.st_uid != 0 && status.st_uid != geteuid()) || (status.st_mode & 022))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s names programs to run, but somebody else may write it: let root or "
                         "this user own it, with mode 0644 or less",
                         path);
    cleanup_free char *text = malloc(ACTUATOR_CONFIG_MAX_BYTES + 1);
    size_t length = 0;
    ssize_t n = 1;
    if (!text)
        return no_memory(err);
    while (n > 0 && length <= ACTUATOR_CONFIG_MAX_BYTES) {
        n = read(fd, text + length, ACTUATOR_CONFIG_MAX_BYTES + 1 - length);
        length += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    return actuator_config_parse(path, text, length, config, err);
}

int actuator_config_simulated(const char *state_dir, struct actuator_config *config,
                              struct error *err)
{
    static const char *const names[] = {"simulated", "simulated-for-good", "simulated-destroy"};
    *config = (struct actuator_config){0};
    for (uint32_t i = 0; i < COUNT(names); i++) {
        struct actuator *actuator = &config->list[config->count++];
        *actuator = (struct actuator){
            .kind = ACTUATOR_SIMULATED,
            .class = (enum actuator_class)i,
            .timeout_ms = DEFAULT_TIMEOUT_MS,
            .retries = DEFAULT_RETRIES,
        };
        snprintf(actuator->name, sizeof(actuator->name), "%s", names[i]);
        if (asprintf(&actuator->state_file, "%s/actuators/simulated.state", state_dir) < 0) {
            actuator->state_file = NULL;
            actuator_config_free(config);
            return no_memory(err);
        }
    }
    return 0;
}

int actuator_config_find(const char *given, char path[PATH_MAX], struct error *err)
{
    path[0] = '\0';
    if (!given && access(ACTUATOR_CONFIG_DEFAULT, F_OK) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", ACTUATOR_CONFIG_DEFAULT);
    if (snprintf(path, PATH_MAX, "%s", given ? given : ACTUATOR_CONFIG_DEFAULT) >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "--actuators");
    return 0;
}

int actuator_config_open(const char *path, const char *state_dir, struct actuator_config *config,
                         struct error *err)
{
    return *path ? actuator_config_load(path, config, err)
                 : actuator_config_simulated(state_dir, config, err);
}
