// SPDX-License-Identifier: Apache-2.0
// The actuators of this host (guillotine-actuators/1): what makes a level physical, in the order in
// which it is tried (docs/actuators.md).
#ifndef MONITOR_ACTUATOR_CONFIG_H
#define MONITOR_ACTUATOR_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define ACTUATOR_CONFIG_FORMAT    "guillotine-actuators/1"
#define ACTUATOR_CONFIG_DEFAULT   "/etc/guillotine/actuators.json"
#define ACTUATOR_CONFIG_MAX_BYTES (256u << 10)
#define ACTUATOR_MAX              32u
#define ACTUATOR_NAME_SIZE        64
#define ACTUATOR_MAX_ARGUMENTS    64u
#define ACTUATOR_DIGEST_BYTES     32
#define ACTUATOR_PIN_BYTES        32 // SHA-256 of a public key (SubjectPublicKeyInfo)
#define ACTUATOR_RETRY_PAUSE_MS   200u

enum actuator_class {
    ACTUATOR_REVERSIBLE,
    ACTUATOR_IRREVERSIBLE,
    ACTUATOR_DESTRUCTIVE,
    ACTUATOR_CLASS_COUNT,
};

enum actuator_action {
    ACTUATOR_CUT,          // reversible actuators, until one is confirmed
    ACTUATOR_RESTORE,      // all reversible ones
    ACTUATOR_CUT_FOR_GOOD, // irreversible ones, until one is confirmed
    ACTUATOR_DESTROY,      // destructive ones, until one is confirmed
    ACTUATOR_CHECK,        // of all, the read-back only
    ACTUATOR_ACTION_COUNT,
};

enum actuator_kind {
    ACTUATOR_SIMULATED,
    ACTUATOR_COMMAND,
    ACTUATOR_LINK,
    ACTUATOR_REDFISH,
    ACTUATOR_IPMI,
    ACTUATOR_KIND_COUNT,
};

enum actuator_auth {
    ACTUATOR_AUTH_SESSION,
    ACTUATOR_AUTH_BASIC,
    ACTUATOR_AUTH_COUNT,
};

enum actuator_power_on {
    ACTUATOR_POWER_ON,
    ACTUATOR_POWER_CYCLE,
    ACTUATOR_POWER_ON_COUNT,
};

// One actuator. Strings and vectors are owned; NULL where the driver has no such setting.
struct actuator {
    char name[ACTUATOR_NAME_SIZE];
    enum actuator_kind kind;
    enum actuator_class class;
    uint32_t timeout_ms; // one attempt: fire and read back
    uint32_t retries;    // after the first attempt
    uint32_t settle_ms;  // how long the read-back must keep saying so; at most half the time-out
    bool this_host;      // cuts the machine that Guillotine runs on
    char *state_file;    // simulated
    char **fire;         // command: argument vectors, NULL-ended
    char **restore;
    char **read_back;
    char *interface;   // link
    char *host;        // redfish, ipmi
    char *server_name; // redfish: the name in the certificate, if it is not `host`
    char *system;
    char *credentials;
    char *ca_file;
    bool pinned;
    uint8_t pin[ACTUATOR_PIN_BYTES];
    enum actuator_auth auth;
    enum actuator_power_on power_on;
    uint32_t port;
    char *user;            // ipmi
    uint32_t cipher_suite; // 3 or 17; 0: ipmitool asks the device
    char *password_file;
    char *program;
};

struct actuator_config {
    struct actuator list[ACTUATOR_MAX]; // in the order of the file
    uint32_t count;
    uint8_t digest[ACTUATOR_DIGEST_BYTES]; // BLAKE2b of the text; arming binds to it
};

// Reads and checks a configuration into a zeroed struct. It names programs that run with this
// process's rights, so the file must belong to root or to this user and be writable by nobody else.
// Relative paths in it start at its folder. Refusals have status EXIT_STATUS_BAD_FILE and a line
// with file, line, column and JSON pointer. Returns 0 or -1, then with nothing to free.
int actuator_config_load(const char *path, struct actuator_config *config, struct error *err);

// Same, for text in memory; `path` is for messages and relative paths.
int actuator_config_parse(const char *path, const char *text, size_t length,
                          struct actuator_config *config, struct error *err);

// What there is without a file: one simulated actuator of each class, which share one state file
// in `state_dir`.
int actuator_config_simulated(const char *state_dir, struct actuator_config *config,
                              struct error *err);

// Where the configuration is: `given`, or the default place if there is a file; else "" (simulated
// ones only). Returns 0 or -1 (too long, or it cannot be known whether there is a file).
int actuator_config_find(const char *given, char path[PATH_MAX], struct error *err);

// Loads what actuator_config_find found; "" stands for the simulated ones.
int actuator_config_open(const char *path, const char *state_dir, struct actuator_config *config,
                         struct error *err);

void actuator_config_free(struct actuator_config *config);

#define cleanup_actuator_config __attribute__((cleanup(actuator_config_free)))

// The actuator of that name, or NULL.
const struct actuator *actuator_config_named(const struct actuator_config *config,
                                             const char *name);

// True if the action is one for actuators of this class.
bool actuator_action_concerns(enum actuator_action action, enum actuator_class class);

// The longest time in ms that an action can take, with all attempts on all its actuators.
uint64_t actuator_config_bound_ms(const struct actuator_config *config,
                                  enum actuator_action action);

// Names as in files and flags.
const char *actuator_class_name(enum actuator_class class);
const char *actuator_action_name(enum actuator_action action);
const char *actuator_kind_name(enum actuator_kind kind);

// The action of that name, or ACTUATOR_ACTION_COUNT.
enum actuator_action actuator_action_parse(const char *name);

#endif
